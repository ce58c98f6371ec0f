"""One rule says which files are weights: leftovers of trainers, adapters and other forms beside them change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.baichuan.checkpoint import hub_arguments, local_checkpoint
from lm_eval_baichuan.model_adapters.baichuan.quantized import read_quantization
from lm_eval_baichuan.model_adapters.baichuan.weight_files import WEIGHT_FILES, find_weights, weight_files
from lm_eval_baichuan.model_adapters.errors import CheckpointError

Write = Callable[..., Path]

LEFTOVERS = (
    "training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.bin",
    "adapter_model.safetensors", "consolidated.safetensors", "consolidated.00.pth", "pytorch_model_fsdp.bin",
    "random_states_0.pkl", "optimizer.safetensors", "pytorch_model-00001-of-00009.bin",
)  # fmt: skip


def litter(folder: Path) -> None:
    for name in LEFTOVERS:
        (folder / name).write_bytes(b"nothing that can be read as tensors")


def test_leftovers_beside_the_weights_are_none(checkpoint: Write) -> None:
    folder = checkpoint()
    litter(folder)
    assert weight_files(folder) == [folder / "pytorch_model.bin"]
    assert BaichuanForCausalLM.from_pretrained(folder).dtype == torch.float32


def test_leftovers_alone_are_no_weights(tmp_path: Path) -> None:
    litter(tmp_path)
    assert find_weights(tmp_path) == []


def test_a_four_bit_folder_with_leftovers_is_not_refused(checkpoint: Write) -> None:
    folder = checkpoint()
    litter(folder)
    config = BaichuanForCausalLM(BaichuanForCausalLM.from_pretrained(folder).config).config
    config.quantization_config = {"load_in_4bit": True, "quant_method": "bitsandbytes"}
    assert read_quantization(folder, config)


# peft asks transformers in a way that transformers calls outdated.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_beside_the_weights_is_left_out_and_said(
    checkpoint: Write, caplog: pytest.LogCaptureFixture
) -> None:
    peft = pytest.importorskip("peft")
    folder = checkpoint()
    bare = BaichuanForCausalLM.from_pretrained(folder)
    wrapped = peft.get_peft_model(
        BaichuanForCausalLM.from_pretrained(folder), peft.LoraConfig(r=2, target_modules=["o_proj"])
    )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    wrapped.save_pretrained(folder)
    loaded = BaichuanForCausalLM.from_pretrained(folder)
    assert loaded.state_dict().keys() == bare.state_dict().keys()
    assert "the adapter there is left out" in caplog.text


def test_an_index_may_name_its_shards_as_it_likes(checkpoint: Write) -> None:
    folder = checkpoint()
    state = torch.load(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").unlink()
    save_file(state, folder / "weights.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, "weights.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    litter(folder)
    assert weight_files(folder) == [folder / "weights.safetensors"]
    BaichuanForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("shard", [None, 3, "", ["a"], "../other/model.safetensors", "/etc/passwd"])
def test_an_index_that_names_no_file_of_the_folder_is_refused(tmp_path: Path, shard: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    with pytest.raises(CheckpointError, match=r"index\.json: .*lm_head.weight"):
        weight_files(tmp_path)


def test_two_files_that_might_be_the_gptq_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "quantize_config.json").write_text('{"bits": 4}')
    (tmp_path / "gptq_model-4bit-128g.safetensors").touch()
    assert [file.name for file in weight_files(tmp_path)] == ["gptq_model-4bit-128g.safetensors"]
    (tmp_path / "gptq_model-4bit-32g.safetensors").touch()
    with pytest.raises(CheckpointError, match="gptq_model-4bit-128g.*gptq_model-4bit-32g"):
        weight_files(tmp_path)


def test_files_are_fetched_in_the_order_in_which_they_are_looked_for(tmp_path: Path) -> None:
    there = {
        "pytorch_model.bin.index.json": json.dumps({"metadata": {}, "weight_map": {"a": "one.bin", "b": "two.bin"}}),
        "one.bin": "", "two.bin": "", "training_args.bin": "", "adapter_model.safetensors": "",
    }  # fmt: skip

    def fetch(names: list[str]) -> None:
        for name in names:
            if name in there:
                (tmp_path / name).write_text(there[name])

    assert [file.name for file in find_weights(tmp_path, fetch)] == ["one.bin", "two.bin"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.bin", "pytorch_model.bin.index.json", "two.bin"]


@pytest.mark.parametrize("weights", [True, False])
def test_all_that_is_downloaded_is_of_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: bool
) -> None:
    folder, asked = tmp_path / ("c0ffee" * 7), []
    folder.mkdir()
    (folder / "config.json").write_text("{}")

    def download(repository: str, *, allow_patterns: list[str], revision: str) -> str:
        asked.append((revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    local_checkpoint("someone/model", revision="main", weights=weights)
    settings, *others = asked
    assert settings[0] == "main" and "tokenizer.model" in settings[1]
    assert others == ([(folder.name, [name]) for name in WEIGHT_FILES] if weights else [])


def test_what_is_no_argument_of_the_hub_is_left(tmp_path: Path) -> None:
    assert hub_arguments({"revision": "main", "dtype": "auto", "token": None}) == {"revision": "main"}
