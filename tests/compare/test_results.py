"""Results files of lm-eval are read as they are, or refused with what is wrong with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from results_builder import BAICHUAN, write_results, write_samples

from lm_eval_baichuan.results import ResultsError, Run, find_suite, read_answers, read_runs

WRITTEN = Path(__file__).parent / "written_by_lm_eval"
LAW, LOGIC = "ceval_5shot_law", "ceval_5shot_logic"


def read_one(path: Path) -> Run:
    (run,) = read_runs([path])
    return run


@pytest.mark.parametrize("release", ["0.4.5", "0.4.8", "0.4.9", "0.4.9.2", "0.4.12", "0.4.13"])
def test_files_of_several_releases_are_read(release: str) -> None:
    run = read_one(WRITTEN / release)
    file = next((WRITTEN / release).glob("results_*.json"))
    stated = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert sorted(run.tasks) == [LAW, LOGIC]
    assert (run.tasks[LAW].asked, run.tasks[LOGIC].asked) == (5, 7)
    for task, result in run.tasks.items():
        assert result.accuracy == pytest.approx(stated[task]["acc,none"])
        assert (result.split, result.shots, result.available) == ("test", 0, result.asked)
        answers = read_answers(result)
        assert answers is not None
        assert sum(answer.correct for answer in answers) == result.correct
    assert run.name == "dummy"


def test_a_label_is_predicted_by_its_log_likelihood() -> None:
    answers = read_answers(read_one(WRITTEN / "0.4.13").tasks[LOGIC])
    assert answers is not None
    answer = answers[5]
    assert answer.labels == ("A", "B", "C", "D")
    assert answer.target == 0
    assert "<script>alert(1)</script>" in answer.question
    ordered = sorted(answer.logprobs)
    assert answer.logprobs[answer.predicted] == ordered[-1]
    assert answer.margin == pytest.approx(ordered[-1] - ordered[-2])


def test_a_release_before_0_4_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    old = {
        "results": {"hendrycksTest-law": {"acc": 0.3, "acc_stderr": 0.1}},
        "versions": {},
        "config": {"model": "gpt2"},
    }
    path.write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(ResultsError, match=r"old\.json: configs, n-samples not found"):
        read_runs([path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"results": {', r"line 1: not valid JSON .* The file is damaged"),
        ("[1, 2]", 'no results file of lm-eval: it holds no "results"'),
        ('{"loss": 1.5}', 'no results file of lm-eval: it holds no "results"'),
    ],
)
def test_what_is_no_results_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / f"results_{'2026-01-01T00-00-00'}.json"
    path.write_text(text, encoding="utf-8")
    for named in (path, tmp_path):
        with pytest.raises(ResultsError, match=message):
            read_runs([named])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b'{"results": "\xff\xfe"}')
    with pytest.raises(ResultsError, match="not UTF-8 text at byte 13"):
        read_runs([path])


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nowhere: no such file or folder"):
        read_runs([tmp_path / "nowhere"])


def test_samples_are_no_results(tmp_path: Path) -> None:
    path = tmp_path / "samples_ceval_5shot_law_2026.jsonl"
    path.touch()
    with pytest.raises(ResultsError, match=r"logged samples, not results\. Name the results_….json"):
        read_runs([path])


def test_a_run_that_was_cut_off_left_no_results(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no results file in it .* Run lm_eval with --output_path, to its end"):
        read_runs([tmp_path])
    (tmp_path / "samples_ceval_5shot_law_2026.jsonl").touch()
    with pytest.raises(ResultsError, match="only logged samples such as samples_ceval_5shot_law_2026.jsonl"):
        read_runs([tmp_path])


def test_a_folder_of_two_models_holds_a_run_of_each(tmp_path: Path) -> None:
    write_results(tmp_path / "a", {LAW: (1, 4)})
    write_results(tmp_path / "b", {LAW: (2, 4)}, pretrained="baichuan-inc/Baichuan2-7B-Base")
    for paths in ([tmp_path], [tmp_path / "a", tmp_path / "b"]):
        runs = read_runs(paths)
        assert [run.name for run in runs] == ["Baichuan-7B", "Baichuan2-7B-Base"]
        assert [run.tasks[LAW].correct for run in runs] == [1, 2]


def test_checkpoints_of_one_name_are_told_apart_by_their_trainings(tmp_path: Path) -> None:
    for number, training in enumerate(("first", "second")):
        date = f"2026-01-0{number + 1}T00-00-00.1"
        write_results(tmp_path, {LAW: (1, 4)}, pretrained=f"{training}/checkpoint-500", date=date)
    assert [run.name for run in read_runs([tmp_path])] == ["checkpoint-500 (first)", "checkpoint-500 (second)"]


def test_the_latest_result_of_each_task_counts(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (1, 4), LOGIC: (1, 8)}, date="2026-01-01T00-00-00.1")
    write_results(tmp_path, {LAW: (3, 4)}, date="2026-01-02T00-00-00.1")
    run = read_one(tmp_path)
    assert {task: (result.correct, result.asked) for task, result in run.tasks.items()} == {LAW: (3, 4), LOGIC: (1, 8)}


def test_the_date_inside_the_file_goes_before_its_name(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (1, 4)}, date="2026-01-09T00-00-00.1", extra={"date": 100.0})
    write_results(tmp_path, {LAW: (3, 4)}, date="2026-01-02T00-00-00.1", extra={"date": 200.0})
    assert read_one(tmp_path).tasks[LAW].correct == 3


def test_seeds_make_runs_of_their_own(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_results(tmp_path, {LAW: (seed, 4)}, date=f"2026-01-0{seed}T00-00-00.1", metadata={"shots_seed": seed})
    runs = read_runs([tmp_path])
    assert [(run.name, run.tasks[LAW].correct) for run in runs] == [
        ("Baichuan-7B (shots_seed=1)", 1),
        ("Baichuan-7B (shots_seed=2)", 2),
    ]


def test_runs_of_one_name_are_told_apart_by_path_date_or_number(tmp_path: Path) -> None:
    first = write_results(tmp_path / "monday", {LAW: (1, 4)}, date="2026-01-01T00-00-00.1")
    second = write_results(tmp_path / "tuesday", {LAW: (1, 4)}, date="2026-01-02T00-00-00.1")
    third = write_results(tmp_path / "tuesday", {LAW: (1, 4)}, date="2026-01-03T00-00-00.1")
    assert [run.name for run in read_runs([first, second])] == ["Baichuan-7B (monday)", "Baichuan-7B (tuesday)"]
    assert [run.name for run in read_runs([second, third])] == [
        "Baichuan-7B (2026-01-02 00-00-00)",
        "Baichuan-7B (2026-01-03 00-00-00)",
    ]
    assert [run.name for run in read_runs([first, first])] == ["Baichuan-7B (#1)", "Baichuan-7B (#2)"]


@pytest.mark.parametrize(
    ("arguments", "model", "expected"),
    [
        ("pretrained=baichuan-inc/Baichuan-13B-Base,dtype=float16", "hf", "baichuan-inc/Baichuan-13B-Base"),
        ({"pretrained": "base", "peft": "out/lora"}, "hf", "out/lora"),
        ({}, "baichuan", "baichuan-inc/Baichuan-7B"),
        ({}, "dummy", "dummy"),
    ],
)
def test_the_model_is_told_from_its_arguments(
    tmp_path: Path, arguments: str | dict[str, str], model: str, expected: str
) -> None:
    path = write_results(tmp_path, {LAW: (1, 4)})
    data = json.loads(path.read_text(encoding="utf-8"))
    data["config"] |= {"model_args": arguments, "model": model}
    path.write_text(json.dumps(data), encoding="utf-8")
    assert read_one(path).model == expected


def test_tasks_of_lm_eval_stand_apart_from_ours(tmp_path: Path) -> None:
    run = read_one(write_results(tmp_path, {LAW: (1, 4), "ceval-valid_law": (2, 4)}))
    assert list(run.tasks) == [LAW]
    assert [(measure.key, measure.share) for measure in run.others.values()] == [
        (("ceval-valid_law", "acc", "none"), 0.5)
    ]
    alone = read_one(write_results(tmp_path / "foreign", {"ceval-valid_law": (2, 4)}))
    assert (list(alone.tasks), len(alone.others)) == ([], 1)


def test_a_task_without_accuracy_is_left_out(tmp_path: Path) -> None:
    path = write_results(tmp_path, {LAW: (1, 4), LOGIC: (1, 4)})
    data = json.loads(path.read_text(encoding="utf-8"))
    data["results"][LOGIC] = {"alias": LOGIC, "exact_match,none": 0.5, "exact_match_stderr,none": 0.1}
    path.write_text(json.dumps(data), encoding="utf-8")
    assert read_one(path).left_out == [f"{LOGIC}: no accuracy (acc,none) reported; found exact_match,none"]


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        (0.3, f"task {LAW}: an accuracy of 0.3 is no share of 4 questions"),
        (1.5, rf"results\.{LAW}\.acc,none: found 1.5; expected less than or equal to 1"),
        (-0.25, rf"results\.{LAW}\.acc,none: found -0.25; expected greater"),
        ("N/A", rf"results\.{LAW}\.acc,none: found 'N/A'; expected a valid number"),
        (None, rf"results\.{LAW}\.acc,none: found None"),
        (True, rf"results\.{LAW}\.acc,none: found True; expected a valid number"),
        (float("nan"), rf"results\.{LAW}\.acc,none: found nan"),
    ],
)
def test_an_accuracy_that_is_no_share_of_the_questions_is_refused(
    tmp_path: Path, accuracy: object, message: str
) -> None:
    path = write_results(tmp_path, {LAW: (1, 4)})
    data = json.loads(path.read_text(encoding="utf-8"))
    data["results"][LAW]["acc,none"] = accuracy
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ResultsError, match=message):
        read_runs([path])


def test_samples_must_give_the_accuracy_stated(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (2, 4)})
    write_samples(tmp_path, {LAW: (3, 4)})
    with pytest.raises(ResultsError, match=r"3 of 4 questions right, but results_.*\.json says 2 of 4"):
        read_answers(read_one(tmp_path).tasks[LAW])


def test_missing_samples_are_none(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (2, 4)})
    assert read_answers(read_one(tmp_path).tasks[LAW]) is None


def test_a_samples_file_cut_off_is_refused_by_line(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (2, 4)})
    write_samples(tmp_path, {LAW: (2, 4)})
    (path,) = tmp_path.glob("samples_*.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ResultsError, match=r"line 4: not valid JSON .* The file ends in the middle of a line"):
        read_answers(read_one(tmp_path).tasks[LAW])


def edit_first_sample(folder: Path, **changes: object) -> None:
    (path,) = folder.glob("samples_*.jsonl")
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | changes), *rest]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "E"}, "the answer 'E' is none of the labels A, B, C, D"),
        ({"filtered_resps": [["nan", "False"]] * 4}, r"filtered_resps\.0: found nan; expected a finite number"),
        ({"filtered_resps": [["-inf", "False"]] * 4}, r"filtered_resps\.0: found -inf; expected a finite number"),
        ({"filtered_resps": [["text"]] * 4}, r"filtered_resps\.0: found .*'text'.*; expected a valid number"),
        ({"filtered_resps": [[True, "False"]] * 4}, r"filtered_resps\.0: .* expected a valid number"),
        ({"filtered_resps": [["-1", "False"]] * 3}, "log-likelihoods"),
        ({"arguments": {}}, r"arguments: found \{\}"),
        ({"target": "4"}, "the answer '4' is none of the labels A, B, C, D"),
        ({"target": True}, "target: found True; expected text"),
        ({"acc": None}, "acc: found None; expected a valid number"),
        ({"acc": True}, "acc: found True; expected a valid number"),
        ({"doc_id": 1}, "the same question stands in it twice"),
        ({"doc_id": False}, "doc_id: found False; expected a valid integer"),
        ({"doc_id": 1000}, "doc_id is 1000, in a split of 4 questions"),
        ({"doc": "text"}, "doc: found 'text'; expected an object"),
    ],
)
def test_a_damaged_sample_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_results(tmp_path, {LAW: (2, 4)})
    write_samples(tmp_path, {LAW: (2, 4)})
    edit_first_sample(tmp_path, **changes)
    with pytest.raises(ResultsError, match=message):
        read_answers(read_one(tmp_path).tasks[LAW])


def test_a_sample_whose_metric_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (4, 4)})
    write_samples(tmp_path, {LAW: (4, 4)})
    edit_first_sample(tmp_path, acc=0.0)
    with pytest.raises(ResultsError, match="line 1: logged as wrong, but its log-likelihoods say otherwise"):
        read_answers(read_one(tmp_path).tasks[LAW])


def test_a_target_may_be_an_index(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (4, 4)})
    write_samples(tmp_path, {LAW: (4, 4)})
    edit_first_sample(tmp_path, target="0")
    answers = read_answers(read_one(tmp_path).tasks[LAW])
    assert answers is not None
    assert answers[0].target == 0


def test_a_task_knows_its_suite_subject_and_category() -> None:
    suite = find_suite("ceval_5shot_val_advanced_mathematics")
    assert suite is not None
    assert (suite.name, suite.benchmark, suite.variant) == ("ceval_5shot_val", "ceval", "val")
    assert suite.subject("ceval_5shot_val_advanced_mathematics") == "advanced_mathematics"
    assert suite.category("ceval_5shot_val_advanced_mathematics") == "stem"
    assert [part.name for part in suite.parts][:3] == ["average", "stem", "hard"]
    assert find_suite("hellaswag") is None


def test_what_the_builder_writes_has_the_keys_that_lm_eval_writes() -> None:
    (file,) = (WRITTEN / "0.4.13").glob("results_*.json")
    real = json.loads(file.read_text(encoding="utf-8"))
    assert {"results", "configs", "n-shot", "n-samples", "config"} <= set(real)
    assert {"sample_len", "acc,none"} <= set(real["results"][LAW])
    assert set(real["n-samples"][LAW]) == {"original", "effective"}
    line = next((WRITTEN / "0.4.13").glob("samples_*law*.jsonl")).read_text(encoding="utf-8").splitlines()[0]
    assert {"doc_id", "doc", "target", "arguments", "filtered_resps", "filter", "acc"} <= set(json.loads(line))


def test_the_adapter_writes_the_facts_that_are_read() -> None:
    from lm_eval_baichuan.model_adapters.lm.run_facts import RunFacts

    assert set(BAICHUAN) | {"verified", "ties"} <= set(RunFacts().as_dict())


@pytest.mark.parametrize("model", ["hf-trie", "baichuan-fastllm"])
def test_what_our_other_models_record_is_read_as_what_baichuan_records(tmp_path: Path, model: str) -> None:
    theirs = write_results(tmp_path / "one", {LAW: (1, 2)})
    data = json.loads(theirs.read_text(encoding="utf-8"))
    data["config"][model.replace("-", "_")] = data["config"].pop("baichuan")
    data["config"]["model"] = model
    ours = tmp_path / "two" / theirs.name
    ours.parent.mkdir()
    ours.write_text(json.dumps(data), encoding="utf-8")
    assert read_one(ours).files[0].facts == read_one(theirs).files[0].facts != {}


Place = tuple[str, ...]
FACTS: Place = ("config", "baichuan")


def change(path: Path, place: Place, value: object) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("configs", LAW), 3, "found 3; expected an object"),
        (("configs", LAW), ..., f"missing, though results.{LAW} is there"),
        (("configs", LAW, "metadata"), [1], r"found \[1\]; expected an object"),
        (("configs", LAW, "metadata", "shots_seed"), "1", "found '1'; expected a valid integer"),
        (("n-samples",), [], "found .*expected an object"),
        (("n-samples", LAW), 7, "found 7; expected an object"),
        (("n-samples", LAW), ..., "missing"),
        (("n-samples", LAW, "original"), True, "found True; expected a valid integer"),
        (("n-samples", LAW), {"original": 24, "effective": 1000}, "1000 questions were asked of a split of 24"),
        (("results", LAW, "sample_len"), 1000, "1000 questions, where n-samples says that 4 of 4 were asked"),
        (("results", LAW, "sample_len"), 4.0, "found 4.0; expected a valid integer"),
        (("n-shot", LAW), True, "found True; expected a valid integer"),
        (("config", "model"), None, "found None; expected a valid string"),
        (("config", "model_args"), [1], r"found \[1\]; expected an object"),
        (("config", "model_args", "pretrained"), True, "found True; expected text"),
        (("config", "limit"), "8", "found '8'; expected a valid number"),
        (("date",), 10**400, "found 1000"),
        (("chat_template",), 1, "found 1; expected a valid string"),
        ((*FACTS, "label_tokens", "isolated"), "law", "found 'law'; expected a valid list"),
        ((*FACTS, "shortened_prompts", LAW), {"prompts": 3}, "shots: missing"),
        ((*FACTS, "truncated_prompts"), ..., "missing"),
        ((*FACTS, "truncated_prompts", LAW), "many", "found 'many'; expected a valid integer"),
        ((*FACTS, "ties", LAW, "of"), 1000, "1000 questions of a split that has 4"),
        ((*FACTS, "max_length"), False, "found False; expected a valid integer"),
        (FACTS, 1, "found 1; expected an object"),
    ],
)
def test_a_value_of_another_type_or_size_is_refused_with_its_place(
    tmp_path: Path, place: Place, value: object, message: str
) -> None:
    path = write_results(tmp_path, {LAW: (1, 4)})
    change(path, place, value)
    with pytest.raises(ResultsError, match=rf"{path.name}: {'.'.join(map(re.escape, place))}\b.*{message}"):
        read_runs([path])


def test_a_run_of_ours_that_lost_what_it_recorded_is_refused(tmp_path: Path) -> None:
    path = write_results(tmp_path, {LAW: (1, 4)})
    change(path, FACTS, ...)
    with pytest.raises(ResultsError, match="config: --model baichuan records its facts under baichuan or hf_trie"):
        read_runs([path])


@pytest.mark.parametrize(
    "config", [{"metadata": [{"version": 0}]}, {"num_fewshot": "none"}, {"dataset_kwargs": 3, "test_split": 1}]
)
def test_tasks_of_others_may_hold_what_they_like(tmp_path: Path, config: dict[str, object]) -> None:
    path = write_results(tmp_path, {LAW: (1, 4), "theirs": (1, 4)})
    change(path, ("configs", "theirs"), config)
    change(path, ("results", "theirs"), {"acc,none": "N/A", "ppl,none": float("inf")})
    assert list(read_one(path).tasks) == [LAW]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"results": {}, "results": {"a": {}}}', "the key 'results' stands twice in one object"),
        ('{"results": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("[" * 200_000, "nested too deep"),
    ],
)
def test_json_that_says_two_things_or_fills_the_memory_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ResultsError, match=message):
        read_runs([path])


@pytest.mark.parametrize("content", [b"", b'{"results": {"ceval', b"\xff\xfe{"])
def test_a_half_written_file_is_left_out_of_its_folder_with_a_warning(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write_results(tmp_path, {LAW: (1, 4)}, date="2026-01-01T00-00-00.1")
    cut_off = tmp_path / "results_2026-01-02T00-00-00.1.json"
    cut_off.write_bytes(content)
    run = read_one(tmp_path)
    assert run.tasks[LAW].correct == 1
    assert [cut_off.name in reason for reason in run.left_out] == [True]
    (warning,) = caplog.messages
    assert warning.startswith(f"LEFT OUT: {cut_off}")
    with pytest.raises(ResultsError, match=cut_off.name):
        read_runs([cut_off])


def test_a_folder_of_half_written_files_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-02T00-00-00.1.json").write_text('{"results')
    with pytest.raises(ResultsError, match="not valid JSON"):
        read_runs([tmp_path])
