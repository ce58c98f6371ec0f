"""The page is self-contained, holds the right figures, and shows questions as the text they are."""

from __future__ import annotations

import base64
import json
import random
import re
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


def page_of(*folders: Path) -> str:
    runs = read_runs(folders)
    logged = [read_logged(run) for run in runs]
    return build_page(runs, find_outcome(runs, "Baichuan-7B", 0.95, logged), logged)


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


def test_no_two_elements_share_an_id(folder: Path) -> None:
    ids = Page(page_of(folder)).ids
    assert len(ids) > 30
    assert len(ids) == len(set(ids))
    references = re.findall(r"url\(#([^)]*)\)", page_of(folder))
    assert references
    assert set(references) <= set(ids)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    tasks = {LAW: (20, 60)}
    write_results(tmp_path, tasks, pretrained=f"me/{HOSTILE.replace('/', '')}", metadata={"note": HOSTILE})
    write_samples(tmp_path, tasks, texts=[f"{HOSTILE}{number}" for number in range(60)])
    write_results(tmp_path / "other", tasks)
    write_samples(tmp_path / "other", tasks, seed=5, texts=[f"{HOSTILE}{number}" for number in range(60)])
    plain = Page(page_of(tmp_path / "other"))
    parsed = Page(page_of(tmp_path / f"results_{'2026-11-23T10-00-00.000001'}.json", tmp_path / "other"))
    assert len(parsed.scripts) == len(plain.scripts) == 2
    assert "img" not in parsed.tags
    assert not any("alert(" in script for script in parsed.scripts)
    assert json.dumps(HOSTILE, ensure_ascii=False) in "".join(parsed.text)  # in the configuration, as text


def test_the_questions_are_all_there_once(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "second", TASKS)
    write_samples(tmp_path / "second", TASKS, seed=9)
    data = unpack(page_of(folder, tmp_path / "second"))
    assert len(data["texts"]) == 180
    assert data["subjects"] == ["C-Eval: law", "C-Eval: logic", "C-Eval: marxism"]
    assert [run["name"] for run in data["runs"]] == ["Baichuan-7B (run)", "Baichuan-7B (second)"]
    for run, rows in zip(read_runs([folder, tmp_path / "second"]), (r["rows"] for r in data["runs"]), strict=True):
        answers = [answer for found in read_logged(run).values() for answer in found]
        assert len(rows) == len(answers) == 180
        for (subject, number, text, right, said, margin), answer in zip(rows, answers, strict=True):
            assert data["subjects"][subject] == f"C-Eval: {answer.task.removeprefix('ceval_5shot_')}"
            assert (number, data["texts"][text]) == (answer.doc_id, answer.question)
            assert data["labels"][right] == answer.labels[answer.target]
            assert data["labels"][said] == answer.labels[answer.predicted]
            assert margin == pytest.approx(answer.margin, abs=5e-4)


def test_text_that_is_not_quite_unicode_is_packed(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (1, 2)})
    write_samples(tmp_path, {LAW: (1, 2)}, texts=["plain", "half a pair"])
    (samples,) = tmp_path.glob("samples_*")
    samples.write_text(samples.read_text(encoding="utf-8").replace("half a pair", "half \\ud83d"), encoding="utf-8")
    target = tmp_path / "page.html"
    assert cli.main(["report", str(tmp_path), "-o", str(target)]) == 0
    assert target.stat().st_size > 10_000


def test_figures_of_the_page_are_those_of_the_comparison(folder: Path) -> None:
    text = " ".join(" ".join(Page(page_of(folder)).text).split())
    assert "C-Eval 52.78" in text  # (20 + 30 + 45) / 180 questions, the same share of each 60
    assert "subset: 3 of 52 subjects" in text
    assert "180 questions" in text


def test_without_samples_the_page_says_so(tmp_path: Path) -> None:
    write_results(tmp_path, TASKS)
    page = page_of(tmp_path)
    assert "no samples were logged for 3 of its 3 tasks" in page
    assert 'id="packed-questions"' not in page
    assert 'id="answers"' not in page
    assert "Beside the published table" in page


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
    text = " ".join(" ".join(Page(page_of(tmp_path)).text).split())
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
    found = [(subject.subject, subject.category, subject.correct) for subject in subjects(run, suite, 0.95)]
    assert found == [("marxism", "social_science", 45), ("logic", "humanities", 30), ("law", "humanities", 20)]


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
    assert any("<script>alert(1)</script>" in text for text in data["texts"])
    assert len(Page(page).scripts) == 2
    (run,) = read_runs([written / "0.4.13"])
    assert len(data["runs"][1]["rows"]) == sum(len(read_answers(result) or []) for result in run.tasks.values()) == 12
