"""Runs beside each other: models as columns, one against another, and tasks of lm-eval's own."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from packed_runs import unpacked
from results_builder import DATE, write_results, write_samples
from scipy import stats

from lm_eval_baichuan import cli, compare
from lm_eval_baichuan.comparison.chance import against_chance, chance_of
from lm_eval_baichuan.comparison.intervals import Interval
from lm_eval_baichuan.comparison.outcome import Outcome, find_outcome
from lm_eval_baichuan.model_adapters.errors import PublishedError, ResultsError
from lm_eval_baichuan.results import known_suites, read_marks, read_runs

SUITES = {suite.name: suite for suite in known_suites()}
LAW = "ceval_5shot_law"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of the demo on four tasks that are not this package's, two of them a group."""
    return unpacked("other_tasks", tmp_path_factory.mktemp("others"))


def outcome_of(*paths: Path, against: str | None = None) -> Outcome:
    return find_outcome(read_runs(paths), against, 0.95)


def tasks_of(suite: str, correct: int = 45) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(SUITES[suite].tasks, (correct, 100))


def table(text: str, title: str) -> list[list[str]]:
    """The cells of a table in Markdown, headers first."""
    lines = text[text.index(f"### {title}") :].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|:")]


def markdown(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> str:
    assert cli.main(["compare", *map(str, arguments), "--format", "markdown"]) == 0
    return capsys.readouterr().out


def test_models_are_columns_and_suites_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        write_results(tmp_path / "a", tasks_of("ceval_5shot", 26), pretrained="me/a"),
        write_results(tmp_path / "b", tasks_of("ceval_5shot", 45) | tasks_of("mmlu_5shot"), pretrained="me/b"),
        write_results(tmp_path / "c", tasks_of("ceval_5shot", 50), pretrained="me/c"),
    ]
    headers, *rows = table(markdown(capsys, *paths), "Runs beside each other")
    assert headers == ["benchmark", "a", "b", "c", "chance"]
    cells = {row[0]: row[1:] for row in rows[:2]}
    assert [cell.split(" ±")[0] for cell in cells["C-Eval"]] == ["26.00", "45.00", "50.00", "25"]
    assert [row[0] for row in rows[:6]] == ["C-Eval", "STEM", "Hard", "Social Sciences", "Humanities", "Other"]
    mmlu = next(row for row in rows if row[0] == "MMLU")
    assert (mmlu[1], mmlu[3]) == ("–", "–")
    assert "no published" not in markdown(capsys, *paths)


def test_a_suite_that_only_a_later_run_was_asked_keeps_its_categories(tmp_path: Path) -> None:
    few = dict(list(tasks_of("ceval_5shot").items())[:1])  # no task of some categories
    paths = [
        write_results(tmp_path / "a", few | {"ceval_5shot_val_law": (1, 4)}, pretrained="me/a"),
        write_results(tmp_path / "b", tasks_of("ceval_5shot"), pretrained="me/b"),
    ]
    first = outcome_of(*paths).run_tables()[0]
    names = [row[0].strip() for row in first.rows]
    assert names.index("C-Eval (val)") > names.index("Other") > names.index("C-Eval")


def test_any_number_of_columns_fits_a_narrow_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        str(write_results(tmp_path / str(n), {LAW: (n + 3, 20)}, pretrained=f"me/my-model-{n}")) for n in range(12)
    ]
    assert cli.main(["compare", *paths]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for n in range(12):
        assert f"{100 * (n + 3) / 20:.2f} ±" in text


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((25.1, 40), "above chance"), ((20, 30), "not told from chance"), ((10, 24.9), "below chance")],
)
def test_chance_is_inside_the_interval_or_not(interval: tuple[float, float], verdict: str) -> None:
    assert against_chance(Interval(sum(interval) / 2, *interval, "Wilson"), 25) == verdict


def test_chance_is_one_in_as_many_as_there_are_options() -> None:
    assert chance_of([4, 4, 2]) == pytest.approx(100 / 3)
    assert chance_of([]) is None
    assert chance_of([0, 4]) is None


def test_all_our_tasks_have_four_options() -> None:
    folders = [path for path in (Path(__file__).parents[2] / "tasks").glob("*_5shot") if path.name != "baichuan_5shot"]
    bases = [base for folder in folders for base in folder.glob("_*_yaml")]
    assert len(bases) >= 6
    texts = [base.read_text(encoding="utf-8") for base in bases]
    assert all('doc_to_choice: ["A", "B", "C", "D"]' in text for text in texts if "\ninclude: " not in f"\n{text}")


def test_a_run_against_another_is_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {LAW: (40, 100)}
    for name, correct, seed in (("base", 40, 1), ("tuned", 60, 2)):
        write_results(tmp_path / name, {LAW: (correct, 100)}, pretrained=f"me/{name}")
        write_samples(tmp_path / name, tasks | {LAW: (correct, 100)}, seed=seed)
    text = markdown(capsys, tmp_path / "tuned", "--against", tmp_path / "base")
    headers, row, *_ = table(text, "tuned against base")
    assert headers == ["benchmark", "ours", "against", "diff.", "gained", "lost", "p", "verdict", "n"]
    assert (row[1].split()[0], row[2].split()[0], row[3]) == ("60.00", "40.00", "+20.00")
    gained, lost = int(row[4]), int(row[5])
    assert gained - lost == 20
    assert float(row[6]) == pytest.approx(stats.binomtest(lost, gained + lost).pvalue, rel=1e-2)
    assert row[7] == "differs"
    assert "base and tuned, question by question" in text
    assert cli.main(["compare", str(tmp_path / "tuned"), "--against", str(tmp_path / "base"), "--format", "csv"]) == 0
    _, differences, _ = capsys.readouterr().out.split("\r\n\n")
    (first, *_) = csv.DictReader(io.StringIO(differences))
    assert (first["run"], first["against"], first["gained"]) == ("tuned", "base", str(gained))


def test_pairs_of_a_partial_run_say_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, asked, options in (("base", 100, {}), ("tuned", 20, {"limit": 20.0, "available": 100})):
        write_results(tmp_path / name, {LAW: (asked // 2, asked)}, pretrained=f"me/{name}", **options)
        write_samples(tmp_path / name, {LAW: (asked // 2, asked)})
    text = markdown(capsys, tmp_path / "tuned", "--against", tmp_path / "base")
    assert "- C-Eval: paired on the 20 questions that both logged" in text


def test_without_samples_the_intervals_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "base", tasks_of("ceval_5shot", 45), pretrained="me/model")
    write_results(tmp_path / "tuned", tasks_of("ceval_5shot", 47), pretrained="me/model")
    text = markdown(capsys, tmp_path / "tuned", "--against", tmp_path / "base")
    headers, average, stem, *_ = table(text, "model against model (set against)")
    assert headers == ["benchmark", "ours", "against", "diff.", "verdict", "n"]
    assert average[3:5] == ["+2.00", "differs"]
    assert stem[3:5] == ["+2.00", "not told apart"]
    assert "a difference is told by the two intervals alone" in text
    (found,) = outcome_of(tmp_path / "tuned", against=str(tmp_path / "base")).against
    mean, error = found.differences[0].value, math.sqrt(2 * 0.46 * 0.54 / 5200)
    assert (found.differences[0].low, found.differences[0].high) == pytest.approx(
        (mean - 196 * error, mean + 196 * error), abs=0.1
    )


def test_what_a_run_is_set_against_has_to_be_there_and_one(tmp_path: Path) -> None:
    path = write_results(tmp_path / "a", tasks_of("ceval_5shot"))
    with pytest.raises(PublishedError, match="No published row is called '.*nowhere', and no results are there. The r"):
        compare(path, against=tmp_path / "nowhere")
    write_results(tmp_path / "b", tasks_of("ceval_5shot"), pretrained="me/b")
    with pytest.raises(ResultsError, match=r"2 runs \(Baichuan-7B, b\), where one is to be set against"):
        compare(path, against=tmp_path)


def test_a_folder_called_after_a_row_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Baichuan-7B", "tuned"):
        write_results(tmp_path / name, tasks_of("ceval_5shot"), pretrained=f"me/{name}")
    monkeypatch.chdir(tmp_path)
    folder, row, hub = (
        outcome_of(tmp_path / "tuned", against=against)
        for against in ("./Baichuan-7B", "Baichuan-7B", "baichuan-inc/Baichuan-7B")
    )
    assert folder.baseline is not None
    assert folder.comparisons[0].row is None
    for found in (row, hub):
        assert found.baseline is None
        assert found.comparisons[0].row is not None


def test_a_run_is_not_set_against_itself(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_results(tmp_path / name, tasks_of("ceval_5shot"), pretrained=f"me/{name}")
    found = outcome_of(tmp_path, against=str(tmp_path / "a"))
    assert [comparison.run.name for comparison in found.comparisons] == ["b"]
    assert found.baseline is not None
    assert found.baseline.run.name == "a"


def test_other_tasks_stand_beside_each_other(others: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = markdown(capsys, others)
    headers, *rows = table(text, "Runs beside each other")
    assert headers == ["benchmark", "checkpoint-500", "checkpoint-800", "chance"]
    for row in rows:
        task, _, metric = row[0].replace("\\_", "_").partition(", ")
        metric, _, filter_ = metric.partition(" (")
        for name, cell in zip((500, 800), row[1:], strict=False):
            (file,) = (others / f"demo-short__checkpoint-{name}").glob("results_*.json")
            results = json.loads(file.read_text(encoding="utf-8"))["results"][task]
            key = f"{metric},{filter_.rstrip(')') or 'none'}"
            assert float(cell.split(" ±")[0]) == pytest.approx(100 * results[key], abs=0.005)
            half = float(cell.split("±")[1].split(" ")[0])
            assert half == pytest.approx(
                196 * results[f"{metric}_stderr,{filter_.rstrip(')') or 'none'}"], rel=0.25, abs=7
            )
    assert [row[0].replace("\\_", "_") for row in rows] == [
        "pick_easy, acc",
        "pick_easy, acc_norm",
        "letters, exact_match (strict-match)",
        "letters, exact_match (flexible-extract)",
        "pick, acc",  # the group that reports a mean stands for its two tasks
    ]
    assert "5-shot accuracy" not in text


def test_chance_of_other_tasks_is_counted_from_their_options(others: Path) -> None:
    run = read_runs([others])[0]
    marks = read_marks(run)[("pick_easy", "acc", "none")]
    assert {mark.options for mark in marks.values()} == {3, 4, 5}
    scores = {score.key: score.chance for score in outcome_of(others).comparisons[0].scores}
    expected = 100 * sum(1 / mark.options for mark in marks.values()) / 40
    assert scores["pick_easy", "acc_norm", "none"] == pytest.approx(expected)
    assert scores["pick", "acc", "none"] == 25
    assert scores["letters", "exact_match", "strict-match"] is None


def test_two_runs_of_other_tasks_are_paired(others: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def right(step: int) -> dict[int, float]:
        (path,) = (others / f"demo-short__checkpoint-{step}").glob("samples_letters_*.jsonl")
        samples = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return {s["doc_id"]: s["exact_match"] for s in samples if s["filter"] == "flexible-extract"}

    first, second = right(500), right(800)
    _, *rows = table(markdown(capsys, others), "checkpoint-800 against checkpoint-500")
    row = next(row for row in rows if "flexible" in row[0])
    assert int(row[4]) == sum(second[n] > first[n] for n in first)
    assert int(row[5]) == sum(second[n] < first[n] for n in first)


def edited(others: Path, folder: Path, **changes: Any) -> Path:
    """A copy of one run's results with some values changed: ``{"results.pick_easy.acc,none": 1.5}``."""
    shutil.copytree(others / "demo-short__checkpoint-500", folder)
    (path,) = folder.glob("results_*.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes["changes"].items():
        *into, last = key.split(".")
        place = data
        for name in into:
            place = place[name]
        place[last] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"results.pick_easy.acc,none": 1.5}, "task pick_easy: acc is 1.5, no share of questions"),
        ({"results.pick_easy.acc,none": 10**400}, "task pick_easy: acc is 1000"),
        ({"results.pick_easy.acc_stderr,none": 10**400}, "task pick_easy: acc_stderr is 1000"),
        ({"group_subtasks.pick": ["pick"]}, "group_subtasks: pick holds itself"),
        ({"results.letters.exact_match,strict-match": 0.5}, "exact_match 0.0000, but results_.* says 0.5000"),
    ],
)
def test_damaged_results_of_other_tasks_are_refused(
    others: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ResultsError, match=message):
        outcome_of(edited(others, tmp_path / "x", changes=changes))


@pytest.mark.parametrize(
    ("place", "value"),
    [("exact_match", float("inf")), ("exact_match", "1"), ("doc_id", float("inf")), ("doc_id", True)],
)
def test_damaged_samples_of_other_tasks_are_refused(others: Path, tmp_path: Path, place: str, value: object) -> None:
    path = edited(others, tmp_path / "x", changes={})
    (samples,) = path.parent.glob("samples_letters_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    lines[0][place] = value
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(ResultsError, match=rf"{samples.name}, line 1: {place}: found .*expected"):
        outcome_of(path, others / "demo-short__checkpoint-800")


def test_groups_that_hold_each_other_many_times_take_no_time(others: Path, tmp_path: Path) -> None:
    pairs = {f"{side}{level}": [f"a{level + 1}", f"b{level + 1}"] for level in range(200) for side in "ab"}
    changes = {f"group_subtasks.{name}": below for name, below in {**pairs, "pick": ["a0", "pick_easy"]}.items()}
    outcome_of(edited(others, tmp_path / "x", changes=changes))  # 2 ** 200 ways lead through them


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"config.limit": 8, "n-samples.pick_easy": {"original": 400, "effective": 40}},
            "--limit 8: 40 of 400 questions",
        ),
        ({"n-samples": {"pick_stem": {"original": 40, "effective": 40}}}, "number of questions not recorded"),
        ({"n-shot.pick_easy": 5}, "shots 5; beside it 0"),
        ({"versions.pick_easy": 2.0}, "task version 2.0; beside it 1.0"),
        ({"config.model_dtype": "torch.bfloat16"}, "dtype bfloat16; beside it float16"),
        ({"chat_template": "{{ x }}"}, "chat template applied; beside it none"),
    ],
)
def test_figures_of_other_tasks_say_what_they_are_not(
    others: Path, tmp_path: Path, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(others, tmp_path / "x", changes=changes)
    for sample in (tmp_path / "x").glob("samples_*"):
        sample.unlink()
    text = markdown(capsys, path, others / "demo-short__checkpoint-800").replace("\\", "")
    assert words in text
    row = next(row for row in table(text, "Runs beside each other") if row[0] == "pick_easy, acc")
    assert "[a" in row[1]


def test_metrics_that_are_no_shares_are_left_out_by_name(others: Path, tmp_path: Path) -> None:
    changes = {"results.letters": {"alias": "letters", "bleu,none": 31.2, "bleu_stderr,none": 0.5}}
    (run,) = read_runs([edited(others, tmp_path / "x", changes=changes)])
    assert run.left_out == ["letters: bleu (no share of questions answered right)"]
    assert ("letters", "exact_match", "strict-match") not in run.others
    beside = outcome_of(run.path, others / "demo-short__checkpoint-800").run_tables()[0]
    assert f"{run.name}: left out: {run.left_out[0]}" in beside.footnotes


def test_a_group_without_a_standard_error_has_no_interval(
    others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(others, tmp_path / "x", changes={"results.pick.acc_stderr,none": "N/A"})
    row = next(row for row in table(markdown(capsys, path), "checkpoint-500 against chance") if row[0] == "pick, acc")
    assert row[1:3] == ["22.50 [a]", "–"]


def test_ours_and_other_tasks_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = tasks_of("ceval_5shot", 43) | {"arc_easy": (70, 100)}
    path = write_results(tmp_path, tasks, date=DATE)
    text = markdown(capsys, path).replace("\\", "")
    assert table(text, "Baichuan-7B against Baichuan-7B")[1][0] == "C-Eval"
    assert table(text, "Baichuan-7B, tasks that are not this package's")[1][:2] == ["arc_easy, acc", "70.00"]
    row = table(text, "5-shot accuracy")[-1]
    assert row[:2] == ["Baichuan-7B", "43.00"]
