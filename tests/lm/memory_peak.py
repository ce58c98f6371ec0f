"""Scores in a fresh process what a run may meet at worst, and prints estimate and measured peak as JSON.

    python memory_peak.py '{"dtype": "bfloat16", "max_length": 1024, "token_budget": 512, "config": {...}}'

At worst: paths as long as the context, full rows, blocks of queries that see separate stretches of keys, and a row full
of read-outs. The peak is that of the process's resident memory over what interpreter and libraries took before.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from transformers import PreTrainedModel

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.trie_scorer import TrieScorer
from lm_eval_baichuan.model_adapters.trie_scorer.memory_plan import ModelSizes, Run, estimate


def resident(field: str) -> int:
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def random_model(dtype: torch.dtype, config: dict[str, Any]) -> PreTrainedModel:
    with torch.device("meta"):
        model = BaichuanForCausalLM(BaichuanConfig(**config)).to(dtype)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        # One row after another: random numbers for all at once would take float32 copies.
        for row in parameter.data.view(-1, parameter.shape[-1]).split(256):
            row.normal_(0, 0.02)
    return model.eval()


def score_the_worst(model: PreTrainedModel, max_length: int, token_budget: int) -> None:
    scorer = TrieScorer(model, max_length=max_length, token_budget=token_budget)
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(5, 300, (count,), generator=generator).tolist()

    prefix = tokens(max_length - 40)
    requests = [(prefix + tokens(38), [label]) for _ in range(3 * token_budget // 38) for label in (10, 11)]
    requests += [(prefix[:-20] + [300 + i], [5]) for i in range(140)]
    scores = list(scorer.score(requests))
    assert len(scores) == len(requests)


def main() -> None:
    case = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    dtype, length, budget = getattr(torch, case["dtype"]), case["max_length"], case["token_budget"]
    narrow = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    score_the_worst(random_model(dtype, {**case["config"], **narrow, "vocab_size": 500}), 128, 64)
    before = resident("VmRSS")
    model = random_model(dtype, case["config"])
    score_the_worst(model, length, budget)
    [need] = estimate(ModelSizes.of(model.config), Run(dtype, None, length, budget))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    print(
        json.dumps(
            {
                "peak": resident("VmHWM") - before,
                "estimate": need.total,
                "weights": weights,
                "estimated_weights": need.weights,
                "cache": need.cache,
                "working": need.working,
            }
        )
    )


if __name__ == "__main__":
    main()
