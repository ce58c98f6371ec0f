"""What a user of the scorer sees besides the scores: order of answers, memory, failures."""

import copy
import random
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from scoring_cases import VOCABULARY, WINDOW, Request, tiny_model
from torch import nn
from transformers import PreTrainedModel

from lm_eval_baichuan.model_adapters.errors import (
    NonFiniteLogitsError,
    OptionError,
    RequestError,
    UnsupportedModelError,
)
from lm_eval_baichuan.model_adapters.trie_scorer import Progress, TrieScorer, budget, score_one_by_one
from lm_eval_baichuan.model_adapters.trie_scorer.path_cache import PathCache
from lm_eval_baichuan.model_adapters.trie_scorer.read_out import HEAD_ROWS, NonFiniteAtError, read_out


def questions(prefixes: int, per_prefix: int, prefix_length: int = 40) -> list[Request]:
    """Questions of 8 tokens that share their prefix and nothing more."""
    chance = random.Random(2)  # noqa: S311 - not cryptography
    requests: list[Request] = []
    for number in range(prefixes):
        prefix = [number, *(chance.randrange(VOCABULARY) for _ in range(prefix_length - 1))]
        for question in range(per_prefix):
            tokens = [question, *(chance.randrange(VOCABULARY) for _ in range(7))]
            requests.append((prefix + tokens, [chance.randrange(VOCABULARY)]))
    return requests


def scorer(model: nn.Module, **options: Any) -> TrieScorer:
    return TrieScorer(model, **{"max_length": WINDOW, "token_budget": 64, **options})


def expected(model: PreTrainedModel, requests: list[Request]) -> Any:
    return pytest.approx([logprob for logprob, _ in score_one_by_one(model, requests)], abs=1e-4, rel=0)


def logprobs(scores: Any) -> list[float]:
    return [score.logprob for score in sorted(scores)]


def test_scores_come_as_soon_as_they_are_known() -> None:
    """So that lm-eval's cache holds them when a run is interrupted."""
    requests = questions(4, 10)
    seen: list[Progress] = []
    run = scorer(tiny_model("baichuan1-7b")).score(requests, on_progress=lambda now: seen.append(copy.copy(now)))
    next(run)
    assert seen[0].tokens_done == 0
    assert seen[-1].tokens_done < seen[-1].tokens_total
    assert 0 < seen[-1].requests_done < len(requests)
    rest = list(run)
    assert len(rest) == len(requests) - 1
    assert seen[-1].tokens_done == seen[-1].tokens_total == 4 * 40 + 40 * 8
    assert seen[-1].requests_done == seen[-1].requests_total == 40
    assert seen[-1].tokens_sent == 40 * 48
    assert seen[-1].saved_share == pytest.approx(0.75)
    assert seen[-1].tokens_per_second > 0
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left is None


def test_nothing_to_score() -> None:
    assert list(scorer(tiny_model("baichuan1-7b")).score([])) == []


def test_the_model_is_left_as_it_was() -> None:
    """Also when nobody takes the remaining scores, and between two of them."""
    model = tiny_model("baichuan1-7b")
    run = scorer(model).score(questions(2, 10))
    next(run)
    assert model.config._attn_implementation == "sdpa"
    del run
    assert model(input_ids=torch.tensor([[1, 2]])).logits.shape == (1, 2, VOCABULARY)


def test_kept_keys_and_values_are_bounded_by_the_longest_path(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    commit = PathCache.commit

    def counting_commit(cache: PathCache) -> None:
        commit(cache)
        kept.append(cache.tokens)
        assert all(memory.key.shape[2] < 1.2 * max(kept) for memory in cache._memory.values())

    monkeypatch.setattr(PathCache, "commit", counting_commit)
    list(scorer(tiny_model("baichuan1-7b"), token_budget=30).score(questions(5, 20)))
    assert len(kept) > 20
    assert 40 < max(kept) <= 47
    assert kept[-1] == 0


class MemoryLimit:
    """Makes a model fail as a full device does, in the middle of its layers, when a row is longer than `tokens`."""

    def __init__(self, model: PreTrainedModel, tokens: int, error: Exception) -> None:
        self.rows: list[int] = []
        self.tokens, self.error = tokens, error
        model.get_decoder().layers[1].register_forward_pre_hook(self)

    def __call__(self, module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.rows.append(args[0].shape[1])
        if args[0].shape[1] > self.tokens:
            raise self.error


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: ..."),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_budget_and_goes_on(error: Exception) -> None:
    model = copy.deepcopy(tiny_model("baichuan1-13b"))
    requests = questions(3, 10)
    right = expected(model, requests)
    halving = scorer(model, token_budget=100)
    limit = MemoryLimit(model, 1000, error)
    run = halving.score(requests)
    first = next(run)
    limit.tokens = 30
    with pytest.warns(RuntimeWarning, match="Out of memory with") as caught:
        rest = list(run)
    assert [str(warning.message)[:57] for warning in caught] == [
        "Out of memory with 100 tokens at once; continuing with 50",
        "Out of memory with 50 tokens at once; continuing with 25 ",
    ]
    assert logprobs([first, *rest]) == right
    assert halving.token_budget == 25
    # Nothing that had been scored is run again: the whole trie once, and the two attempts that failed.
    assert sum(limit.rows) == 3 * 40 + 30 * 8 + 100 + 50


def test_not_even_one_token_fits() -> None:
    model = copy.deepcopy(tiny_model("baichuan1-7b"))
    MemoryLimit(model, 0, OUT_OF_MEMORY[0])  # which also stops the few tokens that a scorer tries at its start
    with pytest.warns(RuntimeWarning, match="Out of memory with"), pytest.raises(torch.OutOfMemoryError):
        list(scorer(model, token_budget=4).score(questions(1, 1)))


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    model = copy.deepcopy(tiny_model("baichuan1-7b"))
    run = scorer(model).score(questions(1, 1))
    MemoryLimit(model, 0, RuntimeError("expected scalar type Float but found Half"))
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="scalar type"):
        warnings.simplefilter("error")
        list(run)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_not_finite_stop_the_run(value: float) -> None:
    model = copy.deepcopy(tiny_model("baichuan1-7b"))
    with torch.no_grad():
        model.get_decoder().layers[1].mlp.down_proj.weight[3] = value
    with pytest.raises(NonFiniteLogitsError, match=r"layers\.1\.mlp\.down_proj"):
        list(scorer(model, token_budget=16).score(questions(1, 2)))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_node_of_a_bad_logit_is_found(value: float) -> None:
    logits = torch.randn(300, 7)
    logits[211, 3] = value

    def logits_at(nodes: torch.Tensor) -> Iterator[torch.Tensor]:
        yield from logits[nodes].split(HEAD_ROWS)

    read_out(logits_at, torch.tensor([210, 212]), torch.tensor([0, 0]))
    with pytest.raises(NonFiniteAtError, match="211"):
        read_out(logits_at, torch.arange(300), torch.zeros(300, dtype=torch.int64))


def test_one_bad_token_stops_the_run_when_it_is_reached() -> None:
    model = copy.deepcopy(tiny_model("baichuan1-7b"))
    with torch.no_grad():
        model.get_input_embeddings().weight[90] = torch.nan
    run = scorer(model, token_budget=3).score([([5, 6, 7], [1]), ([8, 90, 9, 9, 9, 9], [1])])
    assert next(run).request == 0
    with pytest.raises(NonFiniteLogitsError, match="embed_tokens"):
        next(run)


def test_a_lora_adapter_scores_as_peft_runs_it() -> None:
    base = copy.deepcopy(tiny_model("baichuan2-13b"))
    requests = questions(2, 5)
    plain = logprobs(scorer(base).score(requests))
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["W_pack"], task_type=TaskType.CAUSAL_LM)).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    found = logprobs(scorer(adapted).score(requests))
    assert found == expected(adapted, requests)
    assert max(abs(a - b) for a, b in zip(found, plain, strict=True)) > 0.1


def test_virtual_tokens_are_refused() -> None:
    base = copy.deepcopy(tiny_model("llama-grouped"))
    adapted = get_peft_model(base, PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3))
    with pytest.raises(UnsupportedModelError, match="virtual tokens.*trie=False"):
        scorer(adapted)


def test_what_is_no_transformers_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="found Linear.*trie=False"):
        scorer(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (([VOCABULARY], [1]), "A context holds token id 97, but the model's embedding has 97 rows"),
        (([1], [VOCABULARY + 5]), "A continuation holds token id 102"),
        (([1] * 9, [1]), "Request 0 feeds 9 tokens.*takes 8"),
    ],
)
def test_requests_that_the_model_cannot_take(request_: Request, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        list(scorer(tiny_model("baichuan1-7b"), max_length=8).score([request_]))


@pytest.mark.parametrize(("option", "value"), [("token_budget", 0), ("token_budget", -3), ("attention", "magic")])
def test_options_out_of_range(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{option} is {value!r}; expected"):
        scorer(tiny_model("baichuan1-7b"), **{option: value})


def test_the_choice_of_attention_is_told() -> None:
    assert scorer(tiny_model("baichuan1-7b")).attention == "blockwise"
    assert scorer(tiny_model("baichuan1-7b"), attention="dense").attention == "dense"


def test_the_automatic_budget_follows_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(free: float) -> int:
        monkeypatch.setattr(budget, "free_memory", lambda device: int(free))
        return scorer(tiny_model("baichuan1-7b"), token_budget="auto").token_budget

    assert found(64e9) == budget.CPU_ENOUGH
    assert found(0) == budget.SMALLEST
    assert budget.SMALLEST < found(7e6) < found(9e6) < budget.CPU_ENOUGH


def test_free_memory_is_measured() -> None:
    assert 1e6 < budget.free_memory(torch.device("cpu")) < 1e15
