"""lm-eval's --cache_requests, which knows a task by its name alone, never asks another run's questions or shots."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_data import write_small_data

Load = Callable[..., dict[str, Any]]
TASKS = ["ceval_5shot_val_law", "mmlu_5shot_anatomy", "cmmlu_5shot_arts", "gaokao_5shot_physics", "demo_5shot_nature"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=TASKS)
def ask(request: pytest.FixtureRequest, small_data: Path, load: Load) -> Callable[..., Any]:
    """Build a task's requests, through the cache unless told otherwise, and return them."""

    def build(*, cached: bool = True, options: dict[str, Any] | None = None, **metadata: Any) -> list[Any]:
        (task,) = load(request.param, **{"data_dir": str(small_data), "own_data": True, **metadata}).values()
        task.build_all_requests(cache_requests=cached, **(options or {}))
        return [(instance.doc_id, instance.args) for instance in task.instances]

    return build


def test_a_seed_is_not_answered_from_the_cache_of_another(ask: Callable[..., Any]) -> None:
    runs = [{}, {"shots_seed": 1}, {"shots_seed": 2}, {}]
    wanted = [ask(cached=False, **seeds) for seeds in runs]
    assert wanted[0] != wanted[1] != wanted[2]
    assert [ask(**seeds) for seeds in runs] == wanted


def test_the_cache_serves_the_same_seed_again(
    ask: Callable[..., Any], cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = ask(shots_seed=1)
    (file,) = cache.iterdir()
    monkeypatch.setattr("lm_eval.api.task.save_to_cache", lambda **_: pytest.fail("built anew"))
    assert ask(shots_seed=1) == first
    assert ask(shots_seed=1, options={"limit": 2}) == first[:8]
    monkeypatch.undo()


def test_a_rebuild_is_said(ask: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    ask()
    logging.disable(logging.NOTSET)
    ask(shots_seed=1)
    assert "the cached requests are of other questions or shots" in caplog.text


@pytest.mark.parametrize("ask", TASKS[:4], indirect=True)
def test_other_data_is_not_answered_from_the_cache(
    ask: Callable[..., Any], tables: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_small_data(other, tables)
    for path in [*other.rglob("*.csv"), *other.rglob("*.json")]:
        path.write_text(path.read_text("utf-8").replace("第", "第 "), "utf-8")
    before = ask()
    assert ask(data_dir=str(other)) == ask(cached=False, data_dir=str(other)) != before


@pytest.mark.parametrize("ask", TASKS[1:2], indirect=True)
def test_chosen_samples_are_not_answered_from_the_cache_of_all(ask: Callable[..., Any]) -> None:
    everything = ask()
    assert ask(options={"samples": [1]}) == ask(cached=False, options={"samples": [1]}) != everything[:4]
    assert ask() == everything  # nor all from the cache of some
