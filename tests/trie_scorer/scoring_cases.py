"""Small random models and ragged sets of requests that the scorer's tests share."""

import functools
import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

Request = tuple[list[int], list[int]]

VOCABULARY = 97
WINDOW = 1024

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 40,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "initializer_range": 0.15,
}

# ALiBi once with a power of two of heads and once without, as the published 13B has 40.
FAMILIES = {
    "baichuan1-7b": {"max_position_embeddings": WINDOW, "norm_head": False, "num_attention_heads": 4},
    "baichuan1-13b": {"model_max_length": WINDOW, "norm_head": False, "num_attention_heads": 5},
    "baichuan2-7b": {"max_position_embeddings": WINDOW, "norm_head": True, "num_attention_heads": 5},
    "baichuan2-13b": {"model_max_length": WINDOW, "norm_head": True, "num_attention_heads": 4},
}


@functools.cache
def tiny_model(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A random model of one of FAMILIES, or "llama-grouped": a Llama whose queries share keys. Not to be changed."""
    torch.manual_seed(5)
    if family == "llama-grouped":
        model: PreTrainedModel = LlamaForCausalLM(
            LlamaConfig(**_SIZES, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=WINDOW)
        )
    else:
        model = BaichuanForCausalLM(BaichuanConfig(**_SIZES, **FAMILIES[family]))  # type: ignore[arg-type]
    return model.eval().to(dtype)


def _tokens(chance: random.Random, length: int) -> list[int]:
    return [chance.randrange(VOCABULARY) for _ in range(length)]


def ragged_cases() -> dict[str, list[Request]]:
    """Named sets of requests, each hard for a trie in its own way."""
    chance = random.Random(0)  # noqa: S311 - not cryptography
    labels = [[11], [12], [13], [14]]
    prefix = _tokens(chance, 100)
    huge = _tokens(chance, 900)
    passages = [prefix + _tokens(chance, 30) for _ in range(3)]
    nested = [passage + _tokens(chance, 10) for passage in passages for _ in range(2)]
    questions = [outer + _tokens(chance, length) for outer in nested for length in (1, 2, 17)]
    return {
        "suffixes of one token": [(prefix + [token], label) for token in range(40) for label in labels],
        "equal lengths": [(prefix + _tokens(chance, 20), [7]) for _ in range(12)],
        "around the block size": [(_tokens(chance, length), [7]) for length in (127, 128, 129, 255, 256, 257)],
        "suffixes around the block size": [(prefix + _tokens(chance, n), [7]) for n in (27, 28, 29, 127, 128, 129)],
        "one huge prefix": [(huge + _tokens(chance, length), [7]) for length in (1, 5, 60, 123)],
        "nested four deep": [(question, label) for question in questions for label in labels[:2]],
        "prefixes of one another": [(prefix[:length], [7]) for length in (1, 2, 50, 99, 100)],
        "identical": [(prefix, [7])] * 5,
        "long continuations": [(prefix[:40], prefix[40:]), (prefix[:90], prefix[90:]), (prefix[:40], [1, 2, 3])],
        "nothing shared": [([token, *_tokens(chance, 60)], [7]) for token in range(6)],
        "one token": [([3], [4])],
    }
