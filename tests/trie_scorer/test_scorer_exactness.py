"""The trie gives the scores that one request at a time gives."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from golden_checkpoints import GOLDEN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scoring_cases import FAMILIES, VOCABULARY, WINDOW, Request, ragged_cases, tiny_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from lm_eval_baichuan.model_adapters.trie_scorer import (
    Score,
    TrieScorer,
    attention,
    merged_attention,
    score_one_by_one,
)
from lm_eval_baichuan.model_adapters.trie_scorer.attention import BlockwiseAttention, DenseAttention, ScoreRule
from lm_eval_baichuan.model_adapters.trie_scorer.masks import LayerMask
from lm_eval_baichuan.model_adapters.trie_scorer.merged_attention import MergedAttention
from lm_eval_baichuan.model_adapters.trie_scorer.path_cache import KeyValue
from lm_eval_baichuan.model_adapters.trie_scorer.trie import build_trie, cut_row, visible

MODELS = [*FAMILIES, "llama-grouped"]
CASES = ragged_cases()


def trie_scores(model: PreTrainedModel, requests: list[Request], **options: Any) -> list[tuple[float, bool]]:
    scores = list(TrieScorer(model, **{"max_length": WINDOW, "token_budget": 256, **options}).score(requests))
    assert sorted(score.request for score in scores) == list(range(len(requests)))
    return [(score.logprob, score.is_greedy) for score in sorted(scores)]


def assert_equal_scores(found: list[tuple[float, bool]], expected: list[tuple[float, bool]]) -> None:
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4, rel=0)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


@pytest.fixture(scope="module")
def reference() -> dict[tuple[str, str], list[tuple[float, bool]]]:
    """The reference's scores of every case, computed when first asked for."""

    class Reference(dict[tuple[str, str], list[tuple[float, bool]]]):
        def __missing__(self, key: tuple[str, str]) -> list[tuple[float, bool]]:
            family, case = key
            self[key] = score_one_by_one(tiny_model(family), CASES[case])
            return self[key]

    return Reference()


@pytest.mark.parametrize("budget", [7, 100, 128, 4096])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", MODELS)
def test_ragged_tries(family: str, case: str, budget: int, reference: Any) -> None:
    found = trie_scores(tiny_model(family), CASES[case], token_budget=budget)
    assert_equal_scores(found, reference[family, case])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", MODELS)
def test_the_dense_mask_agrees(family: str, case: str, reference: Any) -> None:
    found = trie_scores(tiny_model(family), CASES[case], attention="dense")
    assert_equal_scores(found, reference[family, case])


def test_a_budget_of_one_token(reference: Any) -> None:
    case = "prefixes of one another"
    assert_equal_scores(
        trie_scores(tiny_model("baichuan2-13b"), CASES[case], token_budget=1), reference["baichuan2-13b", case]
    )


few_ids = st.lists(st.integers(0, 2), min_size=1, max_size=12)
any_ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40)
contexts = st.one_of(few_ids, any_ids, st.tuples(few_ids, any_ids).map(lambda parts: parts[0] + parts[1]))


any_tries = given(
    family=st.sampled_from(MODELS),
    requests=st.lists(st.tuples(contexts, st.one_of(few_ids, any_ids)), min_size=1, max_size=8),
    budget=st.integers(1, 60),
    block=st.sampled_from([1, 3, 16, 128]),
    kind=st.sampled_from(["blockwise", "dense"]),
    chance=st.randoms(use_true_random=False),
)


def check_trie(
    family: str,
    requests: list[Request],
    budget: int,
    block: int,
    kind: str,
    chance: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model(family)
    monkeypatch.setattr(attention, "BLOCK", block)
    monkeypatch.setattr(merged_attention, "BLOCK", block)
    found = trie_scores(model, requests, token_budget=budget, attention=kind)
    assert_equal_scores(found, score_one_by_one(model, requests))

    order = chance.sample(range(len(requests)), len(requests))
    shuffled = trie_scores(model, [requests[index] for index in order], token_budget=budget, attention=kind)
    assert shuffled == [found[index] for index in order]  # exactly: the trie is the same


SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
test_any_trie = settings(SETTINGS, max_examples=20)(any_tries(check_trie))
test_many_tries = pytest.mark.many(pytest.mark.slow(settings(SETTINGS, max_examples=150)(any_tries(check_trie))))


def test_greedy_continuations_are_greedy() -> None:
    model = tiny_model("baichuan1-13b")
    context = list(range(3, 23))  # generate() would take id 0 for padding

    def after(tokens: list[int], count: int) -> list[int]:
        ids = model.generate(torch.tensor([tokens]), max_new_tokens=count, do_sample=False, eos_token_id=None)
        return ids[0, len(tokens) :].tolist()  # type: ignore[no-any-return]

    greedy = after(context, 5)
    wrong_at_the_end = [*greedy[:-1], (greedy[-1] + 1) % VOCABULARY]
    other = (greedy[0] + 1) % VOCABULARY
    wrong_only_at_the_start = [other, *after([*context, other], 4)]
    requests = [(context, continuation) for continuation in (greedy, wrong_at_the_end, wrong_only_at_the_start)]
    for budget in (22, 4096):  # with a cut inside the continuations, and without
        scores = trie_scores(model, requests, token_budget=budget)
        assert [greedy for _, greedy in scores] == [True, False, False]


@torch.inference_mode()
def padded_batch(model: PreTrainedModel, requests: list[Request]) -> torch.Tensor:
    """What lm-eval's hf model does, for continuations of one token: right-padded batches, positions from 0."""
    contexts = sorted({tuple(context) for context, _ in requests}, key=len)
    after = {}
    for first in range(0, len(contexts), 8):
        batch = contexts[first : first + 8]
        longest = max(map(len, batch))
        ids = torch.tensor([[*context, *[0] * (longest - len(context))] for context in batch])
        logits = model(input_ids=ids, use_cache=False).logits.float()
        after |= {context: logits[i, len(context) - 1].log_softmax(dim=-1) for i, context in enumerate(batch)}
    return torch.stack([after[tuple(context)][target] for context, (target,) in requests])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("baichuan2-13b", "blockwise"),
        *(
            pytest.param(*case, marks=pytest.mark.many)
            for case in [*((family, "blockwise") for family in MODELS), ("baichuan1-13b", "dense")]
            if case != ("baichuan2-13b", "blockwise")
        ),
    ],
)
def test_bfloat16_is_as_near_to_float32_as_plain_batches_are(family: str, kind: str) -> None:
    chance = random.Random(1)  # noqa: S311 - not cryptography
    prefixes = [[chance.randrange(VOCABULARY) for _ in range(200)] for _ in range(4)]
    requests: list[Request] = [
        (prefix + [chance.randrange(VOCABULARY) for _ in range(chance.randrange(1, 60))], [label])
        for prefix in prefixes
        for _ in range(16)
        for label in range(0, VOCABULARY, 12)
    ]
    exact = torch.tensor([logprob for logprob, _ in trie_scores(tiny_model(family), requests)])
    rough = tiny_model(family, torch.bfloat16)
    by_trie = torch.tensor([logprob for logprob, _ in trie_scores(rough, requests, attention=kind)])
    by_batch = padded_batch(rough, requests)
    trie_error, batch_error = (by_trie - exact).abs().mean(), (by_batch - exact).abs().mean()
    # Both are rounding noise around the same values; 576 scores leave the ratio of their means a few percent of chance.
    assert 0 < trie_error <= 1.1 * batch_error


@pytest.mark.parametrize("kind", [MergedAttention, BlockwiseAttention, DenseAttention])
def test_alibi_in_bfloat16_loses_nothing_but_the_last_rounding(kind: Any) -> None:
    """Bias, scores and softmax are exact; a bias rounded to bfloat16 is off by far more."""
    prefix = list(range(600))
    trie = build_trie([([*prefix, 1000 + n, *range(50)], [1]) for n in range(4)])
    row = cut_row(trie, 0, np.empty(0, dtype=np.int64), len(trie))
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 4, len(trie), 16).to(torch.bfloat16)
    slopes = torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8])
    attend = kind(trie, row, LayerMask(), alibi=True, device=torch.device("cpu"))
    nodes, nothing = KeyValue(key, value), KeyValue(key[:, :, :0], value[:, :, :0])
    found = attend(query, nothing, nodes, ScoreRule(scaling=0.25, slopes=slopes))

    places, depth = torch.arange(len(trie)), torch.from_numpy(trie.depth).double()
    bias = -slopes[:, None, None] * (depth[:, None] - depth)
    hidden = ~visible(places[:, None], places, torch.from_numpy(trie.end))
    scores = query.double() @ key.double().mT * 0.25 + bias.masked_fill(hidden, -torch.inf)
    exact = (scores.softmax(dim=-1) @ value.double()).transpose(1, 2)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("name", GOLDEN)
def test_official_outputs(golden_dir: Any, name: str) -> None:
    """Every token of the golden texts, all texts in one trie, against the official code's logits."""
    golden = load_file(golden_dir / name / "goldens.safetensors")
    # The tiny checkpoints' vocabularies are not the published ones, which tell the head.
    norm_head = name.startswith("baichuan2")
    model = AutoModelForCausalLM.from_pretrained(golden_dir / name, dtype=torch.float32, norm_head=norm_head).eval()
    requests: list[Request] = []
    expected = []
    for key in sorted(key for key in golden if key.startswith("logits.")):
        ids = golden[key.replace("logits", "ids")].tolist()
        logprobs = golden[key].log_softmax(dim=-1)
        for length in range(1, len(ids) + 1):
            target = (7 * length) % logprobs.shape[1]
            requests.append((ids[:length], [target]))
            expected.append((float(logprobs[length - 1, target]), int(logprobs[length - 1].argmax()) == target))
    found = trie_scores(model, requests, token_budget=150)
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=2e-4, rel=0)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_scores_are_plain_python() -> None:
    """They go into lm-eval's JSON."""
    (score,) = TrieScorer(tiny_model("baichuan1-7b"), max_length=8).score([([1], [2])])
    assert isinstance(score, Score)
    assert [type(value) for value in score] == [int, float, bool]
