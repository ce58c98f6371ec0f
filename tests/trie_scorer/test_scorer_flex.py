"""FlexAttention gives the same scores: compiled for the CPU where there is g++, and on a GPU where there is one."""

import shutil
from collections.abc import Iterator

import pytest
import torch
from scoring_cases import WINDOW, Request, ragged_cases, tiny_model

from lm_eval_baichuan.model_adapters.trie_scorer import TrieScorer, score_one_by_one

CASES = ragged_cases()
ALL_AT_ONCE: list[Request] = [request for case in CASES.values() for request in case]

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs g++")


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


@needs_compiler
# Words of PyTorch's compiler about itself, and about Python 3.13.0.
@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:Guards may run slower:RuntimeWarning")
@pytest.mark.parametrize("family", ["baichuan2-7b", "baichuan1-13b", "llama-grouped"])
def test_flex_on_cpu(family: str) -> None:
    model = tiny_model(family)
    expected = score_one_by_one(model, ALL_AT_ONCE)
    # The last row of each run is shorter than the others, and every row has another path: one compilation serves all.
    scorer = TrieScorer(model, max_length=WINDOW, token_budget=300, attention="flex")
    found = sorted(scorer.score(ALL_AT_ONCE))
    assert [score.logprob for score in found] == pytest.approx([score for score, _ in expected], abs=1e-4, rel=0)
    assert [score.is_greedy for score in found] == [greedy for _, greedy in expected]


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
