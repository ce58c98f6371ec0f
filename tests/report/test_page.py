"""The page is self-contained, holds the right figures, and shows questions as the text they are."""

from __future__ import annotations

import base64
import json
import random
import re
import tarfile
import time
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from results_builder import softmax_of_best, write_results, write_samples

from lm_eval_baichuan import cli
from lm_eval_baichuan.comparison.outcome import find_outcome
from lm_eval_baichuan.html_report.analysis import calibration, confusion, subjects
from lm_eval_baichuan.html_report.page import build_page
from lm_eval_baichuan.html_report.questions import NO_TEXT, split_options
from lm_eval_baichuan.html_report.summary import summaries
from lm_eval_baichuan.results import Answer, Run, find_suite, read_answers, read_logged, read_runs

LAW, LOGIC, MARXISM = "ceval_5shot_law", "ceval_5shot_logic", "ceval_5shot_marxism"
TASKS = {LAW: (20, 60), LOGIC: (30, 60), MARXISM: (45, 60)}
HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)> & 题'


class Page(HTMLParser):
    """What a browser would make of the page's tags."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.open_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.addresses += [value for key in ("src", "href", "xlink:href", "action") if (value := values.get(key))]
        self.open_script = tag == "script"
        if self.open_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open_script = self.open_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.open_script:
            self.scripts[-1] += data
        else:
            self.text.append(data)


def page_of(*folders: Path, language: str = "en", against: str | None = "Baichuan-7B") -> str:
    runs = read_runs(folders)
    logged = [read_logged(run) for run in runs]
    return build_page(runs, find_outcome(runs, against, 0.95, logged), logged, language)


def words_of(page: str) -> str:
    return " ".join(" ".join(Page(page).text).split())


def unpack(page: str) -> dict[str, Any]:
    (packed,) = re.findall(r'id="packed-questions">([^<]*)<', page)
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path / "run", TASKS)
    write_samples(tmp_path / "run", TASKS)
    return tmp_path / "run"


def one_run(folder: Path) -> tuple[Run, list[Answer]]:
    (run,) = read_runs([folder])
    return run, [answer for answers in read_logged(run).values() for answer in answers]


def test_nothing_on_the_page_is_fetched(folder: Path) -> None:
    page = page_of(folder)
    parsed = Page(page)
    assert {address for address in parsed.addresses if not address.startswith("#")} == set()
    assert not {"link", "img", "iframe", "object", "embed", "image"} & set(parsed.tags)
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert "url(http" not in page


def test_no_two_elements_share_an_id(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "second", TASKS)
    write_samples(tmp_path / "second", TASKS, seed=9)
    parsed = Page(page_of(folder, tmp_path / "second"))
    assert len(parsed.ids) > 15
    assert len(parsed.ids) == len(set(parsed.ids))
    named = {a.removeprefix("#") for a in parsed.addresses if not a.startswith(("#subject-", "#question-"))}
    assert named <= set(parsed.ids)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    tasks = {LAW: (20, 60)}
    write_results(tmp_path, tasks, pretrained=f"me/{HOSTILE.replace('/', '')}", metadata={"note": HOSTILE})
    write_samples(tmp_path, tasks, texts=[f"{HOSTILE}{number}" for number in range(60)])
    write_results(tmp_path / "other", tasks)
    write_samples(tmp_path / "other", tasks, seed=5, texts=[f"{HOSTILE}{number}" for number in range(60)])
    plain = Page(page_of(tmp_path / "other"))
    parsed = Page(page_of(tmp_path / f"results_{'2026-11-23T10-00-00.000001'}.json", tmp_path / "other"))
    assert len(parsed.scripts) == len(plain.scripts) == 3
    assert "img" not in parsed.tags
    assert not any("alert(" in script for script in parsed.scripts)
    assert json.dumps(HOSTILE, ensure_ascii=False) in "".join(parsed.text)  # in the configuration, as text


def test_the_questions_are_all_there_once(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "second", TASKS)
    write_samples(tmp_path / "second", TASKS, seed=9)
    data = unpack(page_of(folder, tmp_path / "second"))
    assert len(data["texts"]) == 180
    titles = ["C-Eval: 法学 law", "C-Eval: 法学 logic", "C-Eval: 法学 marxism"]
    assert data["subjects"] == [[task, title] for task, title in zip(TASKS, titles, strict=True)]
    assert [run["name"] for run in data["runs"]] == ["Baichuan-7B (run)", "Baichuan-7B (second)"]
    for run, rows in zip(read_runs([folder, tmp_path / "second"]), (r["rows"] for r in data["runs"]), strict=True):
        answers = [answer for found in read_logged(run).values() for answer in found]
        assert len(rows) == len(answers) == 180
        for row, answer in zip(rows, answers, strict=True):
            one = dict(zip(data["columns"], row, strict=True))
            assert data["subjects"][one["subject"]][0] == answer.task
            assert (one["number"], "".join(data["texts"][one["text"]])) == (answer.doc_id, answer.question)
            assert tuple(data["labels"][one["labels"]]) == answer.labels
            assert (one["right"], one["said"]) == (answer.target, answer.predicted)
            assert one["logprobs"] == pytest.approx(answer.logprobs, abs=5e-4)
            whole = data["around"][one["before"]] + answer.question + data["around"][one["after"]]
            assert whole == f"指示\n\n{answer.question}"
    assert len(data["around"]) == 2  # the instruction once, and nothing behind a question


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (
            "问？\nA. 一\nB. 二\nC. 三\nD. 四\n答案：",
            ["问？\n", "A. ", "一\n", "B. ", "二\n", "C. ", "三\n", "D. ", "四", "\n答案："],
        ),
        ("A. x\nB. y\n读上文。\n（A）一\n（B） 二", ["A. x\nB. y\n读上文。\n", "（A）", "一\n", "（B） ", "二", ""]),
        ("A. two\nlines\nB: end", ["", "A. ", "two\nlines\n", "B: ", "end", ""]),
        ("选项在一行 A. 一 B. 二", ["选项在一行 A. 一 B. 二"]),
        ("B. 二\nA. 一", ["B. 二\nA. 一"]),
        ("", [""]),
    ],
)
def test_options_are_found_in_lines_of_their_own(text: str, pieces: list[str]) -> None:
    labels = ("A", "B", "C", "D") if "D. " in text else ("A", "B")
    assert split_options(text, labels) == pieces
    assert "".join(split_options(text, labels)) == text


@pytest.mark.parametrize("suite", ["ceval_5shot", "cmmlu_5shot", "mmlu_5shot"])
def test_the_form_of_a_benchmark_shows_its_options(suite: str) -> None:
    """The question as the tasks' own template writes it."""
    import jinja2
    import yaml

    import lm_eval_baichuan.tasks as tasks

    (file,) = (Path(tasks.__file__).parent / suite).glob(f"_{suite}_yaml")
    form = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader)["metadata"]["protocol"]["question"]  # noqa: S506
    options = {label: f"option {label}" for label in "ABCD"}
    text = jinja2.Template(form).render(question="what?", Question="what?", **options)  # noqa: S701
    found = split_options(text, tuple("ABCD"))
    assert [piece.strip() for piece in found[2:9:2]] == list(options.values())


def test_a_prompt_that_does_not_hold_the_question_is_said_to_be_unknown(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (1, 2)})
    write_samples(tmp_path, {LAW: (1, 2)}, texts=["first", "second"])
    (samples,) = tmp_path.glob("samples_*")
    samples.write_text(samples.read_text(encoding="utf-8").replace("指示\\n\\nfirst", "otherwise"), encoding="utf-8")
    (run,) = read_runs([tmp_path])
    assert [answer.before for answer in read_logged(run)[LAW]] == [None, "指示\n\n"]
    data = unpack(page_of(tmp_path))
    assert [row[data["columns"].index("before")] for row in data["runs"][0]["rows"]] == [NO_TEXT, 1]


def test_text_that_is_not_quite_unicode_is_packed(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (1, 2)})
    write_samples(tmp_path, {LAW: (1, 2)}, texts=["plain", "half a pair"])
    (samples,) = tmp_path.glob("samples_*")
    samples.write_text(samples.read_text(encoding="utf-8").replace("half a pair", "half \\ud83d"), encoding="utf-8")
    target = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path), "-o", str(target)]) == 0
    assert target.stat().st_size > 10_000


def test_figures_of_the_page_are_those_of_the_comparison(folder: Path) -> None:
    text = words_of(page_of(folder))
    assert "C-Eval 52.78" in text  # (20 + 30 + 45) / 180 questions, the same share of each 60
    assert "subset: 3 of 52 subjects" in text
    assert "180 questions" in text


def test_the_summary_tells_what_one_must_know(folder: Path) -> None:
    runs = read_runs([folder])
    (one,) = summaries(find_outcome(runs, "Baichuan-7B", 0.95, None))
    assert (one.run, one.model, one.score.key[0]) == ("Baichuan-7B", "baichuan-inc/Baichuan-7B", "ceval_5shot")
    assert (one.split, one.shots, one.dtype, one.date) == ("test", "5", "bfloat16", "2026-11-23")
    assert (one.score.questions, one.verdict) == ("180", "not comparable")
    assert one.reasons == ("subset: 3 of 52 subjects",)
    assert one.certificate.startswith("verified: 12 requests")
    words = words_of(page_of(folder))
    summary = words[words.index("model benchmark") :]
    facts = "42.8 not comparable subset: 3 of 52 subjects 180 test 5 bfloat16 2026-11-23 verified"
    assert facts in summary[: summary.index("Comparison")]


def test_a_summary_of_several_runs_has_a_line_for_each_benchmark_of_each(tmp_path: Path) -> None:
    for number in range(8):
        write_results(
            tmp_path / f"{number}", {LAW: (30, 60), "mmlu_5shot_anatomy": (number, 60)}, pretrained=f"m/s-{number}"
        )
    runs = read_runs([tmp_path / f"{number}" for number in range(8)])
    found = summaries(find_outcome(runs, None, 0.95))
    titles = list(dict.fromkeys(one.score.title for one in found))
    assert sorted(titles) == ["C-Eval", "MMLU"]
    assert [(one.run, one.score.title) for one in found] == [
        (f"s-{number}", title) for number in range(8) for title in titles
    ]
    page = build_page(runs, find_outcome(runs, None, 0.95), [{} for _ in runs])
    assert "8 runs: s-0 to s-7" in page


def test_a_partial_run_says_in_its_summary_what_it_is_not(tmp_path: Path) -> None:
    """With and without a published row: no table is needed to know that these are not C-Eval's figures."""
    write_results(tmp_path, {LAW: (4, 8)}, pretrained="me/own", split="val", limit=8, available=100)
    runs = read_runs([tmp_path])
    (one,) = summaries(find_outcome(runs, None, 0.95))
    assert (one.verdict, one.split, one.score.questions) == ("not told from chance", "val", "8 of 100")
    for reason in ("subset: 1 of 52 subjects", "--limit 8: 8 of 100 questions", "val split; published on test"):
        assert reason in one.reasons
        assert reason in words_of(page_of(tmp_path))


def test_tasks_that_are_not_ours_stand_in_the_summary_alone(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent.parent / "compare" / "other_tasks.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    page = page_of(tmp_path, against=None)
    words = words_of(page)
    assert "letters, exact_match (flexible-extract) 50.00" in words
    assert "Runs beside each other" in words
    parsed = Page(page)
    assert {a.removeprefix("#") for a in parsed.addresses} == set(parsed.ids) - {"texts", "row"}
    assert not {"categories", "subjects", "row"} & set(parsed.ids)


def test_checkpoints_of_one_training_stand_in_its_order(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent.parent / "compare" / "demo_checkpoints.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    page = page_of(*sorted(tmp_path.iterdir(), reverse=True), against=None)
    words = words_of(page)
    assert "8 runs: checkpoint-100 to checkpoint-800" in words
    assert "demo over the training of demo-short/*" in words
    data = unpack(page)
    assert [run["name"] for run in data["runs"]] == [f"checkpoint-{step}" for step in range(100, 900, 100)]
    right = [sum(row[4] == row[5] for row in run["rows"]) for run in data["runs"]]
    assert [100 * count / 240 for count in right] == pytest.approx(
        [25, 9.58, 20, 22.5, 47.5, 78.75, 100, 100], abs=0.01
    )


def test_a_run_set_against_another_has_its_questions_too(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "second", TASKS, pretrained="me/second")
    write_samples(tmp_path / "second", TASKS, seed=9)
    page = page_of(tmp_path / "second", against=str(folder))
    assert [run["name"] for run in unpack(page)["runs"]] == ["Baichuan-7B", "second"]
    assert "second against Baichuan-7B" in words_of(page)


def test_no_unit_stands_unexplained(folder: Path) -> None:
    words = words_of(page_of(folder))
    assert "nats, the unit of the natural logarithm" in words
    assert "A well calibrated model is right in 70 %" in words


def test_without_samples_the_page_says_so(tmp_path: Path) -> None:
    write_results(tmp_path, TASKS)
    page = page_of(tmp_path)
    assert "no samples were logged for 3 of its 3 tasks" in page
    assert 'id="packed-questions"' not in page
    assert 'id="answers"' not in page
    assert "Baichuan-7B against Baichuan-7B" in page


def test_samples_of_some_tasks_only_are_shown_as_such(tmp_path: Path) -> None:
    write_results(tmp_path, TASKS)
    write_samples(tmp_path, {LAW: TASKS[LAW]})
    page = page_of(tmp_path)
    assert "no samples were logged for 2 of its 3 tasks" in page
    assert len(unpack(page)["texts"]) == 60


def test_a_model_that_always_says_a_is_seen(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (15, 60)})
    write_samples(tmp_path, {LAW: (15, 60)}, say="A")
    _, answers = one_run(tmp_path)
    counted = confusion(answers)
    assert counted.labels == ("A", "B", "C", "D")
    assert (counted.predicted, counted.right) == ([60, 0, 0, 0], [15, 45, 0, 0])
    text = words_of(page_of(tmp_path))
    assert "share said 100.0 % 0.0 % 0.0 % 0.0 %" in text


def test_the_confusion_counts_right_against_predicted(folder: Path) -> None:
    _, answers = one_run(folder)
    found = confusion(answers)
    for row, right in enumerate(found.labels):
        for column, said in enumerate(found.labels):
            expected = sum(a.labels[a.target] == right and a.labels[a.predicted] == said for a in answers)
            assert found.counts[row][column] == expected
    assert sum(found.counts[n][n] for n in range(4)) == 95
    assert found.total == 180


def answered(best: float, *, right: bool) -> Answer:
    """An answer whose likeliest label is ahead of three others alike by ``best`` nats."""
    return Answer(LAW, 0, "题", ("A", "B", "C", "D"), (0.0, -best, -best, -best), 0 if right else 1)


def test_calibration_by_hand(folder: Path) -> None:
    _, logged = one_run(folder)
    for answer in logged[:10]:
        assert answer.confidence == pytest.approx(softmax_of_best(answer.logprobs))
    # Too modest where unsure, too bold where sure: the two errors may not cancel.
    answers = [answered(0.1, right=n < 9) for n in range(10)] + [answered(5.0, right=n < 2) for n in range(20)]
    modest, bold = softmax_of_best((0.0, -0.1, -0.1, -0.1)), softmax_of_best((0.0, -5.0, -5.0, -5.0))
    found = calibration(answers)
    assert found.confidence == pytest.approx((modest, bold))
    assert found.accuracy == pytest.approx((0.9, 0.1))
    assert found.asked == (10, 20)
    assert found.expected_error == pytest.approx((10 * (0.9 - modest) + 20 * (bold - 0.1)) / 30)


def test_subjects_are_sorted_and_know_their_category(folder: Path) -> None:
    run, _ = one_run(folder)
    suite = find_suite(LAW)
    assert suite is not None
    found = [(one.subject, one.category, one.scores[0]) for one in subjects([run], suite, 0.95)]
    assert [(name, category, score and score.correct) for name, category, score in found] == [
        ("marxism", "social_science", 45),
        ("logic", "humanities", 30),
        ("law", "humanities", 20),
    ]


def test_a_subject_has_a_place_for_each_run(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "second", {LAW: (60, 60)})
    runs = read_runs([folder, tmp_path / "second"])
    suite = find_suite(LAW)
    assert suite is not None
    found = {one.subject: [score and score.correct for score in one.scores] for one in subjects(runs, suite, 0.95)}
    assert found == {"marxism": [45, None], "law": [20, 60], "logic": [30, None]}
    assert list(found) == ["marxism", "law", "logic"]  # by the mean of those that were asked


def test_a_whole_benchmark_makes_a_small_page_quickly(tmp_path: Path) -> None:
    """C-Eval's test split has 12 342 questions in 52 subjects."""
    suite = find_suite(LAW)
    assert suite is not None
    sizes = [237] * 50 + [246] * 2
    assert sum(sizes) == 12342
    tasks = {task: (size // 3, size) for task, size in zip(suite.tasks, sizes, strict=True)}
    draw = random.Random(0)  # noqa: S311  # test data
    texts = ["".join(chr(draw.randrange(0x4E00, 0x9FFF)) for _ in range(160)) for _ in range(246)]
    write_results(tmp_path, tasks)
    for task, counts in tasks.items():
        write_samples(tmp_path, {task: counts}, texts=[f"{task} {text}" for text in texts])
    started = time.process_time()  # not by the clock on the wall: other work on the machine is not the page's
    page = page_of(tmp_path)
    assert time.process_time() - started < 20
    assert len(page.encode("utf-8")) < 25e6
    assert len(unpack(page)["texts"]) == 12342


def test_damaged_samples_stop_the_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = folder.glob(f"samples_{LAW}_*")
    path.write_bytes(path.read_bytes()[:-30])
    target = tmp_path / "page.html"
    assert cli.main(["report", str(folder), "-o", str(target)]) == 2
    assert f"{path}, line 60: not valid JSON" in capsys.readouterr().err
    assert not target.exists()


def test_real_files_of_lm_eval_make_a_page() -> None:
    written = Path(__file__).parent.parent / "compare" / "written_by_lm_eval"
    page = page_of(written / "0.4.9", written / "0.4.13")
    data = unpack(page)
    assert any("<script>alert(1)</script>" in "".join(pieces) for pieces in data["texts"])
    assert len(Page(page).scripts) == 3
    (run,) = read_runs([written / "0.4.13"])
    assert len(data["runs"][1]["rows"]) == sum(len(read_answers(result) or []) for result in run.tasks.values()) == 12
