"""The adapter: what lm-eval asks, which ids the model is asked for, and what the results say of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lm_eval_baichuan.model_adapters.errors import (
    CheckpointError,
    NonFiniteLogitsError,
    RequestError,
    TokenizerError,
)
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM, auto_dtype

Make = Callable[..., Instance]
Write = Callable[..., str]

SHOTS = ["问一 答案：A\n", "问二 一二三四五 答案：B\n", "问三 答案：C\n"]


def prompt(shots: list[str], **fields: Any) -> tuple[str, dict[str, Any]]:
    description, question = "说明\n\n", "问四 答案："
    return description + "".join(shots) + question, {
        "description_length": len(description),
        "shot_lengths": [len(shot) for shot in shots],
        "question_length": len(question),
        "drop_shots": "last",
        "max_prompt_tokens": 0,
        **fields,
    }


@torch.no_grad()
def by_hand(lm: BaichuanLM, context_ids: list[int], target: int) -> float:
    logits = lm.model(torch.tensor([context_ids])).logits[0, -1]
    return float(logits.float().log_softmax(-1)[target])


@pytest.mark.parametrize("trie", [True, False])
@pytest.mark.parametrize(
    ("published", "override", "piece"),
    [
        ("isolated", None, "▁A"),
        ("bare", None, "A"),
        ("joint", None, "A"),
        (None, None, "A"),
        ("isolated", "joint", "A"),
        ("isolated", "bare", "A"),
        ("joint", "isolated", "▁A"),
        (None, "isolated", "A"),  # a task that says nothing of label tokens is not touched
    ],
)
def test_label_tokens(
    write_checkpoint: Write, instance: Make, trie: bool, published: str | None, override: str | None, piece: str
) -> None:
    options = {} if override is None else {"label_tokens": override}
    lm = BaichuanLM(write_checkpoint(), device="cpu", trie=trie, **options)
    doc = {} if published is None else {"label_tokens": published}
    [(logprob, _)] = lm.loglikelihood([instance("答案：", "A", **doc)], disable_tqdm=True)
    target = lm.tokenizer.convert_tokens_to_ids(piece)
    assert logprob == pytest.approx(by_hand(lm, lm.tokenizer.encode("答案："), target), abs=1e-4)
    used = lm.get_model_info()["baichuan"]["label_tokens"]
    assert used == ({} if published is None else {override or published: ["some_task"]})


def test_a_delimiter_belongs_to_the_continuation_and_not_to_the_label(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    plain, spaced = lm.loglikelihood(
        [instance("Answer:", label, label_tokens="isolated") for label in ("B", " B")], disable_tqdm=True
    )
    assert plain == spaced


def test_trailing_white_space_of_a_context_stays_in_it(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    [(logprob, _)] = lm.loglikelihood([instance("答案： \n", "A", label_tokens="isolated")], disable_tqdm=True)
    target = lm.tokenizer.convert_tokens_to_ids("▁A")
    assert logprob == pytest.approx(by_hand(lm, lm.tokenizer.encode("答案： \n"), target), abs=1e-4)


@pytest.mark.parametrize("override", [{}, {"label_tokens": "isolatd"}])
def test_an_unknown_encoding_stops(write_checkpoint: Write, instance: Make, override: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="expected one of isolated, bare, joint"):
        lm = BaichuanLM(write_checkpoint(), device="cpu", **override)
        lm.loglikelihood([instance("x", "A", label_tokens="jointly")], disable_tqdm=True)


@pytest.mark.parametrize("trie", [True, False])
def test_a_long_prompt_loses_shots_and_the_results_say_so(
    write_checkpoint: Write, instance: Make, caplog: pytest.LogCaptureFixture, trie: bool
) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", trie=trie)
    kept, _ = prompt(SHOTS[:1])
    limit = len(lm.tokenizer.encode(kept))
    context, doc = prompt(SHOTS, max_prompt_tokens=limit, label_tokens="isolated")
    with caplog.at_level(logging.WARNING):
        answers = lm.loglikelihood([instance(context, label, **doc) for label in "AB"], disable_tqdm=True)
    for (logprob, _), label in zip(answers, "AB", strict=True):
        target = lm.tokenizer.convert_tokens_to_ids("▁" + label)
        assert logprob == pytest.approx(by_hand(lm, lm.tokenizer.encode(kept), target), abs=1e-4)
    facts = lm.get_model_info()["baichuan"]
    counts = {"prompts": 1, "shots": 2}
    assert facts["shortened_prompts"] == {
        "some_task": counts | {"limits": [{"limit": limit, "by_window": False} | counts]}
    }
    assert facts["truncated_prompts"] == {}
    assert "too long" not in caplog.text  # by the published rule: nothing is wrong
    json.dumps(facts)


@pytest.mark.parametrize("published", ["same", "larger", "none"])
def test_shots_lost_to_a_small_window_are_counted_apart(
    write_checkpoint: Write, instance: Make, caplog: pytest.LogCaptureFixture, published: str
) -> None:
    """With two of three shots the prompt is over the window, whether or not the published limit allows them."""
    folder = write_checkpoint()
    encode = BaichuanLM(folder, device="cpu").tokenizer.encode
    one, two = (len(encode(prompt(SHOTS[:kept])[0])) for kept in (1, 2))
    limit = {"same": two - 1, "larger": two, "none": 0}[published]
    lm = BaichuanLM(folder, device="cpu", max_length=one)
    context, doc = prompt(SHOTS, max_prompt_tokens=limit, label_tokens="isolated")
    with caplog.at_level(logging.WARNING):
        lm.loglikelihood([instance(context, label, **doc) for label in "AB"], disable_tqdm=True)
    by_window = published != "same"
    assert lm.get_model_info()["baichuan"]["shortened_prompts"]["some_task"]["limits"] == [
        {"limit": one if by_window else limit, "by_window": by_window, "prompts": 1, "shots": 2}
    ]
    assert (f"to fit the model's window of {one} tokens" in caplog.text) == by_window


def test_a_long_prompt_without_shots_loses_none(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    context, doc = prompt([], max_prompt_tokens=2, label_tokens="isolated")
    lm.loglikelihood([instance(context, "A", **doc)], disable_tqdm=True)
    assert lm.get_model_info()["baichuan"]["shortened_prompts"] == {}


def test_joint_labels_are_shortened_too(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", label_tokens="joint")
    kept, _ = prompt(SHOTS[:1])
    context, doc = prompt(SHOTS, max_prompt_tokens=len(lm.tokenizer.encode(kept)), label_tokens="isolated")
    [(logprob, _)] = lm.loglikelihood([instance(context, "A", **doc)], disable_tqdm=True)
    target = lm.tokenizer.convert_tokens_to_ids("A")
    assert logprob == pytest.approx(by_hand(lm, lm.tokenizer.encode(kept), target), abs=1e-4)


@pytest.mark.parametrize("trie", [True, False])
def test_what_is_too_long_without_a_rule_is_counted(
    write_checkpoint: Write, instance: Make, caplog: pytest.LogCaptureFixture, trie: bool
) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", trie=trie, max_length=20)
    requests = [instance("一二三四" * 9, label, doc_id) for doc_id in (1, 2) for label in "AB"]
    requests.append(instance("short", "A", 3))
    with caplog.at_level(logging.WARNING):
        answers = lm.loglikelihood(requests, disable_tqdm=True)
    ids = lm.tokenizer.encode("一二三四" * 9)[-20:]
    assert answers[0][0] == pytest.approx(by_hand(lm, ids, lm.tokenizer.convert_tokens_to_ids("A")), abs=1e-4)
    assert lm.get_model_info()["baichuan"]["truncated_prompts"] == {"some_task": 2}
    assert "2 prompts were longer than the model's context" in caplog.text


def test_a_continuation_longer_than_the_window_stops(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", max_length=8)
    with pytest.raises(RequestError, match="expected 1 to 8"):
        lm.loglikelihood([instance("x", "答案" * 9)], disable_tqdm=True)


@pytest.mark.parametrize("alibi", [False, True])
def test_trie_and_lm_evals_batches_agree(write_checkpoint: Write, instance: Make, alibi: bool) -> None:
    folder = write_checkpoint(**({"model_max_length": 512, "norm_head": True} if alibi else {}))
    requests = [
        instance(context, continuation)
        for context in ("", "以下是", "以下是中国", "A. one B. two", "以下是" * 20)
        for continuation in ("A", "B", "two three", "法学考试的单项选择题")
    ]
    with_trie = BaichuanLM(folder, device="cpu", batch_size=4).loglikelihood(requests, disable_tqdm=True)
    batches = BaichuanLM(folder, device="cpu", batch_size=4, trie=False)
    without = batches.loglikelihood(requests, disable_tqdm=True)
    assert batches.get_model_info()["baichuan"]["scorer"] == "lm-eval batches"
    for ours, theirs in zip(with_trie, without, strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
        assert ours[1] == theirs[1]


@pytest.mark.parametrize("length", [1, 15, 16, 17, 60])
def test_rolling_log_likelihood_as_lm_eval_does_it(write_checkpoint: Write, length: int) -> None:
    folder = write_checkpoint()
    texts = [("以下是中国关于法学考试" * 9)[:length], "A. one"]
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0, ("some_task", i, 1)) for i, text in enumerate(texts)]
    ours = BaichuanLM(folder, device="cpu", max_length=16).loglikelihood_rolling(requests, disable_tqdm=True)
    theirs = BaichuanLM(folder, device="cpu", max_length=16, trie=False).loglikelihood_rolling(requests, True)
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_generation_as_lm_eval_does_it(write_checkpoint: Write) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", batch_size=2)
    requests = [
        Instance("generate_until", {}, (text, {"max_gen_toks": 8, "until": ["\n\n"]}), 0, ("some_task", i, 1))
        for i, text in enumerate(["以下是", "A. one B."])
    ]
    answers = lm.generate_until(requests, disable_tqdm=True)
    ids = torch.tensor([lm.tokenizer.encode("以下是")])
    out = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=0)
    expected = lm.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    assert answers[0] == expected.split("\n\n")[0]


@pytest.mark.parametrize("trie", [True, False])
def test_nan_stops_the_run_and_names_the_layer(write_checkpoint: Write, instance: Make, trie: bool) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", trie=trie)
    with torch.no_grad():
        lm.model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteLogitsError, match=r"layers\.1\.mlp"):
        lm.loglikelihood([instance("以下是", "A")], disable_tqdm=True)
    with pytest.raises(NonFiniteLogitsError, match=r"layers\.1\.mlp"):
        lm.generate_until([Instance("generate_until", {}, ("以下是", {"until": []}), 0, ("t", 0, 1))], True)


def test_auto_dtype(write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BaichuanLM(write_checkpoint(), device="cpu").model.dtype == torch.float32
    assert BaichuanLM(write_checkpoint(), device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16
    for has_bfloat16, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_bfloat16, **_: has)
        assert auto_dtype(torch.device("cuda")) == expected


def test_context_length_comes_from_the_checkpoint(write_checkpoint: Write) -> None:
    assert BaichuanLM(write_checkpoint(), device="cpu").max_length == 512
    assert BaichuanLM(write_checkpoint(name="alibi", model_max_length=384), device="cpu").max_length == 384
    assert BaichuanLM(write_checkpoint(), device="cpu", max_length=77).max_length == 77


@pytest.mark.parametrize(("length", "warned"), [(512, False), (513, True), (None, False)])
def test_a_window_beyond_the_models_own_is_said(
    write_checkpoint: Write, caplog: pytest.LogCaptureFixture, length: int | None, warned: bool
) -> None:
    for alibi in (False, True):
        folder = write_checkpoint(name=f"alibi {alibi}", **({"model_max_length": 512} if alibi else {}))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            lm = BaichuanLM(folder, device="cpu", **({} if length is None else {"max_length": length}))
        assert ("is beyond the 512 tokens" in caplog.text) == warned
        facts = lm.get_model_info()["baichuan"]
        assert (facts["max_length"], facts["own_window"]) == (length or 512, 512)


@pytest.mark.parametrize(
    ("model_type", "said"),
    [
        ("gpt2", r"model_type 'gpt2'.*Use --model hf-trie"),
        ("qwen2", r"model_type 'qwen2'.*Use --model hf-trie.*Baichuan-M2 and M3"),
        ("qwen3_moe", r"model_type 'qwen3_moe'.*Use --model hf-trie.*Baichuan-M2 and M3"),
        ("baichuan_m1", r"model_type 'baichuan_m1'\. Baichuan-M1 mixes .*\(a short convolution\).*sliding window"),
        ("unheard_of", r"model_type 'unheard_of'.*Use --model hf-trie"),
        (None, r"model_type is None"),
    ],
)
def test_another_model_type_is_refused(write_checkpoint: Write, model_type: str | None, said: str) -> None:
    folder = write_checkpoint()
    config = json.loads((Path(folder) / "config.json").read_text())
    remote = {"auto_map": {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.X"}}
    (Path(folder) / "config.json").write_text(json.dumps({**config, **remote, "model_type": model_type}))
    with pytest.raises(CheckpointError, match=said):
        BaichuanLM(folder, device="cpu", trust_remote_code=True)


def test_a_vocabulary_larger_than_the_embedding_is_refused(write_checkpoint: Write) -> None:
    with pytest.raises(TokenizerError, match="390 tokens, but the model's embedding has 300 rows"):
        BaichuanLM(write_checkpoint(vocab_size=300), device="cpu")


def test_trust_remote_code_changes_nothing_but_says_so(
    write_checkpoint: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        BaichuanLM(write_checkpoint(), device="cpu", trust_remote_code=True)
    assert "never runs code from a checkpoint" in caplog.text


def test_a_loaded_model_can_be_passed(write_checkpoint: Write, instance: Make) -> None:
    first = BaichuanLM(write_checkpoint(), device="cpu")
    second = BaichuanLM(first.model, tokenizer=first.tokenizer)
    ((found, _),), ((expected, _),) = (lm.loglikelihood([instance("以下是", "A")], True) for lm in (second, first))
    assert found == pytest.approx(expected, abs=1e-4)


def test_answers_reach_the_cache_as_soon_as_known(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", token_budget=8)
    seen: list[tuple[str, tuple[Any, ...]]] = []

    class Hook:
        def add_partial(self, kind: str, key: tuple[Any, ...], answer: tuple[float, bool]) -> None:
            seen.append((kind, key))

    lm.set_cache_hook(Hook())
    requests = [instance(context, "A") for context in ("以下是", "中国", "法学")]
    lm.loglikelihood(requests, disable_tqdm=True)
    assert sorted(seen) == sorted(
        ("loglikelihood", (*request.args, *lm._encode_pair(*request.args))) for request in requests
    )


def test_it_is_lm_evals_own_model_underneath(write_checkpoint: Write) -> None:
    lm = BaichuanLM.create_from_arg_string(
        f"pretrained={write_checkpoint()},dtype=float32,max_length=64,trust_remote_code=False,parallelize=False",
        {"batch_size": "auto", "max_batch_size": 8, "device": "cpu"},
    )
    assert isinstance(lm, HFLM)
    assert (lm.batch_size, lm.max_length) == ("auto", 64)


def test_the_default_checkpoint_is_the_published_7b(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(name: str, **_: Any) -> str:
        asked.append(name)
        raise CheckpointError("stop here")

    monkeypatch.setattr("lm_eval_baichuan.model_adapters.lm.baichuan_lm.local_checkpoint", refuse)
    with pytest.raises(CheckpointError, match="stop here"):
        BaichuanLM.create_from_arg_string("", {"batch_size": 1, "device": None})
    assert asked == ["baichuan-inc/Baichuan-7B"]
