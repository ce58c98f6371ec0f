"""PyTorch's names that we lean on are where we look for them, and do what we take them to do."""

from __future__ import annotations

import pytest
import torch
from looking_up import check

from lm_eval_baichuan.model_adapters.hosts import Lean
from lm_eval_baichuan.model_adapters.hosts.torch import LEANS, attend_on_cpu


@pytest.mark.parametrize("lean", LEANS, ids=lambda lean: lean.where)
def test_a_name_has_not_moved(lean: Lean) -> None:
    check(lean)


@pytest.mark.parametrize("queries", [3, 200, 800])  # the kernel's tiles differ from 192 and from 768 queries on
@pytest.mark.parametrize("kind", ["plain", "causal", "bias of each key", "bias of each pair"])
def test_attention_returns_its_log_sum_exp(queries: int, kind: str) -> None:
    torch.manual_seed(0)
    keys = queries if kind == "causal" else 700
    query, key, value = torch.randn(1, 2, queries, 8), torch.randn(1, 2, keys, 8), torch.randn(1, 2, keys, 8)
    bias = {"bias of each key": torch.randn(1, 2, 1, keys), "bias of each pair": torch.randn(1, 1, queries, keys)}
    out, lse = attend_on_cpu(query, key, value, scale=2.0, bias=bias.get(kind), causal=kind == "causal")

    scores = 2.0 * query.double() @ key.double().mT + bias.get(kind, torch.zeros(1))
    if kind == "causal":
        scores = scores.masked_fill(torch.ones(queries, keys).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(lse.double(), scores.logsumexp(dim=-1), atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(out.double(), scores.softmax(dim=-1) @ value.double(), atol=1e-5, rtol=1e-5)
