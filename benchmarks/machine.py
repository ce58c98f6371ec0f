"""What a benchmark runs on: the options that say it, and the line that records it."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PACKAGES = ("torch", "transformers", "lm-eval")


def machine(options: argparse.Namespace, what: str) -> str:
    """The device, the numbers' type, the model, the versions and the commit."""
    import torch

    if options.device.startswith("cuda"):
        device = torch.cuda.get_device_name()
    else:
        threads = options.threads or torch.get_num_threads()
        device = f"{processor()}, {threads} threads of {os.cpu_count()} cores"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"{device}; {options.dtype}; {what}; {versions}; {commit()}"


def processor() -> str:
    """The name of the CPU; of a virtual one that hides its name also what it computes with."""
    told: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    known = [name for name in ("avx512f", "amx_tile") if name in told.get("flags", "").split()]
    return f"{told.get('model name', platform.machine())} ({', '.join(known) or 'no AVX-512'})"


def commit() -> str:
    """The commit of this repository, and whether files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=7"],  # noqa: S607
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return f"commit {told}" if told else "no repository"


def data_options(parser: argparse.ArgumentParser) -> None:
    """Adds --data and --tokenizer, which need not be given where LM_EVAL_BAICHUAN_SHARED names a folder with both."""
    shared = os.environ.get("LM_EVAL_BAICHUAN_SHARED")
    data = Path(shared) / "data" if shared else None
    tokenizer = data / "tokenizer" / "baichuan-7b.tokenizer.model" if data else None
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument("--tokenizer", type=Path, default=tokenizer, required=data is None)


def device_options(parser: argparse.ArgumentParser) -> None:
    """Adds --device, --dtype and --threads."""
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to PyTorch")


def pair_options(parser: argparse.ArgumentParser) -> None:
    """Adds what hf and hf-trie side by side on a model of random weights take."""
    data_options(parser)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768, help="a multiple of 64")
    device_options(parser)
    parser.add_argument("--repeat", type=int, default=3, help="runs of both in turn")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON as well")
