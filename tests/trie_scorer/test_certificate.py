"""The certificate: it holds for what is right, and each way of being wrong breaks it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from scoring_cases import FAMILIES, VOCABULARY, WINDOW, tiny_model

from lm_eval_baichuan.model_adapters.errors import CertificateError
from lm_eval_baichuan.model_adapters.trie_scorer import (
    Certificate,
    TrieScorer,
    attention,
    certify_scores,
    joined,
    merged_attention,
)
from lm_eval_baichuan.model_adapters.trie_scorer import scorer as scorer_module
from lm_eval_baichuan.model_adapters.trie_scorer.attention import ScoreRule
from lm_eval_baichuan.model_adapters.trie_scorer.certificate import choose_requests
from lm_eval_baichuan.model_adapters.trie_scorer.path_cache import PathCache

Request = tuple[list[int], list[int]]


@pytest.fixture
def requests() -> list[Request]:
    """Forty questions of four labels behind a prefix, and a few longer continuations."""
    chance = random.Random(3)  # noqa: S311 - not cryptography

    def tokens(length: int) -> list[int]:
        return [chance.randrange(VOCABULARY) for _ in range(length)]

    prefix = tokens(60)
    questions = [prefix + tokens(chance.randrange(5, 40)) for _ in range(40)]
    return [(question, [label]) for question in questions for label in (11, 12, 13, 14)] + [
        (question, tokens(5)) for question in questions[:3]
    ]


def certify(family: str, requests: list[Request], model: Any = None) -> Certificate:
    model = model or tiny_model(family)
    scorer = TrieScorer(model, max_length=WINDOW, token_budget=4096)
    return certify_scores(scorer, model, requests, scorer.build(requests), torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_right_passes_far_from_the_bound(family: str, requests: list[Request]) -> None:
    certificate = certify(family, requests)
    assert certificate.requests >= 8
    assert certificate.bound > 0
    assert certificate.largest_difference < certificate.bound / 10


def test_the_sample_shares_a_prefix_and_has_a_continuation_of_several_tokens(requests: list[Request]) -> None:
    scorer = TrieScorer(tiny_model("baichuan1-7b"), max_length=WINDOW, token_budget=4096)
    sample = [requests[i] for i in choose_requests(scorer.build(requests), longest=4096)]
    contexts = {tuple(context) for context, _ in sample}
    assert 2 <= len(contexts) <= 4
    assert len({context[:60] for context in contexts}) == 1
    assert max(len(continuation) for _, continuation in sample) > 1
    assert len({continuation[0] for _, continuation in sample}) >= 4


def test_the_sample_costs_about_a_hundredth_of_a_large_run() -> None:
    chance = random.Random(4)  # noqa: S311 - not cryptography
    prefix = [chance.randrange(VOCABULARY) for _ in range(40)]
    contexts = [prefix + [chance.randrange(VOCABULARY) for _ in range(chance.randrange(5, 200))] for _ in range(500)]
    scorer = TrieScorer(tiny_model("baichuan1-7b"), max_length=WINDOW, token_budget=4096)
    trie = scorer.build([(context, [label]) for context in contexts for label in (1, 2)])
    sample = {tuple(contexts[i // 2]) for i in choose_requests(trie, longest=4096)}
    assert len(sample) == 2
    assert 0.005 * len(trie) < 2 * sum(map(len, sample)) <= 0.01 * len(trie)
    short = {tuple(contexts[i // 2]) for i in choose_requests(trie, longest=100)}
    assert max(map(len, short)) <= 100


@pytest.mark.parametrize(
    "requests",
    [[([5, 6, 7], [8])], [([5], [6, 7])], [([5, 6], [7]), ([8, 9], [7])], [([5, 6], [7]), ([5, 6], [8])]],
    ids=["one", "one token", "nothing shared", "one question"],
)
def test_small_runs_are_certified_too(requests: list[Request]) -> None:
    assert certify("baichuan2-13b", requests).requests >= 1


def off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    right = attention.visible
    for module in (attention, merged_attention):
        monkeypatch.setattr(module, "visible", lambda query, key, end: right(query, key + 1, end))


def stale_row(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PathCache.commit

    def commit(self: PathCache) -> None:
        right(self)
        for key, _ in self._memory.values():
            if self.tokens:
                key[:, :, self.tokens // 2] = key[:, :, self.tokens // 2 - 1]

    monkeypatch.setattr(PathCache, "commit", torch.inference_mode()(commit))


def wrong_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    right = merged_attention.MergedAttention.__call__

    def attend(self: Any, query: Any, path: Any, nodes: Any, rule: ScoreRule) -> Any:
        slopes = None if rule.slopes is None else rule.slopes * 1.1
        return right(self, query, path, nodes, replace(rule, slopes=slopes))

    monkeypatch.setattr(merged_attention.MergedAttention, "__call__", attend)


def left_out_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scorer_module.logits_in_parts
    monkeypatch.setattr(scorer_module, "logits_in_parts", lambda *args: (0.9 * part for part in right(*args)))


@pytest.mark.parametrize(
    ("family", "breaks"),
    [
        ("baichuan1-7b", off_by_one),
        ("baichuan2-13b", off_by_one),
        ("baichuan1-7b", stale_row),
        ("baichuan1-13b", stale_row),
        ("baichuan1-13b", wrong_slope),
        ("baichuan2-7b", left_out_scale),
    ],
    ids=["mask, RoPE", "mask, ALiBi", "stale row, RoPE", "stale row, ALiBi", "slope", "scale of the head"],
)
def test_what_is_wrong_stops(
    family: str, breaks: Any, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    with pytest.raises(
        CertificateError, match=r"by the trie, .* by the model, .* float32 explains .*trie=False"
    ) as stop:
        certify(family, requests)
    assert 0 <= stop.value.request < len(requests)


def test_certificates_are_joined_by_the_worse() -> None:
    first, second = Certificate(4, 1e-6, 1e-3), Certificate(2, 1e-4, 2e-3)
    assert joined(first, second) == joined(second, first) == Certificate(6, 1e-4, 2e-3)
    assert joined(None, first) == joined(first, None) == first
    assert joined(None, None) is None
