"""A call that waits for an engine's answer ends with the engine."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lm_eval_baichuan.model_adapters.hosts import vllm


class Dead(Exception):
    pass


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(vllm, "dead_engine", lambda: Dead)
    client = SimpleNamespace(outputs_queue=queue.Queue(), resources=SimpleNamespace(engine_dead=False))
    return SimpleNamespace(llm_engine=SimpleNamespace(engine_core=client))


def test_what_waits_gets_the_error_once_the_engine_is_marked_dead(llm: Any) -> None:
    client = llm.llm_engine.engine_core
    with vllm.ended_by_a_dead_engine(llm):
        threading.Timer(0.1, lambda: setattr(client.resources, "engine_dead", True)).start()
        assert isinstance(client.outputs_queue.get(timeout=5), Dead)


def test_a_living_engine_is_left_alone(llm: Any) -> None:
    before = threading.active_count()
    with vllm.ended_by_a_dead_engine(llm):
        pass
    assert llm.llm_engine.engine_core.outputs_queue.empty()
    assert threading.active_count() == before


def test_an_engine_in_this_process_needs_no_watch() -> None:
    before = threading.active_count()
    with vllm.ended_by_a_dead_engine(SimpleNamespace(llm_engine=SimpleNamespace(engine_core=object()))):
        assert threading.active_count() == before
