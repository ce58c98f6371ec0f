"""Checkpoints that were quantized before: GPTQ as AutoGPTQ wrote it, and Baichuan's own -4bits files."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_matrix import requests, write_checkpoints
from safetensors.torch import load_file, save_file

from lm_eval_baichuan.model_adapters.baichuan import quantized
from lm_eval_baichuan.model_adapters.baichuan.tensor_check import check_quantized_tensors
from lm_eval_baichuan.model_adapters.errors import CheckpointError, MissingExtraError, QuantizationError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

GROUP = 32
MODELS = ["7B", "13B", "2-7B", "2-13B"]
QUANTIZED = ("W_pack.weight", "o_proj.weight", "gate_proj.weight", "up_proj.weight", "down_proj.weight")
HAS_GPTQ = bool(find_spec("gptqmodel") and find_spec("optimum"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path) -> Path:
    folder = tmp_path_factory.mktemp("quantized_before")
    write_checkpoints(folder, small_tokenizer)
    return folder


def packed(values: torch.Tensor) -> torch.Tensor:
    """Eight 4-bit numbers of the first axis to an int32, the first in the lowest bits."""
    whole = sum(values[i::8].to(torch.int64) << (4 * i) for i in range(8))
    assert isinstance(whole, torch.Tensor)
    return torch.where(whole >= 2**31, whole - 2**32, whole).to(torch.int32).contiguous()


def write_gptq(source: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Writes a checkpoint as TheBloke/baichuan-7B-GPTQ has it; returns the weights that it stands for.

    The layout is AutoGPTQ 0.2's: per group of inputs a scale and a zero point (stored less one), weights transposed,
    and settings and tensors in files of their own, of which config.json says nothing.
    """
    folder.mkdir()
    stored, stands_for = {}, {}
    for name, weight in load_file(source / "model.safetensors").items():
        if not name.endswith(QUANTIZED):
            stored[name] = weight.half()
            stands_for[name] = weight.half().float()
            continue
        groups = weight.unflatten(1, (-1, GROUP))
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        scale = ((high - low) / 15).half().float()
        zero = (-low / scale).round().clamp(1, 15)
        steps = (groups / scale + zero).round().clamp(0, 15)
        stands_for[name] = ((steps - zero) * scale).flatten(1)
        layer = name.removesuffix(".weight")
        stored |= {
            f"{layer}.qweight": packed(steps.flatten(1).T),
            f"{layer}.qzeros": packed(zero.squeeze(-1) - 1).T.contiguous(),  # packed along the outputs
            f"{layer}.scales": scale.squeeze(-1).T.half().contiguous(),
            f"{layer}.g_idx": (torch.arange(weight.shape[1]) // GROUP).to(torch.int32),
        }
    save_file(stored, folder / f"gptq_model-4bit-{GROUP}g.safetensors", metadata={"format": "pt"})
    settings = {"bits": 4, "group_size": GROUP, "damp_percent": 0.01, "desc_act": False, "sym": False}
    (folder / "quantize_config.json").write_text(json.dumps(settings))
    for file in ("config.json", "tokenizer.model", "tokenizer_config.json"):
        shutil.copy(source / file, folder / file)
    return stands_for


def scores(folder: Path, **options: Any) -> list[float]:
    lm = BaichuanLM(str(folder), device="cpu", dtype="float32", **options)
    return [logprob for logprob, _ in lm.loglikelihood(requests(), disable_tqdm=True)]


@pytest.mark.skipif(not HAS_GPTQ, reason="needs gptqmodel and optimum, which bring a CUDA build of PyTorch")
@pytest.mark.parametrize("trie", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_gptq_scores_like_the_weights_it_stands_for(checkpoints: Path, tmp_path: Path, model: str, trie: bool) -> None:
    source = checkpoints / model / "safetensors"
    stands_for = write_gptq(source, tmp_path / "gptq")
    shutil.copytree(source, tmp_path / "plain")
    save_file(stands_for, tmp_path / "plain" / "model.safetensors", metadata={"format": "pt"})
    # The kernel of the library computes from float16 scales.
    assert scores(tmp_path / "gptq", trie=trie) == pytest.approx(scores(tmp_path / "plain"), abs=0.01)
    lm = BaichuanLM(str(tmp_path / "gptq"), device="cpu")
    assert lm.get_model_info()["baichuan"]["quantization"] == "4 bits, gptq"


@pytest.mark.parametrize("hole", [None, "model.layers.1.mlp.up_proj.scales", "model.norm.weight"])
def test_a_hole_in_gptq_weights_is_seen_before_loading(checkpoints: Path, tmp_path: Path, hole: str | None) -> None:
    write_gptq(checkpoints / "7B" / "safetensors", tmp_path / "gptq")
    [file] = (tmp_path / "gptq").glob("*.safetensors")
    state = load_file(file)
    # AutoGPTQ gave every quantized layer a bias of zeros.
    state |= {
        name.replace("scales", "bias"): torch.zeros(scales.shape[1], dtype=torch.float16)
        for name, scales in state.items()
        if name.endswith(".scales")
    }
    save_file({name: tensor for name, tensor in state.items() if name != hole}, file)
    whole = load_file(checkpoints / "7B" / "safetensors" / "model.safetensors")
    expected = {name: tuple(tensor.shape) for name, tensor in whole.items()}
    if hole is None:
        check_quantized_tensors(tmp_path / "gptq", expected)
        return
    with pytest.raises(CheckpointError, match=rf"1 differences\):\n  {hole.removesuffix('.weight')}: missing"):
        check_quantized_tensors(tmp_path / "gptq", expected)


@pytest.mark.parametrize("model", MODELS)
def test_gptq_without_its_packages_says_what_to_install(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    write_gptq(checkpoints / model / "safetensors", tmp_path / "gptq")
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"quantized with GPTQ.*pip install optimum gptqmodel"):
        BaichuanLM(str(tmp_path / "gptq"), device="cpu")


def test_baichuans_own_4bits_files_are_refused_with_what_to_use(checkpoints: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Baichuan2-7B-Chat-4bits"
    shutil.copytree(checkpoints / "2-7B" / ".bin", folder)
    state = torch.load(folder / "pytorch_model.bin")
    for name in [name for name in state if name.endswith(QUANTIZED)]:
        weight = state.pop(name)
        state[f"{name}.data"] = torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8)
        # What bitsandbytes 0.41 kept beside them: scales, shape, dtype, block size, nested scales, kind.
        absmax = torch.zeros(weight.numel() // 64, dtype=torch.uint8)
        state[f"{name}.quant_state"] = [absmax, weight.shape, torch.bfloat16, 64, [torch.zeros(1), None], "nf4"]
    torch.save(state, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        "quant_method": "bitsandbytes",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(QuantizationError, match="without -4bits and pass load_in_4bit=true"):
        BaichuanLM(str(folder), device="cpu")


def test_what_it_says_to_use_instead_loads(checkpoints: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = checkpoints / "2-7B" / ".bin"
    lm = BaichuanLM(str(folder), device="cpu", load_in_4bit=True, bnb_4bit_use_double_quant=True)
    assert lm.get_model_info()["baichuan"]["quantization"] == "4 bits, bitsandbytes"


def test_quantizing_what_is_quantized_is_refused(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gptq(checkpoints / "7B" / "safetensors", tmp_path / "gptq")
    monkeypatch.setattr(quantized, "find_spec", lambda name: object())
    with pytest.raises(QuantizationError, match="quantized already"):
        BaichuanLM(str(tmp_path / "gptq"), device="cpu", torchao="int8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load_in_8bit": True, "torchao": "int4"}, "load_in_8bit and torchao were asked for"),
        ({"torchao": "int3"}, "'int3'; expected int8 or int4"),
        ({"bnb_4bit_quant_type": "nf4"}, "without load_in_8bit=true or load_in_4bit=true"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    checkpoints: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(QuantizationError, match=message):
        BaichuanLM(str(checkpoints / "7B" / ".bin"), device="cpu", **options)


def test_a_quantized_norm_head_is_refused(checkpoints: Path) -> None:
    torchao = pytest.importorskip("torchao.quantization")
    from transformers import TorchAoConfig

    config = TorchAoConfig(torchao.Int8WeightOnlyConfig(), include_input_output_embeddings=True)
    with pytest.raises(QuantizationError, match="loses the normalisation"):
        BaichuanLM(str(checkpoints / "2-7B" / ".bin"), device="cpu", quantization_config=config)
