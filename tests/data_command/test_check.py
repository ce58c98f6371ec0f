"""`data check` tells complete from damaged from not there, with the reason, and its exit status says so too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lm_eval_baichuan import cli
from lm_eval_baichuan.data.checksums import Checksums
from lm_eval_baichuan.data.known import known_hashes, rows_hash
from lm_eval_baichuan.data.sources import benchmarks, home, read_file, set_files, task_module


@pytest.fixture
def folder(made_data: Path, known_file: Path, tmp_path: Path) -> Path:
    """A copy of three sets that a test may damage."""
    for name in ("cmmlu", "gaokao-bench", "agieval"):
        shutil.copytree(made_data / name, tmp_path / name)
    return tmp_path


def check(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = cli.main(["data", "check", str(folder), *arguments])
    return status, capsys.readouterr().out


def record(folder: Path, benchmark: str) -> None:
    Checksums(folder).record(benchmark, {file.path: read_file(file, folder) for file in set_files(benchmark)})


def assert_complete(status: int, out: str) -> None:
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        [name, "complete"] for name in ("ceval", "mmlu", "cmmlu", "gaokao", "agieval")
    ]
    assert "dev 260, test 12342, val 1346" in out and "dev 285, test 14042" in out and "dev 335, test 11582" in out
    assert "all 1538, single 1503" in out and "all 5888, four_options 5881, single 4851" in out


def test_a_complete_folder_is_complete(made_data: Path, known_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_complete(*check(made_data, capsys))


def test_the_published_files_have_the_known_hashes(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_complete(*check(data_dir, capsys))


def test_every_file_but_most_of_cevals_has_a_known_hash_at_the_revision_that_the_tasks_pin() -> None:
    for name in benchmarks():
        known = known_hashes()[name]
        assert known["revision"] == home(name)[1]
        files = {file.path for file in set_files(name)} if name != "ceval" else {"ceval/val/accountant_val.csv"}
        assert set(known["files"]) == files


def test_a_question_other_than_the_published_one_is_found_without_recorded_checksums(
    folder: Path, known_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = set_files("gaokao")[0]
    rows = task_module("gaokao").read_rows(file.source, str(folder))
    known_file.write_text(json.dumps({"gaokao": {"files": {file.path: rows_hash(rows)}}}))
    known_hashes.cache_clear()
    assert check(folder, capsys, "--only", "gaokao")[0] == 0
    path = folder / file.path
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")), indent=2), "utf-8")  # the same rows in other bytes
    assert check(folder, capsys, "--only", "gaokao")[0] == 0
    path.write_text(path.read_text("utf-8").replace("\\u7b2c", "\\u7b2d", 1), "utf-8")
    status, out = check(folder, capsys, "--only", "gaokao")
    assert status == 1
    assert f"{file.path}: its rows are not the published ones" in out


def test_a_set_that_is_not_there_is_not_called_damaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = check(folder, capsys, "--only", "mmlu,gaokao")
    assert status == 1
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["mmlu", "not", "there"],
        ["gaokao", "complete", "9/9"],
    ]
    assert check(folder, capsys, "--only", "gaokao")[0] == 0


@pytest.mark.parametrize(
    ("path", "damage", "reason"),
    [
        ("cmmlu/test/agronomy.csv", None, "cmmlu/test/agronomy.csv: missing"),
        ("cmmlu/dev/agronomy.csv", b"cut", "4 rows found"),
        ("cmmlu/test/arts.csv", b"\xff\xfe", "the file is UTF-16, UTF-8 was expected"),
        ("gaokao-bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json", b"{", "not JSON"),
        ("agieval/data/v1/sat-math.jsonl", b"", "holds no rows"),
    ],
)
def test_damage_is_named(
    path: str, damage: bytes | None, reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = folder / path
    if damage is None:
        damaged.unlink()
    elif damage == b"cut":  # the last of five rows, each of two lines
        damaged.write_bytes(b"\n".join(damaged.read_bytes().split(b"\n")[:-3]) + b"\n")
    else:
        damaged.write_bytes(damage)
    status, out = check(folder, capsys, "--only", "cmmlu,gaokao,agieval")
    assert status == 1
    states = {line.split()[0]: line.split()[1] for line in out.splitlines()[1:4]}
    hit = {"gaokao-bench": "gaokao"}.get(path.split("/")[0], path.split("/")[0])
    assert states == {name: "damaged" if name == hit else "complete" for name in ("cmmlu", "gaokao", "agieval")}
    assert reason in out and Path(path).name in out


def test_an_answer_that_changed_after_fetching_is_found_by_its_checksum(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(folder, "gaokao")
    status, out = check(folder, capsys, "--only", "gaokao")
    assert status == 0 and "recorded at first fetch, 20" in out
    changed = folder / "gaokao-bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json"
    changed.write_text(changed.read_text("utf-8").replace("A", "B", 1), "utf-8")
    status, out = check(folder, capsys, "--only", "gaokao")
    assert status == 1
    assert f"{changed.name}: checksum differs from what `data fetch` recorded" in out


def test_the_same_questions_in_another_form_are_as_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "gaokao")
    reformed = folder / "gaokao-bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json"
    reformed.write_text(json.dumps(json.loads(reformed.read_text("utf-8")), indent=2), "utf-8")
    assert check(folder, capsys, "--only", "gaokao")[0] == 0


def test_a_record_of_an_earlier_release_holds_the_bytes_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "gaokao")
    path = folder / "checksums.json"
    recorded = json.loads(path.read_text("utf-8"))
    del recorded["gaokao"]["rows"], recorded["gaokao"]["first_fetched"]
    path.write_text(json.dumps(recorded), "utf-8")
    assert check(folder, capsys, "--only", "gaokao")[0] == 0
    changed = folder / "gaokao-bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json"
    changed.write_text(changed.read_text("utf-8").replace("A", "B", 1), "utf-8")
    assert check(folder, capsys, "--only", "gaokao")[0] == 1


def test_what_the_rows_were_compared_with_is_said(
    folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no recorded checksums" in check(folder, capsys, "--only", "gaokao")[1]
    monkeypatch.undo()  # the true file of known hashes
    known_hashes.cache_clear()
    out = check(data_dir, capsys, "--only", "gaokao,ceval")[1]
    assert "the published hashes" in out and "no recorded checksums" in out


def test_only_the_first_reasons_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((folder / "cmmlu" / "test").iterdir())[:10]:
        path.unlink()
    out = check(folder, capsys, "--only", "cmmlu")[1]
    assert "10 problems" in out and out.count(": missing") == 3 and "… and 7 more" in out


def test_unreadable_checksums_are_said_to_be_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "checksums.json").write_text("[1]", "utf-8")
    assert cli.main(["data", "check", str(folder), "--only", "gaokao"]) == 2
    assert "checksums.json: not the checksums" in capsys.readouterr().err


def test_an_unknown_set_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["data", "check", "anywhere", "--only", "ceval,nosuch"])
    assert "'nosuch' is no set" in capsys.readouterr().err
