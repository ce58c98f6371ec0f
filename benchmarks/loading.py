"""Host memory and time while a checkpoint of several GB is loaded.

    python benchmarks/loading.py [--gigabytes 4] [--shard-gigabytes 1] [--keep FOLDER] [--json FILE]

Writes random float32 weights on the spot, in each form that checkpoints come in, and loads each in a fresh process,
once as it is and once into bfloat16. What counts is the peak of that process's anonymous memory (pages of mapped files
can be taken back at any time) over what the interpreter and its libraries took before, less the model itself where it
lies there afterwards. Allowed are the largest shard and 1 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GB = 1e9
FORMS = ("bin", "sharded bin", "safetensors", "sharded safetensors")


def write_checkpoint(folder: Path, form: str, size: float, shard_size: float) -> None:
    """Writes a RoPE checkpoint of about `size` bytes, with one shard in memory at a time."""
    import torch
    from safetensors.torch import save_file

    from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

    widths: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 5504, "num_attention_heads": 16}
    per_layer = 4 * (4 * widths["hidden_size"] ** 2 + 3 * widths["hidden_size"] * widths["intermediate_size"])
    ends = 2 * 4 * 64000 * widths["hidden_size"]
    layers = max(1, round((size - ends) / per_layer))
    config = BaichuanConfig(num_hidden_layers=layers, max_position_embeddings=4096, norm_head=False, **widths)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in BaichuanForCausalLM(config).state_dict().items()}
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        if form.startswith("sharded") and shards[-1] and filled + 4 * shape.numel() > shard_size:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += 4 * shape.numel()
    suffix = form.split()[-1]
    stem = "pytorch_model" if suffix == "bin" else "model"
    weight_map = {}
    generator = torch.Generator().manual_seed(0)
    for number, names in enumerate(shards, 1):
        part = f"-{number:05d}-of-{len(shards):05d}" if form.startswith("sharded") else ""
        file = folder / f"{stem}{part}.{suffix}"
        state = {name: torch.rand(shapes[name], generator=generator).sub_(0.5).mul_(0.02) for name in names}
        torch.save(state, file) if suffix == "bin" else save_file(state, file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(names, file.name))
    if form.startswith("sharded"):
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def anonymous() -> int:
    """Bytes of this process's resident memory, without pages of mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no RssAnon; this benchmark needs Linux.")


@contextmanager
def peak_watched() -> Iterator[list[int]]:
    """The largest `anonymous()` inside the block, in a list of one number."""
    peak, done = [anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
        peak[0] = max(peak[0], anonymous())


def measure(folder: str, dtype: str) -> dict[str, float]:
    """Loads a checkpoint in this process and returns bytes and seconds."""
    import torch

    from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM

    torch.set_num_threads(1)
    before, start = anonymous(), time.perf_counter()
    with peak_watched() as watched:
        model = BaichuanForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), device_map={"": "cpu"})
    seconds = time.perf_counter() - start
    after, [peak] = anonymous(), watched  # mapped weights that no copy was needed for lie in the file
    model_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    files = [file.stat().st_size for pattern in ("*.bin", "*.safetensors") for file in Path(folder).glob(pattern)]
    return {
        "checkpoint": sum(files),
        "largest_shard": max(files),
        "model": model_bytes,
        "peak_over_interpreter": peak - before,
        "model_in_memory": min(model_bytes, after - before),
        "beyond_model": peak - before - min(model_bytes, after - before),
        "seconds": seconds,
    }


def measure_apart(folder: Path, dtype: str) -> dict[str, float]:
    """Runs `measure` in a fresh process."""
    command = [sys.executable, __file__, "--measure", str(folder), dtype]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4, help="size of the checkpoint")
    parser.add_argument("--shard-gigabytes", type=float, default=1, help="largest shard, where there are several")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--keep", type=Path, help="folder for the checkpoints; otherwise they are removed one by one")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return 0
    rows, over = [], 0
    print("| form | largest shard, GB | into | model, GB | peak over the interpreter, GB | beyond the model, GB | s |")
    print("|---|---|---|---|---|---|---|")
    for form in args.forms:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (args.keep or Path(scratch)) / form.replace(" ", "-")
            if not folder.is_dir():
                write_checkpoint(folder, form, args.gigabytes * GB, args.shard_gigabytes * GB)
            for dtype in ("float32", "bfloat16"):
                row = measure_apart(folder, dtype)
                over += row["beyond_model"] > row["largest_shard"] + GB
                rows.append({"form": form, "dtype": dtype, **row})
                print(
                    f"| {form} | {row['largest_shard'] / GB:.2f} | {dtype} | {row['model'] / GB:.2f} "
                    f"| {row['peak_over_interpreter'] / GB:.2f} | {row['beyond_model'] / GB:.2f} "
                    f"| {row['seconds']:.1f} |",
                    flush=True,
                )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    print(f"{len(rows) - over} of {len(rows)} within the largest shard and 1 GB")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
