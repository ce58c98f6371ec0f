"""Tensors are read by name from every form of weight file, and loading keeps no second copy of them in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.baichuan.stored_tensors import tensor_readers

MB = 2**20

# Pages of a mapped file can be taken back at any time; what counts is anonymous memory, which cannot.
CHILD = """
import sys, threading, time, torch
from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM

def anonymous():
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon:"))

def watch():
    while not done:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)

torch.set_num_threads(1)
BaichuanForCausalLM.from_pretrained(sys.argv[2], dtype=torch.bfloat16)  # what libraries load at first use
before, peak, done = anonymous(), [0], False
watcher = threading.Thread(target=watch)
watcher.start()
model = BaichuanForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
done = True
watcher.join()
size = sum(tensor.nbytes for tensor in model.state_dict().values())
print(max(peak[0], anonymous()) - before, size)
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self is Linux's")
@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_memory_while_loading_is_that_of_the_model(tmp_path: Path, form: str) -> None:
    largest = write_sharded(tmp_path / "large", form, layers=12, hidden=768)  # 12 shards of 24 MB
    write_sharded(tmp_path / "small", form, layers=1, hidden=64)
    command = [sys.executable, "-c", CHILD, str(tmp_path / "large"), str(tmp_path / "small")]
    # So that the C library returns what is freed at once, whatever its size.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    peak, model = map(int, found.stdout.splitlines()[-1].split())
    assert model > 5 * largest  # so that a second copy could not hide in the allowance
    assert 0.9 * model < peak < model + largest + 24 * MB, f"{(peak - model) / MB:.0f} MB beyond the model"


@pytest.mark.parametrize("form", ["bin", "safetensors", "old pickle"])
def test_every_form_of_file_is_read_by_content(tmp_path: Path, form: str) -> None:
    state = {f"t{i}": torch.randn(300, 257) for i in range(5)}
    # Named as the hub's cache names files: no ending, and behind a link.
    blob = tmp_path / "0a1b2c"
    if form == "safetensors":
        save_file(state, blob)
    else:
        torch.save(state, blob, _use_new_zipfile_serialization=form == "bin")
    (tmp_path / "linked").symlink_to(blob)
    readers = tensor_readers([tmp_path / "linked"])
    assert readers.keys() == state.keys()
    assert all(torch.equal(read(), state[name]) for name, read in readers.items())
