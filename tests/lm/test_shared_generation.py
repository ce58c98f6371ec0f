"""Generated answers behind the same shots are those of lm-eval's hf model on the same weights."""

from __future__ import annotations

import functools
import logging
from typing import Any

import pytest
import torch
from any_model import tiny_model
from families import FAMILIES
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import PromptTuningConfig, get_peft_model
from small_tokenizers import byte_level

from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM
from lm_eval_baichuan.model_adapters.trie_scorer.shared_prefix import SharedPrefix

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers' about models that were never trained
Write = Any

SHOTS = "".join(f"Question: What is {number}? Answer: {number} and one.\n" for number in range(6))
OTHER = "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。" * 3
ENDS = ["答案：", "A. one B.", "What is your name? It is", "题", "C", "Question: Who is who? Answer:", "0 1 2 3 4 5 6"]
OPTIONS: dict[str, Any] = {"until": ["\n", "考"], "max_gen_toks": 10}
LONGER: dict[str, Any] = {"until": [], "max_gen_toks": 14}


def requests() -> list[Instance]:
    """Two sets of shots, a prompt that shares nothing, and two kinds of options, all mixed."""
    pairs = [(start + end, options) for end in ENDS for start, options in ((SHOTS, OPTIONS), (OTHER, LONGER))]
    pairs += [("What is it?", OPTIONS), (SHOTS + "another", LONGER)]
    return [Instance("generate_until", {}, pair, 0, ("task", number, 1)) for number, pair in enumerate(pairs)]


def shared(lm: Any) -> dict[str, Any]:
    found: dict[str, Any] = lm.get_model_info()[lm.RESULTS_KEY]["generation_shared"]
    return found


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_baichuan_answers_as_hf_does(write_checkpoint: Write, family: str, batch_size: int) -> None:
    lm = BaichuanLM(write_checkpoint(vocab_size=390, **FAMILIES[family]), device="cpu", batch_size=batch_size)
    found = lm.generate_until(requests(), disable_tqdm=True)
    assert found == HFLM.generate_until(lm, requests(), disable_tqdm=True)
    assert len(set(found)) > 5
    assert (shared(lm)["prompts"], shared(lm)["verified"]) == (15, True)
    assert shared(lm)["tokens"] > 15 * 32


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral with a window", "gemma3", "deepseek_v3"])
def test_any_model_answers_as_hf_does_whether_it_shares_or_not(family: str) -> None:
    lm = TrieLM(tiny_model(family), tokenizer=byte_level(300), batch_size=4)
    found = lm.generate_until(requests(), disable_tqdm=True)
    assert found == HFLM(tiny_model(family), tokenizer=byte_level(300), batch_size=4).generate_until(requests())
    assert (shared(lm)["prompts"], shared(lm)["verified"]) == (15, True)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("family", ["lfm2", "qwen3_5", "falcon_h1"])
def test_states_go_on_behind_the_beginning(family: str, batch_size: int) -> None:
    lm = TrieLM(tiny_model(family), tokenizer=byte_level(300), batch_size=batch_size)
    found = lm.generate_until(requests(), disable_tqdm=True)
    assert found == HFLM(tiny_model(family), tokenizer=byte_level(300), batch_size=1).generate_until(requests())
    assert (shared(lm)["prompts"], shared(lm)["verified"]) == (15, True)


@pytest.mark.parametrize("family", ["mistral with a window", "gemma3", "lfm2"])
def test_windows_and_states_go_on_only_where_answers_are_compared(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    lm = TrieLM(tiny_model(family), tokenizer=byte_level(300), batch_size=1, self_check=False)
    found = lm.generate_until(requests(), disable_tqdm=True)
    assert found == HFLM(tiny_model(family), tokenizer=byte_level(300), batch_size=1).generate_until(requests())
    assert shared(lm) == {"prompts": 0, "tokens": 0, "verified": False}
    assert caplog.text.count("share no prefix, because whether this model goes on rightly") == 1


@pytest.mark.parametrize("self_check", [True, False])
def test_a_model_that_is_all_state_answers_as_hf_does(self_check: bool, caplog: pytest.LogCaptureFixture) -> None:
    lm = TrieLM(tiny_model("mamba"), tokenizer=byte_level(300), batch_size=1, self_check=self_check)
    found = lm.generate_until(requests(), disable_tqdm=True)
    assert found == HFLM(tiny_model("mamba"), tokenizer=byte_level(300), batch_size=1).generate_until(requests())
    assert shared(lm) == {"prompts": 0, "tokens": 0, "verified": False}
    assert caplog.text.count("share no prefix, because a batch can't go on behind what this model keeps") == 1


def test_an_adapter_that_puts_tokens_before_prompts_answers_as_hf_does(caplog: pytest.LogCaptureFixture) -> None:
    def adapted() -> Any:
        torch.manual_seed(1)
        return get_peft_model(
            tiny_model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
        ).eval()

    lm = TrieLM(adapted(), tokenizer=byte_level(300), batch_size=1, self_check=False)
    assert lm.generate_until(requests(), disable_tqdm=True) == HFLM(
        adapted(), tokenizer=byte_level(300), batch_size=1
    ).generate_until(requests())
    assert shared(lm)["prompts"] == 0
    assert "share no prefix, because Prompt-learning adapters put virtual tokens before every request." in caplog.text


def test_a_model_that_cannot_go_on_answers_as_hf_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped(*_args: Any) -> Any:
        raise ValueError("one token at a time\nplease")

    monkeypatch.setattr(SharedPrefix, "batch", stopped)
    lm = TrieLM(tiny_model("llama"), tokenizer=byte_level(300), batch_size=1)
    found = lm.generate_until(requests(), disable_tqdm=True)
    assert found == HFLM(tiny_model("llama"), tokenizer=byte_level(300), batch_size=1).generate_until(requests())
    assert shared(lm) == {"prompts": 0, "tokens": 0, "verified": False}
    assert "this model can't go on behind one (ValueError: one token at a time)" in caplog.text


def test_frequencies_that_go_by_a_prompts_length_are_not_shared() -> None:
    model = tiny_model("llama")
    model.config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    lm = TrieLM(model, tokenizer=byte_level(300), trie=False, self_check=False)
    prompts = [lm.tok_encode(SHOTS + end) for end in "AB"]
    assert [(group.members, len(group.prefix)) for group in lm._shared.groups(prompts)] == [((0, 1), 0)]


def test_a_prefix_that_changes_answers_is_not_used(
    write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lm = BaichuanLM(write_checkpoint(vocab_size=390), device="cpu", batch_size=4)
    right = SharedPrefix.cache

    def shifted(self: SharedPrefix, rows: int) -> Any:
        cache = right(self, rows)
        cache.layers[0].keys = cache.layers[0].keys.roll(1, dims=2)
        return cache

    monkeypatch.setattr(SharedPrefix, "cache", shifted)
    with caplog.at_level(logging.WARNING):
        found = lm.generate_until(requests(), disable_tqdm=True)
    assert found == HFLM.generate_until(lm, requests(), disable_tqdm=True)
    assert shared(lm) == {"prompts": 0, "tokens": 0, "verified": False}
    assert caplog.text.count("Generated answers share no prefix") == 1


def test_prompts_that_lose_their_beginning_share_nothing(write_checkpoint: Write) -> None:
    lm = BaichuanLM(write_checkpoint(vocab_size=390), device="cpu", batch_size=4, max_length=60)
    assert lm.generate_until(requests(), disable_tqdm=True) == HFLM.generate_until(lm, requests(), disable_tqdm=True)
    assert shared(lm)["prompts"] == 0


def test_beams_are_left_to_hf(write_checkpoint: Write) -> None:
    lm = BaichuanLM(write_checkpoint(vocab_size=390), device="cpu", batch_size=2)
    some = [
        Instance("generate_until", {}, (SHOTS + end, {**OPTIONS, "num_beams": 2}), 0, ("task", 0, 1)) for end in "AB"
    ]
    assert lm.generate_until(some, disable_tqdm=True) == HFLM.generate_until(lm, some, disable_tqdm=True)
    assert shared(lm)["prompts"] == 0


def test_the_beginning_is_run_once(write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = BaichuanLM(write_checkpoint(vocab_size=390), device="cpu", batch_size=1, self_check=False)
    some = [Instance("generate_until", {}, (SHOTS + end, OPTIONS), 0, ("task", 0, 1)) for end in ENDS]
    tokens = []
    forward = type(lm.model.model).forward

    @functools.wraps(forward)
    def counting(self: Any, input_ids: torch.Tensor, **options: Any) -> Any:
        tokens.append(input_ids.numel())
        return forward(self, input_ids, **options)

    monkeypatch.setattr(type(lm.model.model), "forward", counting)
    lm.generate_until(some, disable_tqdm=True)
    prefix = shared(lm)["tokens"] // len(ENDS)
    assert tokens.count(prefix) == 1
    assert sum(tokens) < prefix + len(ENDS) * (30 + OPTIONS["max_gen_toks"])
