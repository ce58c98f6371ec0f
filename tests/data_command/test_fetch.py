"""`data fetch` ends complete however the homes misbehave, and says what is wrong where it can't."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_homes import FaultyHomes

from lm_eval_baichuan import cli
from lm_eval_baichuan.data.known import known_hashes
from lm_eval_baichuan.data.sources import benchmarks, home, read_file, set_files, task_module

HOLD = """
import filelock, sys, time
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
time.sleep(60)
"""
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


@pytest.mark.slow
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


BIOLOGY = "OpenLMLab/GAOKAO-Bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json"


def with_other_answers(content: bytes) -> bytes:
    """The same questions in the same number, and for one of them another answer."""
    changed = content.replace(b'"answer": ["A"]', b'"answer": ["B"]', 1)
    assert changed != content
    return changed


def test_nothing_is_touched_where_nothing_can_be_had(
    homes: FaultyHomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(tmp_path, "--only", "gaokao") == 0
    path = tmp_path / "gaokao-bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json"
    own = path.read_bytes()[:-2]
    path.write_bytes(own)
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setenv("LM_EVAL_BAICHUAN_GITHUB", "http://127.0.0.1:9")
    for _ in range(2):
        assert fetch(tmp_path, "--only", "gaokao") == 2
        assert path.read_bytes() == own
        assert not list(tmp_path.rglob("*.replaced*"))


def test_a_kept_copy_is_never_written_over(homes: FaultyHomes, tmp_path: Path) -> None:
    path = tmp_path / "gaokao-bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json"
    path.parent.mkdir(parents=True)
    for own in (b"first", b"second", b"second"):
        path.write_bytes(own)
        assert fetch(tmp_path, "--only", "gaokao") == 0
        assert path.read_bytes() == homes.files[BIOLOGY]
    kept = {each.name: each.read_bytes() for each in path.parent.glob("*.replaced*")}
    assert kept == {f"{path.name}.replaced": b"first", f"{path.name}.replaced.2": b"second"}


def test_a_mirror_with_other_answers_fails_by_the_published_hashes(
    homes: FaultyHomes, known_file: Path, made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next(file for file in set_files("gaokao") if file.path.endswith("2010-2022_Biology_MCQs.json"))
    known_file.write_text(json.dumps({"gaokao": {"files": {file.path: read_file(file, made_data).hash}}}))
    known_hashes.cache_clear()
    homes.files[BIOLOGY] = with_other_answers(homes.files[BIOLOGY])
    assert fetch(tmp_path, "--only", "gaokao") == 2
    assert "its rows are not the published ones" in capsys.readouterr().err
    assert not (tmp_path / file.path).exists()


def test_a_mirror_with_other_answers_than_at_first_fetch_fails(
    homes: FaultyHomes,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fetch(tmp_path, "--only", "gaokao") == 0
    path = tmp_path / "gaokao-bench/Data/Objective_Questions/2010-2022_Biology_MCQs.json"
    changed = with_other_answers(homes.files[BIOLOGY])
    path.write_bytes(changed)
    assert cli.main(["data", "check", str(tmp_path), "--only", "gaokao"]) == 1
    path.unlink()
    homes.files[BIOLOGY] = changed
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path_factory.mktemp("assets")))
    assert fetch(tmp_path, "--only", "gaokao") == 2
    assert "its rows are not those that an earlier fetch of this revision recorded" in capsys.readouterr().err
    assert not path.exists()


def test_an_endless_file_is_given_up(
    homes: FaultyHomes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_module("gaokao"), "MAX_DOWNLOAD_BYTES", 1 << 22)
    homes.faults[BIOLOGY] = ["endless"] * 4
    assert fetch(tmp_path, "--only", "gaokao") == 2
    assert f"more than {1 << 22} bytes came" in capsys.readouterr().err
    assert homes.sent_without_end < 4 * (1 << 24)  # what was under way in the sockets included
    assert not list(tmp_path.rglob("*MCQs.json"))


def test_a_trickle_is_given_up_once(
    homes: FaultyHomes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval_baichuan.data.fetch.MAX_SECONDS", 0.5)
    homes.faults[BIOLOGY] = ["trickle"]
    assert fetch(tmp_path, "--only", "gaokao") == 2
    assert "not complete after 0.5 seconds" in capsys.readouterr().err
    assert [name for name, _ in homes.requests].count(BIOLOGY) == 1


def test_an_endless_file_of_the_hub_is_given_up(
    homes: FaultyHomes, tmp_path: Path, fetch_elsewhere: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    homes.faults["haonan-li/cmmlu/cmmlu_v1_0_1.zip"] = ["endless"] * 40
    done = fetch_elsewhere(str(tmp_path / "data"), "--only", "cmmlu")
    assert done.returncode == 2 and "bytes came" in done.stderr, done.stderr[-2000:]
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink())
    assert written < 1 << 27


def test_a_cache_of_downloads_that_cannot_be_written_is_done_without(
    homes: FaultyHomes, tmp_path: Path, made_data: Path
) -> None:
    import huggingface_hub

    (huggingface_hub.cached_assets_path("lm_eval", *home("gaokao")) / "Data").write_text("a file where a folder goes")
    assert fetch(tmp_path, "--only", "gaokao") == 0
    assert_same(tmp_path, made_data, "gaokao")


def test_a_second_fetch_at_once_is_refused_and_a_dead_one_is_not_waited_for(
    homes: FaultyHomes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / ".fetch" / "lock"
    lock.parent.mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        assert fetch(tmp_path, "--only", "gaokao") == 2
        assert "another `data fetch` is at work there" in capsys.readouterr().err
        assert homes.requests == []
        other.kill()
    assert fetch(tmp_path, "--only", "gaokao") == 0
    assert not (tmp_path / ".fetch").exists()


def test_a_folder_that_cannot_be_is_refused_at_once(
    homes: FaultyHomes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert fetch(tmp_path / "file" / "data") == 2
    assert f"{tmp_path / 'file' / 'data'}: nothing can be written there (Not a directory)" in capsys.readouterr().err
    assert homes.requests == []
