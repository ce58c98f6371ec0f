"""A run stops before it loads if it has no place to write, and loses no results if it has none in the end."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, CachingLM
from lm_eval.loggers import EvaluationTracker

from lm_eval_baichuan.model_adapters.errors import CacheError, CheckpointError, PlaceError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.run_places import ResultsKeeper

pytestmark = pytest.mark.filterwarnings("ignore")  # of lm-eval's and of the libraries it uses

HOLD = """
import filelock, sys, time
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
time.sleep(60)
"""
baichuan = partial(BaichuanLM, device="cpu")


def start(model: str = "baichuan", **places: Any) -> None:
    """Starts an evaluation of a checkpoint that isn't there: what comes before loading comes before that is seen."""
    simple_evaluate(model=model, model_args={"pretrained": "/no/such/checkpoint"}, tasks=["any"], **places)


@pytest.mark.parametrize("model", ["baichuan", "hf-trie"])
@pytest.mark.parametrize("name", ["out", "out.json"])
def test_a_place_of_results_below_a_file_stops_before_loading(model: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match=r"--output_path .*nothing can be written there \(Not a directory\)"):
        start(model, evaluation_tracker=EvaluationTracker(output_path=str(tmp_path / "file" / name)))


def test_a_full_disk_stops_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(PlaceError, match="--output_path .*No space left on device"):
        start(evaluation_tracker=EvaluationTracker(output_path=str(tmp_path)))
    with pytest.raises(PlaceError, match="--use_cache .*No space left on device"):
        start(use_cache=str(tmp_path / "answers"))


def test_a_cache_below_a_file_stops_before_loading(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match="--use_cache .*Not a directory"):
        start(use_cache=str(tmp_path / "file" / "answers"))


def test_what_is_no_cache_stops_before_loading(tmp_path: Path) -> None:
    (tmp_path / "answers_rank0.db").write_text("a diary" * 1000)
    with pytest.raises(CacheError, match="answers_rank0.db is not a cache of answers .file is not a database"):
        start(use_cache=str(tmp_path / "answers"))


def test_places_that_are_there_are_no_obstacle(tmp_path: Path) -> None:
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    with pytest.raises(CheckpointError, match="no/such/checkpoint"):
        start(evaluation_tracker=tracker, use_cache=str(tmp_path / "cache" / "answers"))
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()


def test_a_cache_in_use_is_refused_before_loading_and_a_dead_runs_is_not(tmp_path: Path) -> None:
    (tmp_path / "answers_rank0.db").touch()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "answers_rank0.db.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(PlaceError, match="another run is using .*answers_rank0.db"):
            start(use_cache=str(tmp_path / "answers"))
        other.kill()
    with pytest.raises(CheckpointError, match="no/such/checkpoint"):
        start(use_cache=str(tmp_path / "answers"))


def some_requests(count: int) -> list[Instance]:
    return [
        Instance("loglikelihood", {}, (f"What is {'name ' * number}? ", label), i, ("t", number, 1))
        for number in range(count)
        for i, label in enumerate("AB")
    ]


def test_a_cache_is_held_while_it_is_used(write_checkpoint: Callable[..., str], tmp_path: Path) -> None:
    lm = baichuan(write_checkpoint())
    cached = CachingLM(lm, str(tmp_path / "cache.db"))
    CachingLM(lm, str(tmp_path / "cache.db")).dbdict.close()  # this process may have it twice
    take = "import filelock, sys; filelock.FileLock(sys.argv[1]).acquire(timeout=0)"
    command = [sys.executable, "-c", take, str(tmp_path / "cache.db.lock")]
    assert subprocess.run(command, capture_output=True).returncode != 0
    cached.dbdict.close()
    lm.set_cache_hook(CacheHook(None))
    del cached
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_cache_that_gets_full_is_named_and_keeps_what_it_has(
    write_checkpoint: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm = baichuan(write_checkpoint())
    cached = CachingLM(lm, str(tmp_path / "cache.db"))
    cached.loglikelihood(some_requests(2))
    kept = len(cached.dbdict)
    cached.dbdict.conn.execute("PRAGMA max_page_count = 1")  # of what it has now: no more
    with pytest.raises(PlaceError, match=r"cache.db cannot keep answers \(database or disk is full\)"):
        cached.loglikelihood(some_requests(200))
    assert "Traceback" not in caplog.text and "Inner exception" not in caplog.text
    cached.dbdict.close()
    again = CachingLM(lm, str(tmp_path / "cache.db"))
    assert len(again.dbdict) >= kept
    assert len(again.loglikelihood(some_requests(200))) == 400
    again.dbdict.close()


RESULTS = {
    "results": {"t": {"alias": "t", "acc,none": 0.5}},
    "configs": {"t": {}, "u": {}},
    "versions": {},
    "n-shot": {},
}


def samples() -> dict[str, Any]:
    one = {
        "doc_hash": "a",
        "prompt_hash": "b",
        "target_hash": "c",
        "arguments": [("c", "A")],
        "resps": [[(-1.0, True)]],
    }
    return {task: [{**one, "filtered_resps": [(-1.0, True)], "target": 0} for _ in range(3)] for task in "tu"}


def save(tracker: Any, logged: dict[str, Any] | None) -> None:
    """Saves results as lm-eval's command line does."""
    tracker.save_results_aggregated(results=json.loads(json.dumps(RESULTS)), samples=logged)
    for task in logged or {}:
        tracker.save_results_samples(task_name=task, samples=(logged or {})[task])


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluationTracker:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    made = EvaluationTracker(output_path=str(tmp_path / "out"))
    made.general_config_tracker.log_experiment_args("baichuan", "pretrained=some/model", None, None, False)
    ResultsKeeper(made)
    return made


def assert_complete(folder: Path, *, logged: bool) -> None:
    (results,) = folder.rglob("results_*.json")
    assert json.loads(results.read_text("utf-8"))["results"] == RESULTS["results"]
    written = {path.name.split("_")[1]: path for path in folder.rglob("samples_*.jsonl")}
    assert set(written) == (set("tu") if logged else set())
    for path in written.values():
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert [line["arguments"] for line in lines] == [{"gen_args_0": {"arg_0": "c", "arg_1": "A"}}] * 3
        assert path.name.endswith(results.name.removeprefix("results").replace(".json", ".jsonl"))


def test_results_that_have_their_place_are_left_there(tracker: EvaluationTracker, tmp_path: Path) -> None:
    save(tracker, samples())
    assert_complete(tmp_path / "out", logged=True)
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.mark.parametrize("logged", [True, False])
def test_results_without_a_place_go_to_another_that_is_named(
    logged: bool, tracker: EvaluationTracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file since the run began")
    with pytest.raises(PlaceError) as stopped:
        save(tracker, samples() if logged else None)
    (folder,) = (tmp_path / "cwd").iterdir()
    assert str(folder) in str(stopped.value) and str(tmp_path / "out") in str(stopped.value)
    assert_complete(folder, logged=logged)
    assert "0.5" in capsys.readouterr().out  # lm-eval ends before its own table


def test_a_disk_that_gets_full_at_the_last_samples_loses_nothing(
    tracker: EvaluationTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def filling(path: Any, *arguments: Any, **options: Any) -> Any:
        file = Path(path).open(*arguments, **options)  # noqa: SIM115  # whoever called closes it
        if str(path).startswith(str(tmp_path / "out")) and "samples_u" in str(path):
            file.write('{"half of')
            file.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return file

    monkeypatch.setattr("lm_eval.loggers.evaluation_tracker.open", filling, raising=False)
    with pytest.raises(PlaceError, match="the results could not be written there. They are all in"):
        save(tracker, samples())
    (folder,) = (tmp_path / "cwd").iterdir()
    assert_complete(folder, logged=True)
    assert [path.name[:9] for path in (tmp_path / "out").rglob("samples_*")] == ["samples_t"]


def test_results_with_no_place_at_all_are_shown(
    tracker: EvaluationTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "out").write_text("")
    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(PlaceError, match="They are in the table above and nowhere else"):
        save(tracker, samples())
    assert "0.5" in capsys.readouterr().out
