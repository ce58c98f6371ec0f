"""Rows run on behind a common beginning and joined generate what each does alone, whatever the layers keep."""

from __future__ import annotations

import random

import pytest
import torch
from tiny_families import FAMILIES, VOCABULARY, WINDOW, tiny_model

from lm_eval_baichuan.model_adapters.errors import CertificateError
from lm_eval_baichuan.model_adapters.trie_scorer import certify_generation
from lm_eval_baichuan.model_adapters.trie_scorer.shared_prefix import SharedPrefix

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers' about models that were never trained
QUICK = (
    "mistral",  # a window in every layer
    "gemma2",  # and in every second one
    "gpt_oss",
    "gemma3n_text",  # layers that share keys
    "llama4_text, no temperature",  # chunks
    "qwen3_next",  # states
    "lfm2",  # convolutions
    "zaya",  # states and keys in one layer
    "inkling_text",  # convolutions and a window in one layer
)
OTHERS = (
    *("afmoe", "beam", "cohere2", "cohere2_moe", "cohere_compass_text", "cwm", "doge", "exaone4", "exaone_moe"),
    *("gemma3", "gemma3_text", "gemma4_text", "granite_swa", "granitemoe_swa", "laguna", "llama4_text", "mellum"),
    *("mimo_v2_flash", "ministral", "ministral3", "mixtral", "modernbert-decoder", "olmo3", "olmo_hybrid", "phi3"),
    *("phimoe", "qwen2", "qwen3", "qwen3_5_text", "qwen3_5_moe_text", "starcoder2", "vaultgemma"),
)
MANY = (pytest.mark.slow, pytest.mark.many)


def prompts(start: int) -> tuple[list[int], list[list[int]]]:
    """A common beginning of so many tokens, and it with others behind it; two of them are equally long."""
    chance = random.Random(start)  # noqa: S311 - not cryptography

    def tokens(count: int) -> list[int]:
        return [chance.randrange(5, VOCABULARY) for _ in range(count)]

    prefix = tokens(start)
    return prefix, [prefix + tokens(count) for count in (1, 7, 7, 2 * WINDOW, 3)]


@pytest.mark.parametrize("start", [WINDOW // 2, 2 * WINDOW + 3], ids=["within the window", "beyond it"])
@pytest.mark.parametrize("family", [*QUICK, *(pytest.param(name, marks=MANY) for name in OTHERS)])
def test_each_row_generates_what_it_does_alone(family: str, start: int) -> None:
    if family not in FAMILIES:
        pytest.skip(f"this transformers has no {family}")
    model = tiny_model(family)
    prefix, rows = prompts(start)
    shared = SharedPrefix(model, prefix)
    assert shared.run() and not shared.keeps_every_token
    for together in (True, False, True):  # what is kept of the beginning stays as it is
        certificate = certify_generation(model, rows, torch.float32, 0, together=together, prefix=shared)
        assert certificate.requests == 4 * len(rows)
        assert certificate.largest_difference < certificate.bound / 10


def test_a_model_that_forgets_its_state_is_found_out() -> None:
    model = tiny_model("zamba")  # takes several tokens behind a state for the first ones
    prefix, rows = prompts(20)
    certify_generation(model, rows[:1], torch.float32, 0, together=False)
    with pytest.raises(CertificateError, match="disagree on prompt 1 "):
        certify_generation(model, rows, torch.float32, 0, together=False, prefix=SharedPrefix(model, prefix))


@pytest.mark.parametrize("family", ["mamba", "minimax", "deepseek_v4"])
def test_what_is_not_known_is_not_joined(family: str) -> None:
    assert not SharedPrefix(tiny_model(family), [5, 6, 7, 8]).run()
