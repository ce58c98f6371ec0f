"""The process that has ftllm in it: whatever becomes of it, there is an answer or an error, and never a wrong score."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from lm_eval_baichuan.model_adapters.engines.fastllm_process import FastllmProcess
from lm_eval_baichuan.model_adapters.errors import EngineError, NonFiniteLogitsError

Install = Callable[..., None]
ASKED = [([1, 2, 3], [4, 5]), ([1, 2], [6]), ([9], [0, 19, 3]), ([8, 8], [1]), ([7], [2])]


def process(timeout: float = 30) -> FastllmProcess:
    return FastllmProcess("nowhere", "float32", 20, 1, timeout)


def expected(prompt: list[int]) -> np.ndarray:
    logits = np.random.default_rng(prompt).normal(size=20).astype(np.float32).astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def number_of(engine: FastllmProcess) -> int:
    assert engine._process is not None
    return engine._process.pid


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_answers_come_in_order_whatever_the_library_prints(ftllm_stands_in: Install, at_once: int) -> None:
    ftllm_stands_in()
    engine = process()
    answers = list(engine.score(ASKED, at_once=at_once))
    for (prompt, targets), (logprobs, best) in zip(ASKED, answers, strict=True):
        assert logprobs == pytest.approx(expected(prompt)[targets].tolist(), abs=1e-12)
        assert best == expected(prompt).argmax()
    assert engine.version == "1.9.0"
    engine.stop()


def test_a_generation_that_has_enough_leaves_the_process_ready(ftllm_stands_in: Install) -> None:
    ftllm_stands_in()
    engine = process()
    steps = engine.generate([3, 4], 50)
    found = [next(steps)[0] for _ in range(3)]
    steps.close()  # type: ignore[attr-defined]  # a generator
    prompt = [3, 4]
    for token in found:
        assert token == expected(prompt).argmax()
        prompt.append(token)
    assert len(list(engine.generate([3, 4], 5))) == 5
    assert list(engine.score(ASKED[:1], at_once=1))[0][1] == expected([1, 2, 3]).argmax()
    engine.stop()


def test_an_end_with_status_0_and_no_answer_is_an_error(ftllm_stands_in: Install) -> None:
    ftllm_stands_in("ends")
    with pytest.raises(EngineError, match=r"ended with status 0 before it answered.*FastLLM Error: out of luck"):
        list(process().score(ASKED, at_once=1))


def test_an_end_while_loading_says_what_the_library_said(ftllm_stands_in: Install) -> None:
    ftllm_stands_in("ends while loading")
    with pytest.raises(EngineError, match=r"status 0.*whether the model was loaded.*Missing safetensors weights"):
        list(process().score(ASKED, at_once=1))


def test_a_killed_process_is_an_error_and_the_next_one_starts_anew(ftllm_stands_in: Install) -> None:
    ftllm_stands_in()
    engine = process()
    answers = engine.score(ASKED * 2000, at_once=1)
    next(answers)
    os.kill(number_of(engine), signal.SIGKILL)
    with pytest.raises(EngineError, match="killed by SIGKILL"):
        list(answers)
    assert len(list(engine.score(ASKED, at_once=1))) == len(ASKED)
    engine.stop()


def test_a_process_that_hangs_is_ended(ftllm_stands_in: Install) -> None:
    ftllm_stands_in("hangs")
    engine = process(timeout=2)
    begun = time.monotonic()
    answers = engine.score(ASKED, at_once=1)
    next(answers)
    hanging = number_of(engine)
    with pytest.raises(EngineError, match=r"did not answer for 2 seconds.*timeout=SECONDS"):
        list(answers)
    assert time.monotonic() - begun < 20
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)


@pytest.mark.parametrize("trouble", ["NaN", "too few"])
def test_a_logit_that_is_missing_or_no_number_is_no_score(ftllm_stands_in: Install, trouble: str) -> None:
    ftllm_stands_in(trouble)
    with pytest.raises(NonFiniteLogitsError, match="1 of the 20 logits"):
        list(process().score(ASKED, at_once=1))


def test_no_logits_at_all_is_an_error(ftllm_stands_in: Install) -> None:
    ftllm_stands_in("gives nothing")
    with pytest.raises(EngineError, match="gave no logits after a prompt of 3 tokens"):
        list(process().score(ASKED, at_once=1))


def test_ftllm_that_cannot_be_imported_is_an_error(ftllm_stands_in: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    ftllm_stands_in()
    monkeypatch.setenv("PYTHONPATH", "")
    engine = process()
    engine._order["dtype"] = "no such dtype"  # where the true ftllm is installed
    with pytest.raises(EngineError, match="ModuleNotFoundError|KeyError"):
        list(engine.score(ASKED, at_once=1))


def test_the_process_ends_with_the_one_that_started_it(ftllm_stands_in: Install) -> None:
    ftllm_stands_in()
    engine = process()
    list(engine.score(ASKED, at_once=1))
    number = number_of(engine)
    finalizer = engine._finalizer
    popen = engine._process
    del engine
    assert not finalizer.alive
    assert popen is not None
    popen.wait(10)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
