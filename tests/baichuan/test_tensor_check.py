"""Dtypes that are no numbers to compute with, and names that a wrapper changed, stop by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.baichuan.layouts import CheckedCausalLM
from lm_eval_baichuan.model_adapters.errors import CheckpointError

State = dict[str, torch.Tensor]
Load = Callable[[], object]

LLAMA = LlamaConfig(
    vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=64,
)  # fmt: skip
DTYPES = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn]


@pytest.fixture(params=["baichuan", "llama"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stored(layout: str, checkpoint: Callable[..., Path], tmp_path: Path) -> tuple[Path, State, Load]:
    """A folder, its tensors, and what loads it; `write` puts other tensors into it."""
    if layout == "baichuan":
        folder = checkpoint()
        return folder, torch.load(folder / "pytorch_model.bin"), lambda: BaichuanForCausalLM.from_pretrained(folder)
    torch.manual_seed(3)
    LLAMA.save_pretrained(tmp_path)
    state = LlamaForCausalLM(LLAMA).state_dict()
    return tmp_path, state, lambda: CheckedCausalLM.from_pretrained(str(tmp_path), config=LLAMA)


def write(folder: Path, state: State, form: str = "safetensors") -> None:
    for file in (*folder.glob("*.bin"), *folder.glob("*.safetensors")):
        file.unlink()
    if form == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")


@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_what_is_whole_loads(stored: tuple[Path, State, Load], form: str) -> None:
    folder, state, load = stored
    write(folder, state, form)
    found = load().state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_that_need_an_explanation_stop(stored: tuple[Path, State, Load], dtype: torch.dtype, form: str) -> None:
    folder, state, load = stored
    write(folder, {**state, "lm_head.weight": (state["lm_head.weight"] * 100).to(dtype)}, form)
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(CheckpointError, match=rf"lm_head\.weight: is {name} in .*no quantization_config"):
        load()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda name: f"module.{name}", "'module.'"),
        (lambda name: f"_orig_mod.{name}", "'_orig_mod.'"),
        (lambda name: name.replace("model.", "model._orig_mod.", 1), "'_orig_mod.'"),
        (lambda name: f"base_model.model.{name}", "'base_model.model.'"),
        (lambda name: f"model.{name}", "'model.'"),
        (lambda name: name.replace("model.", "transformer.", 1), "'transformer.' where 'model.' is expected"),
        (lambda name: f"_fsdp_wrapped_module.{name}", "'_fsdp_wrapped_module.'"),
    ],
)
def test_a_wrappers_prefix_is_named(stored: tuple[Path, State, Load], change: Callable[[str], str], named: str) -> None:
    folder, state, load = stored
    write(folder, {change(name): tensor for name, tensor in state.items()})
    with pytest.raises(CheckpointError, match=rf"tensors have {named}"):
        load()


def test_a_head_beside_the_models_own_is_no_wrapper(stored: tuple[Path, State, Load]) -> None:
    folder, state, load = stored
    write(folder, {**state, "critic.lm_head.weight": torch.zeros(1, 32)})
    with pytest.raises(CheckpointError, match=r"1 differences\):\n  critic\.lm_head\.weight: unexpected"):
        load()


def test_tensors_in_a_dictionary_of_a_trainer_are_named(stored: tuple[Path, State, Load]) -> None:
    folder, state, load = stored
    write(folder, {"state_dict": state, "epoch": 3}, "bin")  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match="state_dict is a dictionary, as trainers save them"):
        load()


def test_a_pickle_of_something_else_is_named(stored: tuple[Path, State, Load]) -> None:
    folder, _, load = stored
    write(folder, [torch.zeros(3)], "bin")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: holds a list; expected tensors by name"):
        load()
