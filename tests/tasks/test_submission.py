"""A submission run scores nothing and writes one answer to every test question, or stops."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_prompts
import pytest

from lm_eval_baichuan.tasks.ceval_5shot.submission import write_submission

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def unanswered(small_data: Path, tmp_path: Path) -> Path:
    """The small data as the old official zip has it: no answers in the test files."""
    folder = Path(shutil.copytree(small_data / "ceval", tmp_path / "data" / "ceval"))
    for path in (folder / "test").iterdir():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row[:6] for row in csv.reader(file)]
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path / "data"


@pytest.fixture
def total(tables: dict[str, list[dict[str, Any]]]) -> int:
    """How many test questions the small data has."""
    return sum(3 + len(row["subject"]) % 3 for row in tables["ceval"])


def check_file(path: Path, results: dict[str, Any], questions: int) -> None:
    written = json.loads(path.read_text("utf-8"))
    samples = results["samples"]["ceval_5shot_submission"]
    assert len(written) == 52
    assert sum(len(answers) for answers in written.values()) == len(samples) == questions
    for sample in samples:
        logprobs = [response[0][0] for response in sample["resps"]]
        letter = "ABCD"[logprobs.index(max(logprobs))]
        assert written[sample["doc"]["subject"]][sample["doc"]["id"]] == letter
        assert sample["doc"]["answer"] == ""
    assert results["results"]["ceval_5shot_submission"]["answered,none"] == questions
    assert not any("acc" in metric for metric in results["results"]["ceval_5shot_submission"])


def test_the_file_holds_what_the_model_chose(unanswered: Path, tmp_path: Path, evaluate: Evaluate, total: int) -> None:
    target = tmp_path / "answers.json"
    metadata = {"data_dir": str(unanswered), "own_data": True, "submission": str(target)}
    check_file(target, evaluate("ceval_5shot_submission", **metadata), total)
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(FileExistsError, match="answers.json exists already"):
        evaluate("ceval_5shot_submission", **metadata)


@pytest.mark.slow
def test_the_real_test_split_gives_12342_answers(data_dir: Path, tmp_path: Path, evaluate: Evaluate) -> None:
    target = tmp_path / "answers.json"
    results = evaluate("ceval_5shot_submission", data_dir=str(data_dir), submission=str(target))
    check_file(target, results, 12342)


def test_an_incomplete_run_writes_nothing(unanswered: Path, tmp_path: Path, evaluate: Evaluate, total: int) -> None:
    metadata = {"data_dir": str(unanswered), "own_data": True, "submission": str(tmp_path / "answers.json")}
    with pytest.raises(ValueError, match=f"needs {total} answers, and this run gave 10 to 10 different questions"):
        evaluate("ceval_5shot_submission", limit=10, **metadata)
    assert not (tmp_path / "answers.json").exists()


def test_ids_that_repeat_write_nothing(unanswered: Path, tmp_path: Path, evaluate: Evaluate, total: int) -> None:
    path = unanswered / "ceval" / "test" / "law_test.csv"
    with path.open(encoding="utf-8", newline="") as file:
        header, first, second, third = csv.reader(file)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, first, ["0", *second[1:]], third])
    metadata = {"data_dir": str(unanswered), "own_data": True, "submission": str(tmp_path / "answers.json")}
    with pytest.raises(
        ValueError, match=f"needs {total} answers, and this run gave {total} to {total - 1} different questions"
    ):
        evaluate("ceval_5shot_submission", **metadata)


def test_a_folder_that_is_not_there(unanswered: Path, tmp_path: Path, evaluate: Evaluate) -> None:
    target = tmp_path / "nowhere" / "answers.json"
    with pytest.raises(FileNotFoundError, match="nowhere, the folder of the submission file, does not exist"):
        evaluate("ceval_5shot_submission", data_dir=str(unanswered), own_data=True, submission=str(target))


def test_an_incomplete_test_split_stops_at_load(data_dir: Path, tmp_path: Path, evaluate: Evaluate) -> None:
    folder = tmp_path / "data" / "ceval"
    for part in ("dev", "test"):
        (folder / part).mkdir(parents=True)
        for path in (data_dir / "ceval" / part).iterdir():
            (folder / part / path.name).write_bytes(path.read_bytes())
    law = folder / "test" / "law_test.csv"
    law.write_bytes(law.read_bytes()[: law.read_bytes().rindex(b"\n220,") + 1])
    with pytest.raises(ValueError, match="C-Eval law, test: 220 rows found .*, 221 expected"):
        evaluate("ceval_5shot_submission", data_dir=str(folder.parent), submission=str(tmp_path / "answers.json"))


def test_the_prompts_are_those_of_ceval_5shot(small_data: Path, tmp_path: Path, load: Callable[..., Any]) -> None:
    metadata = {"data_dir": str(small_data), "own_data": True, "submission": str(tmp_path / "answers.json")}
    (task,) = load("ceval_5shot_submission", **metadata).values()
    task.build_all_requests()
    found = [request.args for request in task.instances if request.doc["subject"] == "law"]
    expected = [
        (asked.context, letter) for asked in plain_prompts.ceval(small_data, "law", "test", "法学") for letter in "ABCD"
    ]
    assert found == expected


def test_a_folder_that_cannot_be_written_to_stops_before_the_questions(
    unanswered: Path, tmp_path: Path, load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match=f"{tmp_path}, the folder of the submission file, cannot be written to .No space"):
        load("ceval_5shot_submission", data_dir=str(unanswered), own_data=True, submission=str(tmp_path / "answers"))


def test_answers_without_a_place_in_the_end_go_to_another_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").write_text("a file where the folder was")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    target = tmp_path / "gone" / "answers.json"
    answers = [{"submission": str(target), "submission_rows": 1, "subject": "law", "id": "0", "answer": "B"}]
    with pytest.raises(OSError, match=r"could not be written to .*answers.json .Not a directory.. It is in") as stopped:
        write_submission(answers)
    (kept,) = tmp_path.glob("*_answers.json")
    assert str(kept) in str(stopped.value)
    assert json.loads(kept.read_text("utf-8")) == {"law": {"0": "B"}}
