"""What is prepared for ftllm: the same model, known by its contents, and used again only if it is whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.engines.fastllm_checks import servable_config, window
from lm_eval_baichuan.model_adapters.engines.fastllm_folder import Prepared, prepare
from lm_eval_baichuan.model_adapters.errors import CheckpointError, UnsupportedModelError

Write = Callable[..., Path]
IDS = torch.tensor([[5, 9, 200, 3, 1, 399]])


def prepared(source: Path, root: Path, dtype: str = "float32") -> Prepared:
    config = servable_config(str(source), {"dtype": dtype})
    return prepare(source, config, dtype, window(config, {}), root)


@pytest.mark.parametrize("norm_head", [False, True])
def test_the_prepared_folder_is_the_same_model(small_checkpoint: Write, tmp_path: Path, norm_head: bool) -> None:
    source = small_checkpoint(norm_head=norm_head)
    made = prepared(source, tmp_path / "root")
    assert made.made
    expected = BaichuanForCausalLM.from_pretrained(str(source), dtype=torch.float32).eval()(input_ids=IDS).logits
    found = LlamaForCausalLM.from_pretrained(str(made.folder)).eval()(input_ids=IDS).logits
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_fine_tune_in_llamas_form_is_prepared_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        **{"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "llama")
    made = prepared(tmp_path / "llama", tmp_path / "root")
    found = LlamaForCausalLM.from_pretrained(str(made.folder)).eval()(input_ids=IDS % 50).logits
    assert torch.allclose(found, model(input_ids=IDS % 50).logits, atol=1e-6)


def test_it_is_used_again_if_it_is_whole_and_made_anew_if_not(
    small_checkpoint: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, root = small_checkpoint(), tmp_path / "root"
    first = prepared(source, root)
    assert prepared(source, root) == Prepared(first.folder, first.fingerprint, made=False)
    weights = first.folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        assert prepared(source, root).made
    assert "model.safetensors is not what was written" in caplog.text
    assert weights.read_bytes() == whole
    (first.folder / "prepared.json").unlink()
    assert prepared(source, root).made
    assert not [path for path in root.iterdir() if path != first.folder]


def test_other_weights_or_another_dtype_are_another_folder(small_checkpoint: Write, tmp_path: Path) -> None:
    root = tmp_path / "root"
    one = prepared(small_checkpoint("checkpoint"), root)
    other = prepared(small_checkpoint("elsewhere/checkpoint", seed=6), root)
    half = prepared(tmp_path / "checkpoint", root, "float16")
    assert len({one.folder, other.folder, half.folder}) == 3
    assert json.loads((half.folder / "config.json").read_text())["torch_dtype"] == "float16"


def test_numbers_that_float16_cannot_hold_are_refused(small_checkpoint: Write, tmp_path: Path) -> None:
    source = small_checkpoint()
    model = BaichuanForCausalLM.from_pretrained(str(source), dtype=torch.float32)
    with torch.no_grad():
        model.lm_head.weight[3, 3] = 1e6
    model.save_pretrained(source)
    with pytest.raises(CheckpointError, match=r"lm_head.weight holds numbers up to 1e\+06.*dtype=float32"):
        prepared(source, tmp_path / "root", "float16")
    assert list((tmp_path / "root").iterdir()) == []


def test_alibi_is_refused_before_anything_is_written(small_checkpoint: Write) -> None:
    with pytest.raises(UnsupportedModelError, match="ALiBi positions.*Use --model baichuan"):
        servable_config(str(small_checkpoint(model_max_length=512)), {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_key_value_heads", 2),
        ("attention_bias", True),
        ("tie_word_embeddings", True),
        ("hidden_act", "gelu"),
        ("rope_parameters", {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}),
    ],
)
def test_a_llama_of_another_form_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    given: dict[str, Any] = {**sizes, "num_attention_heads": 4, key: value}
    LlamaForCausalLM(LlamaConfig(**given)).save_pretrained(tmp_path / "llama")
    with pytest.raises(UnsupportedModelError, match="rope_type" if key == "rope_parameters" else key):
        servable_config(str(tmp_path / "llama"), {})
