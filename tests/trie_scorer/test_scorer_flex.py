"""FlexAttention gives the same scores: compiled for the CPU where there is g++, and on a GPU where there is one."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import tiny_families
import torch
from scoring_cases import WINDOW, Request, ragged_cases, tiny_model
from transformers.masking_utils import sliding_window_causal_mask_function

from lm_eval_baichuan.model_adapters.trie_scorer import TrieScorer, score_one_by_one
from lm_eval_baichuan.model_adapters.trie_scorer.attention import DenseAttention, ScoreRule
from lm_eval_baichuan.model_adapters.trie_scorer.flex import FlexAttention, Layout
from lm_eval_baichuan.model_adapters.trie_scorer.masks import LayerMask
from lm_eval_baichuan.model_adapters.trie_scorer.path_cache import KeyValue
from lm_eval_baichuan.model_adapters.trie_scorer.trie import build_trie, cut_row

CASES = ragged_cases()
ALL_AT_ONCE: list[Request] = [request for case in CASES.values() for request in case]

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs g++")


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


@needs_compiler
@pytest.mark.slow
# Words of PyTorch's compiler about itself, and about Python 3.13.0.
@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:Guards may run slower:RuntimeWarning")
@pytest.mark.parametrize(
    "family",
    ["baichuan1-13b", "baichuan2-7b", "llama-grouped"],
)
def test_flex_on_cpu(family: str) -> None:
    model = tiny_model(family)
    expected = score_one_by_one(model, ALL_AT_ONCE)
    # The last row of each run is shorter than the others, and every row has another path: one compilation serves all.
    scorer = TrieScorer(model, max_length=WINDOW, token_budget=300, attention="flex")
    found = sorted(scorer.score(ALL_AT_ONCE))
    assert [score.logprob for score in found] == pytest.approx([score for score, _ in expected], abs=1e-4, rel=0)
    assert [score.is_greedy for score in found] == [greedy for _, greedy in expected]


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:Guards may run slower:RuntimeWarning")
def test_one_process_may_meet_many_shapes() -> None:
    model = tiny_model("baichuan2-7b")
    some = ALL_AT_ONCE[:6]
    expected = [score for score, _ in score_one_by_one(model, some)]
    with torch._dynamo.config.patch(recompile_limit=2):  # eight as a rule; fewer compilations show the same
        for budget in (100, 200, 300):
            scorer = TrieScorer(model, max_length=WINDOW, token_budget=budget, attention="flex")
            found = sorted(scorer.score(some))
            assert [score.logprob for score in found] == pytest.approx(expected, abs=1e-4, rel=0)


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:Guards may run slower:RuntimeWarning")
def test_a_row_as_long_as_the_padded_shape_is_no_shape_of_its_own() -> None:
    """Padding would leave it as it is, with the strides of heads that were tokens first: a second compilation."""
    heads, width, longest = 2, 16, 128
    trie = build_trie([(list(range(1, 401)), [1])])
    layout, device = Layout(longest, 512), torch.device("cpu")
    random = torch.Generator().manual_seed(0)
    torch._dynamo.utils.counters.clear()
    path = np.empty(0, dtype=np.int64)
    for tokens in (128, 100, 128, 1):
        row = cut_row(trie, len(path), path, tokens)
        assert len(row) == tokens

        def as_a_model_gives_it(count: int) -> torch.Tensor:
            return torch.randn(1, count, heads, width, generator=random).transpose(1, 2)

        query, of_path, nodes = (
            as_a_model_gives_it(tokens),
            KeyValue(as_a_model_gives_it(len(path)), as_a_model_gives_it(len(path))),
            KeyValue(as_a_model_gives_it(tokens), as_a_model_gives_it(tokens)),
        )
        rule = ScoreRule(scaling=0.25, softcap=None, slopes=None, sinks=None)
        arguments = (trie, row, LayerMask())
        found = FlexAttention(*arguments, alibi=False, device=device, layout=layout)(query, of_path, nodes, rule)
        plain = DenseAttention(*arguments, alibi=False, device=device)(query, of_path, nodes, rule)
        torch.testing.assert_close(found, plain, atol=1e-5, rtol=0)
        path = np.arange(row.stop)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["baichuan1-7b", "baichuan1-13b", "baichuan2-7b", "baichuan2-13b", "llama-grouped"])
def test_flex_on_gpu(family: str, dtype: torch.dtype) -> None:
    exact = torch.tensor([score for score, _ in score_one_by_one(tiny_model(family), ALL_AT_ONCE)])
    on_gpu = tiny_model(family, dtype).to("cuda")
    try:
        scorer = TrieScorer(on_gpu, max_length=WINDOW, token_budget=512)
        assert scorer.attention == "flex"
        found = torch.tensor([score.logprob for score in sorted(scorer.score(ALL_AT_ONCE))])
        if dtype == torch.float32:
            torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)  # TF32 is off, kernels sum in another order
        else:
            plain = torch.tensor([score for score, _ in score_one_by_one(on_gpu, ALL_AT_ONCE)])
            assert (found - exact).abs().mean() <= 1.1 * (plain - exact).abs().mean()
    finally:
        tiny_model(family, dtype).to("cpu")


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
@pytest.mark.parametrize(
    "family",
    [
        "gemma2",  # softcaps, and two kinds of layers
        "gpt_oss",  # sinks and windows
        "llama4_text, no temperature",  # chunks
        "deepseek_v3",  # values of another width
    ],
)
def test_flex_of_other_families_on_cpu(family: str) -> None:
    model = tiny_families.tiny_model(family)
    requests = tiny_families.ragged_requests()[::3]
    expected = [score for score, _ in score_one_by_one(model, requests)]
    # Windows and sinks are numbers to the kernel, so layers of all kinds share one compilation.
    torch._dynamo.utils.counters.clear()
    scorer = TrieScorer(model, max_length=tiny_families.LONGEST, token_budget=150, attention="flex")
    found = [score.logprob for score in sorted(scorer.score(requests))]
    assert found == pytest.approx(expected, abs=1e-3, rel=0)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_tiles_outside_a_window_are_not_run() -> None:
    """A window of 100 in a request of 2000: of the causal half of the tiles, only those along the diagonal."""
    trie = build_trie([(list(range(1, 2001)), [1])])
    row = cut_row(trie, 0, np.empty(0, dtype=np.int64), 2000)
    device, layout = torch.device("cpu"), Layout(2000, 2000)
    tiles = {}
    for name, mask in (("causal", LayerMask()), ("window", LayerMask(sliding_window_causal_mask_function(100)))):
        blocks = FlexAttention(trie, row, mask, alibi=False, device=device, layout=layout)._tiles(sinks=False)
        tiles[name] = int(blocks.kv_num_blocks.sum() + blocks.full_kv_num_blocks.sum())
    assert tiles == {"causal": 16 * 17 // 2, "window": 16 + 15}
