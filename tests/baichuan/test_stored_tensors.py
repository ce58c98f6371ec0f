"""Reading tensors leaves no second copy of a checkpoint in memory, and gives pages back only where that is safe."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM, stored_tensors
from lm_eval_baichuan.model_adapters.baichuan.stored_tensors import StoredTensors, release_pages

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc/self is Linux's")
MB = 2**20

CHILD = """
import sys, torch
from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM

def resident(field):
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field + ":"))

torch.set_num_threads(1)
BaichuanForCausalLM.from_pretrained(sys.argv[2], dtype=torch.bfloat16)  # what libraries load at first use
before = resident("VmRSS")
assert resident("VmHWM") < before + 30 * 2**20  # nothing before was larger
model = BaichuanForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
print(resident("VmHWM") - before - sum(tensor.nbytes for tensor in model.state_dict().values()))
"""


def write_sharded(folder: Path, form: str, layers: int, hidden: int) -> int:
    """Writes a float32 checkpoint in one shard a block and returns the size of the largest."""
    config = BaichuanConfig(
        vocab_size=500,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        norm_head=False,
    )
    torch.manual_seed(0)
    state = BaichuanForCausalLM(config).state_dict()
    folder.mkdir()
    config.save_pretrained(folder)
    suffix = "safetensors" if form == "safetensors" else "bin"
    stem = "model" if form == "safetensors" else "pytorch_model"
    weight_map = {}
    for number in range(layers + 1):
        names = [
            name for name in state if (f"layers.{number}." in name or ("layers." not in name and number == layers))
        ]
        part = {name: state[name].clone() for name in names}
        file = folder / f"{stem}-{number}.{suffix}"
        if form == "safetensors":
            save_file(part, file, metadata={"format": "pt"})
        else:
            torch.save(part, file, _use_new_zipfile_serialization=form == "bin")
        weight_map.update(dict.fromkeys(names, file.name))
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return max(file.stat().st_size for file in folder.glob(f"*.{suffix}"))


@linux
@pytest.mark.parametrize("form", ["bin", "safetensors", "old pickle"])
def test_host_memory_while_loading_is_one_shard_over_the_model(tmp_path: Path, form: str) -> None:
    largest = write_sharded(tmp_path / "large", form, layers=12, hidden=768)  # 12 shards of 24 MB
    write_sharded(tmp_path / "small", form, layers=1, hidden=64)
    command = [sys.executable, "-c", CHILD, str(tmp_path / "large"), str(tmp_path / "small")]
    # So that the C library returns what is freed at once, whatever its size.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    beyond = int(found.stdout.splitlines()[-1])
    total = sum(file.stat().st_size for file in (tmp_path / "large").glob("*-[0-9]*"))
    assert total > 11 * largest  # so that a second copy could not hide in the allowance
    held = 3 if form == "old pickle" else 1  # those are read in full, one while the next begins
    assert beyond < held * largest + 24 * MB, f"{beyond / MB:.0f} MB"


@pytest.mark.parametrize("form", ["bin", "safetensors", "old pickle"])
def test_what_was_read_stays_valid_when_its_pages_are_given_back(tmp_path: Path, form: str) -> None:
    state = {f"t{i}": torch.randn(300, 257) for i in range(5)}
    # Named as the hub's cache names files: no ending, and behind a link.
    blob = tmp_path / "0a1b2c"
    if form == "safetensors":
        save_file(state, blob)
    else:
        torch.save(state, blob, _use_new_zipfile_serialization=form == "bin")
    (tmp_path / "linked").symlink_to(blob)
    stored = StoredTensors([tmp_path / "linked"])
    assert {name: tensor.get_shape() for name, tensor in stored.by_name.items()} == dict.fromkeys(state, [300, 257])
    assert {tensor.get_dtype() for tensor in stored.by_name.values()} == {"F32"}
    read = {name: tensor[...] for name, tensor in stored.by_name.items()}
    part = stored.by_name["t3"][10:20, :5]
    stored.close()
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert torch.equal(part, state["t3"][10:20, :5])


@linux
def test_memory_that_is_no_mapped_file_keeps_its_contents(tmp_path: Path) -> None:
    tensor = torch.randn(1000, 1000)
    expected = tensor.clone()
    release_pages(tensor, {str(tmp_path)})
    assert torch.equal(tensor, expected)


@linux
def test_a_mapped_file_of_another_name_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"x": torch.randn(500, 500)}, tmp_path / "x.bin")
    tensor = torch.load(tmp_path / "x.bin", mmap=True, weights_only=True)["x"]
    given_back: list[int] = []

    class Library:
        @staticmethod
        def madvise(start: object, length: object, advice: int) -> None:
            given_back.append(advice)

    monkeypatch.setattr(stored_tensors.ctypes, "CDLL", lambda *args, **kwargs: Library)
    release_pages(tensor, {"/somewhere/else.bin"})
    assert given_back == []
    release_pages(tensor, {str((tmp_path / "x.bin").resolve())})
    assert given_back == [mmap.MADV_DONTNEED]
