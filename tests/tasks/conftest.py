"""Data folders and a way to load tasks without lm-eval's own thousands."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_data import write_small_data

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TASKS = REPOSITORY / "tasks"


@pytest.fixture(autouse=True)
def _quiet_and_offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No data folder from outside, no network, no warning of lm-eval's for each of several hundred tasks."""
    monkeypatch.delenv("LM_EVAL_BAICHUAN_DATA", raising=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def tables() -> dict[str, list[dict[str, Any]]]:
    """The tables of subjects that the YAML is generated from."""
    folder = REPOSITORY / "scripts" / "task_tables"
    return {path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory, tables: dict[str, list[dict[str, Any]]]) -> Path:
    """A data folder made here."""
    folder = tmp_path_factory.mktemp("small_data")
    write_small_data(folder, tables)
    return folder


@pytest.fixture(params=["small", "real"])
def source(request: pytest.FixtureRequest) -> tuple[Path, dict[str, Any]]:
    """A data folder and the metadata to load it with: the one made here, and the published one where it is."""
    name = "small_data" if request.param == "small" else "data_dir"
    folder: Path = request.getfixturevalue(name)
    return folder, {"data_dir": str(folder), **({"own_data": True} if request.param == "small" else {})}


@pytest.fixture
def load() -> Callable[..., dict[str, Any]]:
    """Load tasks by name: ``load("ceval_5shot", data_dir=...)`` gives tasks by name."""

    def load_tasks(*names: str, **metadata: Any) -> dict[str, Any]:
        from lm_eval.tasks import TaskManager

        folders = {str(TASKS / f"{name.partition('_5shot')[0]}_5shot") for name in names}
        manager = TaskManager(include_path=sorted(folders), include_defaults=False, metadata=metadata)
        tasks: dict[str, Any] = manager.load(list(names))["tasks"]
        return tasks

    return load_tasks


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run tasks with lm-eval's dummy model and return its results."""
    # lm-eval describes the machine in its results (slow), and for its dummy model a tokenizer that is on the hub.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    monkeypatch.setattr("lm_eval.evaluator.add_tokenizer_info", lambda results, lm: None)

    def run(*names: str, limit: int | None = None, num_fewshot: int | None = None, **metadata: Any) -> dict[str, Any]:
        import lm_eval
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
        results: dict[str, Any] = lm_eval.simple_evaluate(
            model="dummy", tasks=list(names), task_manager=manager, limit=limit, num_fewshot=num_fewshot
        )
        return results

    return run
