"""lm-eval's --cache_requests, which knows a task by its name alone, never asks another run's questions or shots."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.task import ConfigurableTask
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

    def build(
        *, cached: bool = True, options: dict[str, Any] | None = None, as_lm_eval: bool = False, **metadata: Any
    ) -> list[Any]:
        (task,) = load(request.param, **{"data_dir": str(small_data), "own_data": True, **metadata}).values()
        build_requests = partial(ConfigurableTask.build_all_requests, task) if as_lm_eval else task.build_all_requests
        build_requests(cache_requests=cached, **(options or {}))
        return [(instance.doc_id, instance.args) for instance in task.instances]

    return build


def test_a_seed_is_not_answered_from_the_cache_of_another(ask: Callable[..., Any]) -> None:
    runs = [{}, {"shots_seed": 1}, {"shots_seed": 2}, {}]
    wanted = [ask(cached=False, **seeds) for seeds in runs]
    assert wanted[0] != wanted[1] != wanted[2]
    assert [ask(**seeds) for seeds in runs] == wanted


def test_a_cache_that_lm_eval_itself_filled_is_not_read(ask: Callable[..., Any]) -> None:
    wanted = ask(cached=False)
    filled = ask(shots_seed=1, as_lm_eval=True)
    assert ask(as_lm_eval=True) == filled != wanted  # lm-eval's own way gives the prompts of another seed
    assert ask() == wanted


def test_another_chat_form_is_not_answered_from_the_cache(ask: Callable[..., Any]) -> None:
    def rendered(form: str) -> dict[str, Any]:
        seen = []

        def render(history: list[dict[str, str]], **_: Any) -> str:
            seen.append(history)
            return "".join(f"{form}{message['content']}" for message in history)

        options = {"apply_chat_template": True, "fewshot_as_multiturn": True, "tokenizer_name": "folder"}
        return {"asked": ask(options={**options, "chat_template": render}), "seen": len(seen)}

    first, second, again = rendered("<user>"), rendered("[user]"), rendered("<user>")
    assert first["asked"] != second["asked"]
    assert first == again  # the model sees each conversation every time: it can drop shots of one that is too long
    assert again["seen"]


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
