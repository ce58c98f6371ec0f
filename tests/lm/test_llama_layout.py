"""Every tensor of a checkpoint in Llama's layout is accounted for, through ``--model baichuan``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from lm_eval_baichuan.model_adapters.errors import CheckpointError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Make = Callable[..., Instance]
State = dict[str, torch.Tensor]

Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


def write_llama(folder: Path, tokenizer: Path, **settings: Any) -> Path:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=400, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.15, max_position_embeddings=512, **settings,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    shutil.copy(tokenizer, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture
def llama(tmp_path: Path, small_tokenizer: Path) -> Path:
    return write_llama(tmp_path / "llama", small_tokenizer)


def edit(folder: Path, change: Callable[[State], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def score(lm: BaichuanLM, instance: Make) -> list[float]:
    requests = [instance("What is your name? 答案：", label, i) for i, label in enumerate("ABCD")]
    return [logprob for logprob, _ in lm.loglikelihood(requests, disable_tqdm=True)]


def load(folder: Path, **options: Any) -> BaichuanLM:
    return BaichuanLM(str(folder), device="cpu", **options)


@torch.no_grad()
def by_hand(folder: Path, lm: BaichuanLM) -> list[float]:
    model = LlamaForCausalLM.from_pretrained(folder)
    ids = torch.tensor([lm.tok_encode("What is your name? 答案：")])
    logprobs = model(ids).logits[0, -1].log_softmax(-1)
    return [float(logprobs[lm.tokenizer.convert_tokens_to_ids(label)]) for label in "ABCD"]


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ([Q_PROJ], rf"1 differences\):\n  {Q_PROJ}: missing, expected shape \[64, 64\]"),
        (["lm_head.weight"], r"lm_head\.weight: missing, expected shape \[400, 64\]"),
        (["model.norm.weight"], r"model\.norm\.weight: missing"),
        ("model.layers.1.", r"9 differences\):\n  model\.layers\.1\.self_attn\.q_proj\.weight: missing"),
    ],
)
def test_what_is_missing_stops(llama: Path, missing: list[str] | str, named: str) -> None:
    def change(state: State) -> None:
        for name in [name for name in state if name in missing or name.startswith(str(missing))]:
            del state[name]

    edit(llama, change)
    with pytest.raises(CheckpointError, match=named):
        load(llama)


def test_a_packed_projection_left_unsplit_is_named(llama: Path) -> None:
    def pack(state: State) -> None:
        for i in range(2):
            parts = [state.pop(f"model.layers.{i}.self_attn.{letter}_proj.weight") for letter in "qkv"]
            state[f"model.layers.{i}.self_attn.W_pack.weight"] = torch.cat(parts)

    edit(llama, pack)
    with pytest.raises(CheckpointError, match=r"W_pack\.weight: unexpected(.|\n)*split W_pack in q_proj, k_proj"):
        load(llama)


def test_a_baichuan_folder_whose_config_says_llama_is_named(write_checkpoint: Callable[..., str]) -> None:
    folder = Path(write_checkpoint())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(CheckpointError, match='Write "model_type": "baichuan" there'):
        load(folder)


def test_extra_and_misshapen_tensors_are_named(llama: Path) -> None:
    edit(llama, lambda s: s.update({"model.layers.0.extra": torch.ones(3), Q_PROJ: torch.ones(64, 32)}))
    with pytest.raises(CheckpointError) as error:
        load(llama)
    assert "model.layers.0.extra: unexpected, shape [3] in model.safetensors" in str(error.value)
    assert f"{Q_PROJ}: has shape [64, 32] in model.safetensors, but config.json describes [64, 64]" in str(error.value)


def test_a_missing_shard_is_named(llama: Path) -> None:
    state = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    index = {"weight_map": dict.fromkeys(state, "model-00001-of-00001.safetensors")}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"1 of the 1 shards"):
        load(llama)


def test_rotary_buffers_are_accepted(llama: Path, instance: Make) -> None:
    expected = score(load(llama), instance)
    edit(llama, lambda s: s.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.full((8,), 9.0)}))
    assert score(load(llama), instance) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("stored", ["once", "twice", "head only", "names of the base model"])
def test_a_tied_head_is_no_hole(tmp_path: Path, small_tokenizer: Path, instance: Make, stored: str) -> None:
    folder = write_llama(tmp_path / "tied", small_tokenizer, tie_word_embeddings=True)
    expected = by_hand(folder, load(folder))

    def change(state: State) -> None:
        embedding = state["model.embed_tokens.weight"]
        if stored in ("twice", "head only"):
            state["lm_head.weight"] = embedding.clone()
        if stored == "head only":
            del state["model.embed_tokens.weight"]
        if stored == "names of the base model":
            for name in list(state):
                state[name.removeprefix("model.")] = state.pop(name)

    edit(folder, change)
    assert score(load(folder), instance) == pytest.approx(expected, abs=1e-4)


def test_a_head_that_is_called_tied_and_is_not_stops(tmp_path: Path, small_tokenizer: Path) -> None:
    folder = write_llama(tmp_path / "tied", small_tokenizer, tie_word_embeddings=True)
    edit(folder, lambda s: s.update({"lm_head.weight": torch.ones(400, 64)}))
    with pytest.raises(CheckpointError, match="tie_word_embeddings, but lm_head.weight and model.embed_tokens.weight"):
        load(folder)


def test_a_base_model_without_its_head_misses_it(llama: Path) -> None:
    LlamaModel.from_pretrained(llama).save_pretrained(llama)
    with pytest.raises(CheckpointError, match=r"1 differences\):\n  lm_head\.weight: missing"):
        load(llama)


@pytest.mark.filterwarnings("ignore")  # the quantizers' own words
@pytest.mark.parametrize(
    "missing", [Q_PROJ, "model.norm.weight", "model.layers.0.mlp.up_proj.weight.absmax", "lm_head.weight"]
)
def test_quantized_weights_with_a_hole_stop(llama: Path, missing: str) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    options = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    LlamaForCausalLM.from_pretrained(llama, quantization_config=options).save_pretrained(llama)
    edit(llama, lambda state: state.pop(missing))
    with pytest.raises(CheckpointError, match=rf"1 differences\):\n  {missing.removesuffix('.weight')}.*: missing"):
        load(llama)
