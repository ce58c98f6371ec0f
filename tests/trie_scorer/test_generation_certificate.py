"""Generation with the KV cache is compared with computing anew, alone and padded, and a broken cache stops it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from scoring_cases import FAMILIES, VOCABULARY, tiny_model
from transformers.cache_utils import DynamicCache

from lm_eval_baichuan.model_adapters.errors import CertificateError
from lm_eval_baichuan.model_adapters.trie_scorer import certify_generation

MODELS = [*FAMILIES, "llama-grouped"]


@pytest.fixture
def prompts() -> list[list[int]]:
    chance = random.Random(8)  # noqa: S311 - not cryptography
    return [[chance.randrange(1, VOCABULARY) for _ in range(length)] for length in (5, 30)]


@pytest.mark.parametrize("together", [False, True], ids=["alone", "left-padded"])
@pytest.mark.parametrize("family", MODELS)
def test_every_family_generates_with_the_cache_what_it_computes_without(
    family: str, together: bool, prompts: list[list[int]]
) -> None:
    certificate = certify_generation(tiny_model(family), prompts, torch.float32, 0, together=together)
    assert certificate.requests == 8
    assert certificate.largest_difference < certificate.bound / 10


@pytest.mark.parametrize("together", [False, True], ids=["alone", "left-padded"])
def test_answers_that_end_at_once_are_compared_as_far_as_others(prompts: list[list[int]], together: bool) -> None:
    model = tiny_model("llama-grouped")
    with torch.no_grad():
        ends = [int(model(torch.tensor([prompt])).logits[0, -1].argmax()) for prompt in prompts]
    model.generation_config.eos_token_id = ends
    certificate = certify_generation(model, prompts, torch.float32, 0, together=together)
    assert certificate.requests == 8
    assert certificate.largest_difference < certificate.bound / 10


def forget_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DynamicCache, "update", lambda _self, key, value, *_args, **_kwargs: (key, value))
    monkeypatch.setattr(DynamicCache, "get_seq_length", lambda *_args, **_kwargs: 0)


def forget_the_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    right = DynamicCache.update

    def update(self: DynamicCache, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        key, value = right(self, *args, **kwargs)
        if args[0].shape[2] == 1:
            value = value.clone()
            value[:, :, 0] = 0
        return key, value

    monkeypatch.setattr(DynamicCache, "update", update)


@pytest.mark.parametrize("breaks", [forget_the_past, forget_the_first_token])
@pytest.mark.parametrize("family", ["baichuan1-7b", "baichuan2-13b"])
def test_a_broken_cache_stops_the_run(
    family: str, breaks: Any, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    with pytest.raises(
        CertificateError, match="with the KV cache and without it disagree on prompt 0 .*token 2"
    ) as stop:
        certify_generation(tiny_model(family), prompts, torch.float32, 0, together=False)
    assert stop.value.request == 0
