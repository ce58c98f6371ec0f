"""The same numbers however a run is made: in whatever order, parts, batches, threads and form of attention.

In float32 all ways agree within 3e-6 nats, or where texts of several tokens are so unlikely that float32 itself is no
finer, within three of its steps. Elsewhere: two processes (test_processes), ragged tries and budgets of every
size against one request at a time (tests/trie_scorer/test_scorer_exactness), other attention functions of torch
(test_scorer_flex), all families (test_families), remembered answers (test_answer_cache).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import FAMILIES
from lm_eval.api.instance import Instance

from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Make = Callable[..., Instance]
Write = Callable[..., str]
WITHIN: dict[str, Any] = {"abs": 3e-6, "rel": 3 * 2**-23}

SHOTS = "以下是关于法学的单项选择题。\n\n" + "".join(f"问{i} one two? 答案：{'ABCD'[i]}\n" for i in range(4))
WAYS: dict[str, dict[str, Any]] = {
    "a budget of 7 tokens": {"token_budget": 7},
    "a budget of 64 tokens": {"token_budget": 64},
    "dense attention": {"attention": "dense"},
    "blockwise attention": {"attention": "blockwise"},
    "sdpa in the model": {"attn_implementation": "sdpa"},
    "eager in the model": {"attn_implementation": "eager"},
    "batches of 1": {"trie": False, "batch_size": 1},
    "batches of 5": {"trie": False, "batch_size": 5},
    "batches of 32": {"trie": False, "batch_size": 32},
}


@pytest.fixture
def questions(instance: Make) -> list[Instance]:
    texts = [f"{SHOTS if i % 3 else ''}What is {'name ' * (i % 5)}{i}? 答案：" for i in range(12)]
    labels = ("A", "B", "C", "D", "A one two three")
    return [instance(text, label, i) for i, text in enumerate(texts) for label in labels]


def scores(lm: BaichuanLM, questions: list[Instance]) -> list[float]:
    return [score for score, _ in lm.loglikelihood(questions, disable_tqdm=True)]


@pytest.fixture(params=["7b", "2-13b"])
def folder(request: pytest.FixtureRequest, write_checkpoint: Write) -> str:
    return write_checkpoint(**FAMILIES[request.param])


def test_options_that_only_say_how(folder: str, questions: list[Instance]) -> None:
    expected = scores(BaichuanLM(folder, device="cpu"), questions)
    for way, options in WAYS.items():
        found = scores(BaichuanLM(folder, device="cpu", **options), questions)
        assert found == pytest.approx(expected, **WITHIN), way


def test_order_parts_and_threads(folder: str, questions: list[Instance]) -> None:
    lm = BaichuanLM(folder, device="cpu")
    expected = scores(lm, questions)
    order = random.Random(1).sample(range(len(questions)), len(questions))  # noqa: S311
    shuffled = scores(lm, [questions[i] for i in order])
    assert [shuffled[order.index(i)] for i in range(len(questions))] == pytest.approx(expected, **WITHIN)
    parts = [score for i in range(0, len(questions), 7) for score in scores(lm, questions[i : i + 7])]
    assert parts == pytest.approx(expected, **WITHIN)
    alone = [scores(lm, [question])[0] for question in questions[::9]]
    assert alone == pytest.approx(expected[::9], **WITHIN)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            assert scores(lm, questions) == pytest.approx(expected, **WITHIN)
    finally:
        torch.set_num_threads(threads)
