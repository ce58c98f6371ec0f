"""`data fetch` ends complete however the homes misbehave, and says what is wrong where it can't."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_homes import FaultyHomes

from lm_eval_baichuan import cli
from lm_eval_baichuan.data.sources import benchmarks, home, set_files, task_module

SAT = "ruixiangcui/AGIEval/data/v1/sat-math.jsonl"


def fetch(folder: Path, *arguments: str) -> int:
    return cli.main(["data", "fetch", str(folder), *arguments])


def assert_same(folder: Path, made_data: Path, benchmark: str) -> None:
    for file in set_files(benchmark):
        assert (folder / file.path).read_bytes() == (made_data / file.path).read_bytes(), file.path


@pytest.mark.parametrize("faults", [["break", "break"], ["stall"], [503]])
def test_a_file_that_does_not_come_through_is_asked_for_again(
    faults: list[str | int | bytes],
    homes: FaultyHomes,
    tmp_path: Path,
    made_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 1)
    homes.faults[SAT] = list(faults)
    assert fetch(tmp_path, "--only", "agieval") == 0
    assert [name for name, _ in homes.requests].count(SAT) == len(faults) + 1
    assert_same(tmp_path, made_data, "agieval")
    assert homes.revisions == {home("agieval")[1]}


def test_a_damaged_file_is_fetched_again(homes: FaultyHomes, tmp_path: Path, made_data: Path) -> None:
    homes.faults[SAT] = [homes.files[SAT].split(b"\n", 1)[1]]
    assert fetch(tmp_path, "--only", "agieval") == 0
    assert [asked for name, asked in homes.requests if name == SAT] == [None, None]
    assert_same(tmp_path, made_data, "agieval")


def test_a_broken_run_continues_in_the_next(
    homes: FaultyHomes, tmp_path: Path, made_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homes.faults[SAT] = ["break", 503, 503, 503]
    assert fetch(tmp_path, "--only", "agieval") == 2
    message = capsys.readouterr().err
    assert str(tmp_path / "agieval/data/v1/sat-math.jsonl") in message
    assert "503" in message and "Run the same command again" in message
    assert not (tmp_path / "agieval/data/v1/sat-math.jsonl").exists()
    assert not (tmp_path / "checksums.json").exists()
    first = [name for name, _ in homes.requests]
    homes.requests.clear()
    assert fetch(tmp_path, "--only", "agieval") == 0
    assert homes.requests[0][0] == SAT
    assert {name for name, _ in homes.requests} & set(first) == {SAT}
    assert_same(tmp_path, made_data, "agieval")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agieval", "checksums.json"]


def test_a_mirror_that_stays_damaged_is_named(
    homes: FaultyHomes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homes.files[SAT] = homes.files[SAT].split(b"\n", 1)[1]
    assert fetch(tmp_path, "--only", "agieval") == 2
    message = capsys.readouterr().err
    assert "sat-math.jsonl" in message and "219 rows found" in message and "220 expected" in message
    assert not (tmp_path / "agieval/data/v1/sat-math.jsonl").exists()


def test_a_missing_file_is_asked_for_once(
    homes: FaultyHomes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homes.faults[SAT] = [404]
    assert fetch(tmp_path, "--only", "agieval") == 2
    assert "404" in capsys.readouterr().err
    assert [name for name, _ in homes.requests].count(SAT) == 1


def test_what_is_complete_is_not_fetched_again_and_a_changed_file_is(
    homes: FaultyHomes, tmp_path: Path, made_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(tmp_path, "--only", "gaokao,agieval") == 0
    recorded = json.loads((tmp_path / "checksums.json").read_text("utf-8"))
    assert {name: len(entry["files"]) for name, entry in recorded.items()} == {"gaokao": 9, "agieval": 15}
    homes.requests.clear()
    changed = tmp_path / "agieval/data/v1/sat-math.jsonl"
    kept = changed.with_name("sat-math.jsonl.replaced")
    assert fetch(tmp_path, "--only", "gaokao,agieval") == 0
    assert homes.requests == [] and not kept.exists()
    own = changed.read_bytes().replace("第1题".encode(), "第一题".encode())
    changed.write_bytes(own)  # its row count is as before: only the checksum tells
    assert fetch(tmp_path, "--only", "gaokao,agieval") == 0
    assert homes.requests == []  # the hub library's cache has it at this commit
    assert_same(tmp_path, made_data, "agieval")
    assert kept.read_bytes() == own
    assert [path.name for path in tmp_path.rglob("*.replaced")] == [kept.name]
    assert "checksum differs" in capsys.readouterr().err


def test_files_from_another_revision_are_fetched_anew(
    homes: FaultyHomes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(tmp_path, "--only", "gaokao") == 0
    path = tmp_path / "checksums.json"
    recorded = json.loads(path.read_text("utf-8"))
    recorded["gaokao"]["revision"] = "0" * 40
    path.write_text(json.dumps(recorded), "utf-8")
    assert fetch(tmp_path, "--only", "gaokao") == 0
    assert capsys.readouterr().err.count(f"fetched anew (from revision {'0' * 40}") == 9
    assert json.loads(path.read_text("utf-8"))["gaokao"]["revision"] == home("gaokao")[1]


def test_the_hub_is_the_one_of_hf_endpoint_and_its_faults_are_survived(
    homes: FaultyHomes,
    tmp_path: Path,
    made_data: Path,
    fetch_elsewhere: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    anatomy = "cais/mmlu/anatomy/test-00000-of-00001.parquet"
    homes.faults[anatomy] = ["break"]
    homes.faults["haonan-li/cmmlu/cmmlu_v1_0_1.zip"] = ["stall"]
    law = "ceval/ceval-exam/law/val-00000-of-00001.parquet"
    homes.faults[law] = [homes.files["ceval/ceval-exam/law/dev-00000-of-00001.parquet"]]
    folder = tmp_path / "data"
    done = fetch_elsewhere(str(folder), "--timeout", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [name for name, _ in homes.requests].count(law) == 2
    assert homes.revisions == {home(benchmark)[1] for benchmark in benchmarks()}
    for benchmark in benchmarks():
        for file in set_files(benchmark):
            if file.source.part != "all":
                read = task_module(benchmark).read_rows
                found, expected = (read(file.source, str(each)) for each in (folder, made_data))
                assert [{**row, "source": ""} for row in found] == [{**row, "source": ""} for row in expected]
    assert cli.main(["data", "check", str(folder)]) == 0


def test_an_incomplete_mirror_of_the_hub_is_named(
    homes: FaultyHomes, tmp_path: Path, fetch_elsewhere: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    del homes.files["haonan-li/cmmlu/cmmlu_v1_0_1.zip"]
    done = fetch_elsewhere(str(tmp_path / "data"), "--only", "cmmlu")
    assert done.returncode == 2
    assert "haonan-li/cmmlu" in done.stderr and "HF_ENDPOINT" in done.stderr and "Traceback" not in done.stderr
