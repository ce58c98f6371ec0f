"""vLLM's names that we lean on are where we look for them."""

from __future__ import annotations

import importlib.metadata

import pytest
from looking_up import check

from lm_eval_baichuan.model_adapters.hosts import Lean
from lm_eval_baichuan.model_adapters.hosts.vllm import HIGHEST_RUN, LEANS, LOWEST, installed, lm_eval_class, release

found = installed()
needs_vllm = pytest.mark.skipif(found is None, reason="vLLM is not installed")


@needs_vllm
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lean", LEANS, ids=lambda lean: lean.where)
def test_a_name_has_not_moved(lean: Lean, monkeypatch: pytest.MonkeyPatch) -> None:
    lm_eval_class()
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0" if name == "vllm" else version(name))
    check(lean)


def test_releases_are_compared_by_their_first_two_numbers() -> None:
    assert release("0.32.1+cpu") == (0, 32) == HIGHEST_RUN
    assert LOWEST == (0, 24) < release("0.25.0rc1") < release("1.0")


def test_the_function_that_tells_versions_is_itself_again() -> None:
    before = importlib.metadata.version
    if found is None:
        with pytest.raises(ImportError):
            lm_eval_class()
    assert importlib.metadata.version is before
