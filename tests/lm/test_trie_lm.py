"""``--model hf-trie``: what the trie cannot serve, hf's own options, published label tokens, tokens by task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from any_model import PIECES, tiny_model
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from small_tokenizers import byte_level, llama_like, unigram
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from lm_eval_baichuan.model_adapters.errors import (
    NonFiniteLogitsError,
    OptionError,
    RequestError,
    UnsupportedModelError,
)
from lm_eval_baichuan.model_adapters.lm.run_facts import RunFacts
from lm_eval_baichuan.model_adapters.lm.task_tokens import TaskTokens, count_by_task
from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM
from lm_eval_baichuan.model_adapters.trie_scorer import TrieScorer

Make = Callable[..., Instance]

TEXTS = ["", "What is it? Answer:", "What is it?  ", "Question: " + "one two three " * 9]
ANSWERS = ["A", " B", " three four"]


def requests(make: Make) -> list[Instance]:
    pairs = [(context, answer) for context in TEXTS for answer in ANSWERS]
    return [make(context, answer, doc_id) for doc_id, (context, answer) in enumerate(pairs)]


def close(ours: list[tuple[float, bool]], theirs: list[tuple[float, bool]], within: float = 1e-4) -> None:
    assert [logprob for logprob, _ in ours] == pytest.approx([logprob for logprob, _ in theirs], abs=within)
    assert within > 1e-3 or [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def random_model(model_type: str, **options: Any) -> PreTrainedModel:
    torch.manual_seed(2)
    config = AutoConfig.for_model(model_type, **options)
    auto = AutoModelForSeq2SeqLM if model_type == "t5" else AutoModelForCausalLM
    model: PreTrainedModel = auto.from_config(config)
    return model.float().eval()


T5 = {"d_model": 16, "d_ff": 32, "d_kv": 4, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
MAMBA = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "eos_token_id": 0}


@pytest.mark.parametrize(
    ("model_type", "sizes", "why"),
    [("t5", T5, "t5 is an encoder and a decoder"), ("mamba", MAMBA, "Mamba")],
    ids=["encoder-decoder", "recurrent"],
)
def test_what_the_trie_cannot_serve_is_scored_as_hf_does(
    instance: Make, caplog: pytest.LogCaptureFixture, model_type: str, sizes: dict[str, Any], why: str
) -> None:
    model, tokenizer = random_model(model_type, vocab_size=PIECES, **sizes), unigram()
    arguments: dict[str, Any] = {"tokenizer": tokenizer, "batch_size": 4, "max_length": 64}
    theirs = HFLM(model, **arguments)
    with caplog.at_level(logging.WARNING):
        ours = TrieLM(model, **arguments)
        close(ours.loglikelihood(requests(instance), True), theirs.loglikelihood(requests(instance), True))
    facts = ours.get_model_info()["hf_trie"]
    assert facts["scorer"].startswith("lm-eval batches, because ") and why in facts["scorer"]
    assert "trie=False" not in facts["scorer"]
    assert facts["tokens_by_task"] == {}
    assert caplog.text.count("Scoring by lm-eval's own batches, because") == 1
    text = Instance("loglikelihood_rolling", {}, ("one two three four " * 9,), 0, ("t", 0, 1))
    assert ours.loglikelihood_rolling([text], True) == pytest.approx(theirs.loglikelihood_rolling([text], True))
    prompts = ["one two three four", "What is it?"]
    asked = [
        Instance("generate_until", {}, (p, {"until": ["."], "max_gen_toks": 5}), 0, ("t", i, 1))
        for i, p in enumerate(prompts)
    ]
    assert ours.generate_until(asked, True) == theirs.generate_until(asked, True)
    with pytest.raises(UnsupportedModelError, match=why):
        TrieLM(model, trie=True, **arguments).loglikelihood(requests(instance), True)


def test_what_shows_only_in_the_run_is_scored_as_hf_does_too(
    instance: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> Iterator[Any]:
        yield from ()
        raise UnsupportedModelError("This layer asks for the moon. Use trie=False.")

    monkeypatch.setattr(TrieScorer, "score_trie", refuse)
    model, tokenizer = tiny_model("llama"), byte_level()
    ours = TrieLM(model, tokenizer=tokenizer)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            answers = ours.loglikelihood(requests(instance), True)
    close(answers, HFLM(model, tokenizer=tokenizer).loglikelihood(requests(instance), True))
    assert ours.get_model_info()["hf_trie"]["scorer"] == "lm-eval batches, because This layer asks for the moon"
    assert caplog.text.count("asks for the moon") == 1
    with pytest.raises(UnsupportedModelError, match="asks for the moon"):
        TrieLM(model, tokenizer=tokenizer, trie=True).loglikelihood(requests(instance), True)


def test_the_trie_can_be_left_out(instance: Make) -> None:
    model, tokenizer = tiny_model("llama"), byte_level()
    plain = TrieLM(model, tokenizer=tokenizer, trie=False)
    trie = TrieLM(model, tokenizer=tokenizer)
    close(trie.loglikelihood(requests(instance), True), plain.loglikelihood(requests(instance), True))
    assert plain.get_model_info()["hf_trie"]["scorer"] == "lm-eval batches"
    assert trie.get_model_info()["hf_trie"]["scorer"].startswith("token trie")
    with pytest.raises(OptionError, match="trie is 'yes'; expected auto, true or false"):
        TrieLM(model, tokenizer=tokenizer, trie="yes")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A Llama checkpoint and its tokenizer."""
    tiny_model("llama").save_pretrained(tmp_path / "base")
    byte_level().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def adapter(folder: str) -> str:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(tiny_model("llama"), config).save_pretrained(f"{folder}-adapter")
    return f"{folder}-adapter"


def delta(folder: str) -> str:
    model = tiny_model("llama")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.1)
    model.save_pretrained(f"{folder}-delta")
    return f"{folder}-delta"


@pytest.mark.filterwarnings("ignore")  # of peft and accelerate
@pytest.mark.parametrize(
    "options",
    [
        lambda folder: {"peft": adapter(folder)},
        lambda folder: {"delta": delta(folder)},
        lambda folder: {"device_map": "cpu"},
        lambda folder: {"parallelize": True, "offload_folder": f"{folder}-offload"},
        lambda folder: {"backend": "causal"},
        lambda folder: {"add_bos_token": True},
        lambda folder: {"prefix_token_id": 7},
        lambda folder: {"attn_implementation": "eager"},
    ],
    ids=["peft", "delta", "device_map", "parallelize", "backend", "add_bos_token", "prefix_token_id", "attention"],
)
def test_options_of_hf_work_as_there(folder: str, instance: Make, options: Callable[[str], dict[str, Any]]) -> None:
    chosen: dict[str, Any] = {"device": "cpu", "dtype": "float32", "batch_size": 4, **options(folder)}
    ours, theirs = TrieLM(folder, **chosen), HFLM(folder, **chosen)
    close(ours.loglikelihood(requests(instance), True), theirs.loglikelihood(requests(instance), True))
    assert ours.get_model_info()["hf_trie"]["scorer"].startswith("token trie")
    generate = [Instance("generate_until", {}, (TEXTS[1], {"until": ["."], "max_gen_toks": 6}), 0, ("t", 0, 1))]
    assert ours.generate_until(generate, True) == theirs.generate_until(generate, True)


def test_mixed_precision_is_that_of_hf(folder: str, instance: Make) -> None:
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "batch_size": 4}
    exact = HFLM(folder, **options).loglikelihood(requests(instance), True)
    mixed = {**options, "mixed_precision_dtype": "bfloat16"}
    theirs = HFLM(folder, **mixed).loglikelihood(requests(instance), True)
    ours = TrieLM(folder, **mixed).loglikelihood(requests(instance), True)
    away = [abs(mine - plain) for (mine, _), (plain, _) in zip(ours, exact, strict=True)]
    assert max(away) > 1e-3  # it did compute in bfloat16
    close(ours, theirs, within=0.25)


@pytest.mark.filterwarnings("ignore")  # of peft
def test_nan_in_a_model_of_another_form_is_still_named(folder: str, instance: Make) -> None:
    model = random_model("t5", vocab_size=PIECES, **T5)
    with torch.no_grad():
        model.get_parameter("decoder.final_layer_norm.weight")[0] = torch.nan
    with pytest.raises(NonFiniteLogitsError):
        TrieLM(model, tokenizer=unigram(), max_length=64).loglikelihood(requests(instance), True)
    lm = TrieLM(folder, peft=adapter(folder), device="cpu", trie=False)
    with torch.no_grad():
        lm.model.get_parameter("base_model.model.model.layers.1.mlp.up_proj.weight")[0] = torch.nan
    with pytest.raises(NonFiniteLogitsError, match=r"layers\.1\.mlp"):
        lm.loglikelihood(requests(instance), True)


def test_thinking_is_no_option_for_given_answers(instance: Make) -> None:
    lm = TrieLM(tiny_model("llama"), tokenizer=byte_level(), enable_thinking=True, think_end_token="</think>")
    with pytest.raises(RequestError, match="enable_thinking=true is for generated answers; some_task"):
        lm.loglikelihood(requests(instance), True)


@pytest.mark.parametrize("make_tokenizer", [byte_level, llama_like], ids=["byte-level BPE", "BPE with bos"])
@pytest.mark.parametrize("encoding", ["isolated", "bare"])
def test_published_label_tokens_and_shot_dropping_with_any_tokenizer(
    instance: Make, make_tokenizer: Callable[[], Any], encoding: str
) -> None:
    tokenizer = make_tokenizer()
    model = tiny_model("llama")
    lm = TrieLM(model, tokenizer=tokenizer)
    shots = ["What is one? Answer: A\n", "What is two? Answer: B\n", "What is three? Answer: C\n"]
    kept = shots[0] + "What is it? Answer:"
    ids = tokenizer.encode(kept)
    assert (tokenizer.bos_token_id in ids) is (make_tokenizer is llama_like)
    doc = {
        "label_tokens": encoding,
        "description_length": 0,
        "shot_lengths": [len(shot) for shot in shots],
        "question_length": len("What is it? Answer:"),
        "max_prompt_tokens": len(ids),
        "drop_shots": "last",
    }
    answers = lm.loglikelihood([instance("".join(shots) + "What is it? Answer:", f" {x}", **doc) for x in "AB"], True)
    piece = "▁{}" if make_tokenizer is llama_like and encoding == "isolated" else "{}"
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    expected = [float(logprobs[tokenizer.convert_tokens_to_ids(piece.format(label))]) for label in "AB"]
    assert [logprob for logprob, _ in answers] == pytest.approx(expected, abs=1e-4)
    facts = lm.get_model_info()["hf_trie"]
    assert facts["label_tokens"] == {encoding: ["some_task"]}
    assert facts["shortened_prompts"]["some_task"]["shots"] == 2


def test_tokens_by_task_are_those_of_the_task_alone() -> None:
    shots, options = [1, 2, 3, 4, 5, 6], [[20, 30], [21, 31], [22, 32]]
    same = [("same shots", doc, [*shots, doc], option) for doc in (7, 8) for option in options]
    other = [("other shots", doc, [doc, *shots], option) for doc in (7, 8) for option in options]
    labels = [("labels", 0, shots, [label]) for label in (20, 21)]
    counted = count_by_task([*same, *other, *labels])
    assert counted["same shots"] == TaskTokens(sent=2 * 3 * 8, apart=2 * (7 + 3), run=6 + 2 * (1 + 3))
    assert counted["other shots"] == TaskTokens(sent=2 * 3 * 8, apart=2 * (7 + 3), run=2 * (7 + 3))
    assert counted["labels"] == TaskTokens(sent=6, apart=6, run=6)
    assert counted["same shots"].as_dict()["saved_between_documents"] == 0.3
    assert counted["other shots"].as_dict() == {
        "sent": 48,
        "run": 20,
        "saved": round(1 - 20 / 48, 4),
        "saved_within_documents": round(1 - 20 / 48, 4),
        "saved_between_documents": 0.0,
    }


def test_several_processes_add_up_what_they_counted() -> None:
    parts = [RunFacts(), RunFacts()]
    parts[0].add_tokens({"one": TaskTokens(9, 6, 3), "two": TaskTokens(4, 4, 4)})
    parts[1].add_tokens({"one": TaskTokens(1, 1, 1)})
    total = RunFacts.sum(parts)
    assert total.tokens_by_task == {"one": TaskTokens(10, 7, 4), "two": TaskTokens(4, 4, 4)}


def test_the_results_say_what_each_task_shared(instance: Make) -> None:
    lm = TrieLM(tiny_model("llama"), tokenizer=byte_level())
    lm.loglikelihood(requests(instance), True)
    text = Instance("loglikelihood_rolling", {}, ("one two three four " * 9,), 0, ("rolling", 0, 1))
    lm.loglikelihood_rolling([text], True)
    facts = lm.get_model_info()["hf_trie"]
    assert set(facts["tokens_by_task"]) == {"some_task", "rolling"}
    by_task = facts["tokens_by_task"]
    assert facts["tokens_sent"] == sum(tokens["sent"] for tokens in by_task.values())
    assert facts["tokens_run"] == sum(tokens["run"] for tokens in by_task.values())  # asked in two calls
    assert by_task["rolling"]["saved"] == 0
