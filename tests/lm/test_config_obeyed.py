"""Through ``--model baichuan``: what a checkpoint or an adapter says of itself is obeyed, or refused, never dropped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.utils import simple_parse_args_string
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM, BaichuanTokenizer
from lm_eval_baichuan.model_adapters.errors import CheckpointError, OptionError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Make = Callable[..., Instance]
Write = Callable[..., str]

WIDTHS = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.15}


def score(lm: BaichuanLM, instance: Make) -> list[float]:
    requests = [instance("What is your name? 答案：", label, i) for i, label in enumerate("ABCD")]
    return [logprob for logprob, _ in lm.loglikelihood(requests, disable_tqdm=True)]


@pytest.mark.filterwarnings("ignore")  # the quantizers' own words
@pytest.mark.parametrize("layout", ["baichuan", "llama"])
@pytest.mark.parametrize(
    "quantize",
    [
        {"load_in_4bit": True},
        {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        {"load_in_8bit": True},
        {"torchao": "int8"},
    ],
    ids=lambda options: "-".join(options),
)
def test_what_was_saved_quantized_reads_back(
    write_checkpoint: Write, instance: Make, tmp_path: Path, layout: str, quantize: dict[str, Any]
) -> None:
    pytest.importorskip("bitsandbytes" if "torchao" not in quantize else "torchao")
    folder = Path(write_checkpoint(norm_head=layout == "baichuan", **WIDTHS))
    if layout == "llama":
        (folder / "config.json").unlink()
        config = LlamaConfig(vocab_size=400, num_hidden_layers=2, num_attention_heads=4, **WIDTHS)
        torch.manual_seed(5)
        LlamaForCausalLM(config).save_pretrained(folder)
    # Without the trie, whose scorer tries the model out: bitsandbytes writes 4-bit scales rightly only before that.
    BaichuanLM(str(folder), device="cpu", trie=False, **quantize).model.save_pretrained(tmp_path / "saved")
    lm = BaichuanLM(str(folder), device="cpu", **quantize)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / "saved")
    again = BaichuanLM(str(tmp_path / "saved"), device="cpu")
    # Where the weights lie in memory decides how the CPU adds up.
    assert score(again, instance) == pytest.approx(score(lm, instance), abs=1e-5)
    assert again.get_model_info()["baichuan"]["quantization"] == lm.get_model_info()["baichuan"]["quantization"]


@pytest.mark.filterwarnings("ignore")
def test_scales_that_bitsandbytes_left_in_the_order_of_its_kernel_are_refused(
    write_checkpoint: Write, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    from safetensors.torch import load_file, save_file

    folder = write_checkpoint(**WIDTHS)
    BaichuanLM(folder, device="cpu", load_in_4bit=True).model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight.absmax"
    # What saving after a forward pass writes on a CPU with AVX512-BF16: [inputs / 64, outputs], in bfloat16.
    state[name] = state[name].reshape(128, 1).T.contiguous().bfloat16()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"{name}: .*saved after a forward pass on a CPU"):
        BaichuanForCausalLM.from_pretrained(tmp_path)


def test_what_changes_nothing_is_in_the_results(write_checkpoint: Write, instance: Make) -> None:
    folder = Path(write_checkpoint())
    plain = BaichuanLM(str(folder), device="cpu")
    assert plain.get_model_info()["baichuan"]["ignored_config"] == {}
    scaling = {"rope_scaling": {"type": "linear", "factor": 2.0}, "num_key_value_heads": 2}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **scaling}))
    lm = BaichuanLM(str(folder), device="cpu")
    assert lm.get_model_info()["baichuan"]["ignored_config"] == scaling
    assert score(lm, instance) == pytest.approx(score(plain, instance), abs=1e-5)


@pytest.mark.parametrize("text", ["true", "True", "false"])
def test_norm_head_as_the_command_line_reads_it(write_checkpoint: Write, text: str) -> None:
    options = simple_parse_args_string(f"norm_head={text}")
    folder = Path(write_checkpoint())
    config = json.loads((folder / "config.json").read_text())
    del config["norm_head"]
    (folder / "config.json").write_text(json.dumps(config))
    lm = BaichuanLM(str(folder), device="cpu", **options)
    assert lm.get_model_info()["baichuan"]["norm_head"] is (text.lower() == "true")


@pytest.mark.parametrize("text", ["'true'", "yes", "1", "0.0", "flase"])
def test_a_norm_head_that_is_neither_true_nor_false_is_refused(write_checkpoint: Write, text: str) -> None:
    options = simple_parse_args_string(f"norm_head={text}")
    with pytest.raises(CheckpointError, match="--model_args: norm_head is .*; expected true or false, or null"):
        BaichuanLM(write_checkpoint(), device="cpu", **options)


@pytest.mark.parametrize(
    "option", [{"attn_implementation": "org/kernel"}, {"use_kernels": True}, {"variant": "fp16"}, {"no_such_option": 3}]
)
def test_options_that_are_not_obeyed_are_refused(write_checkpoint: Write, option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        BaichuanLM(write_checkpoint(), device="cpu", **option)


def test_a_subfolder_is_found(write_checkpoint: Write, instance: Make) -> None:
    folder = Path(write_checkpoint())
    expected = score(BaichuanLM(str(folder), device="cpu"), instance)
    found = score(BaichuanLM(str(folder.parent), device="cpu", subfolder=folder.name), instance)
    assert found == pytest.approx(expected, abs=1e-4)


def model(kind: str) -> PreTrainedModel:
    torch.manual_seed(5)
    sizes: dict[str, Any] = {"vocab_size": 400, "num_hidden_layers": 1, "num_attention_heads": 4, "hidden_size": 32}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=400, n_layer=1, n_head=4, n_embd=32))
    if kind == "cohere":
        return CohereForCausalLM(CohereConfig(**sizes, intermediate_size=48, logit_scale=0.3, pad_token_id=0))
    return LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=48))


@pytest.mark.parametrize("kind", ["gpt2", "cohere"])
def test_a_model_object_of_another_family_is_refused(small_tokenizer: Path, kind: str) -> None:
    tokenizer = BaichuanTokenizer(str(small_tokenizer))
    with pytest.raises(CheckpointError, match=rf"model_type '{kind}'\); --model baichuan takes a BaichuanForCausalLM"):
        BaichuanLM(pretrained=model(kind), tokenizer=tokenizer)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("kind", ["baichuan", "llama", "adapter"])
def test_a_model_object_of_the_family_is_taken(
    write_checkpoint: Write, small_tokenizer: Path, instance: Make, kind: str
) -> None:
    loaded: Any = model("llama") if kind == "llama" else BaichuanForCausalLM.from_pretrained(write_checkpoint())
    if kind == "adapter":
        peft = pytest.importorskip("peft")
        loaded = peft.get_peft_model(loaded, peft.LoraConfig(r=2, target_modules=["o_proj"]))
    lm = BaichuanLM(pretrained=loaded, tokenizer=BaichuanTokenizer(str(small_tokenizer)))
    assert torch.tensor(score(lm, instance)).isfinite().all()
    assert lm.get_model_info()["baichuan"]["ignored_config"] == {}


@pytest.fixture
def adapter(write_checkpoint: Write, tmp_path: Path) -> tuple[str, Path]:
    """A checkpoint and an adapter for it."""
    peft = pytest.importorskip("peft")
    folder = write_checkpoint()
    settings = {"r": 2, "target_modules": ["o_proj"], "task_type": "CAUSAL_LM"}
    wrapped = peft.get_peft_model(BaichuanForCausalLM.from_pretrained(folder), peft.LoraConfig(**settings))
    wrapped.save_pretrained(tmp_path / "adapter")
    return folder, tmp_path / "adapter"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("tokens", [[5, 6], []])
def test_an_adapter_with_invocation_tokens_is_refused(adapter: tuple[str, Path], tokens: list[int]) -> None:
    folder, place = adapter
    file = place / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "alora_invocation_tokens": tokens}))
    with pytest.raises(CheckpointError, match="alora_invocation_tokens is .*the scores would be the bare model's"):
        BaichuanLM(folder, device="cpu", peft=str(place))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"peft_type": null}', '{"peft_type": "X"}', '{"r": "x"}', "\xff"]
)
def test_a_damaged_adapter_configuration_is_named(adapter: tuple[str, Path], content: str) -> None:
    folder, place = adapter
    file = place / "adapter_config.json"
    if content.startswith('{"r'):
        content = json.dumps({**json.loads(file.read_text()), "r": "x"})
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=str(place)):
        BaichuanLM(folder, device="cpu", peft=str(place))
