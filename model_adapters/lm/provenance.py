"""Where a result comes from: this package's version and commit, the libraries at work, and the true device."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from ..baichuan.quantized import describe_quantization

DISTRIBUTION = "lm-eval-baichuan"
LIBRARIES = ("torch", "transformers", "lm-eval", "accelerate", "datasets", "tokenizers", "sentencepiece")
OF_QUANTIZATION = ("torchao", "bitsandbytes", "gptqmodel")
COMMIT_FILE = "commit.txt"
"""What a built package holds its commit in; hatch_build.py writes it."""

_ROOT = Path(__file__).resolve().parents[2]  # the installed package, or a checkout


def provenance(lm: Any) -> dict[str, Any]:
    """The facts of one run, in a form that JSON takes; what isn't known is null.

    Args:
        lm: A loaded `HFLM`.
    """
    quantization = describe_quantization(getattr(lm.model, "config", lm.config)) or ""
    used = [name for name in OF_QUANTIZATION if name in quantization]
    if getattr(lm.model, "peft_config", None):
        used.append("peft")
    return {**package_facts(*used), "device": device_names(lm)}


def package_facts(*further: str) -> dict[str, Any]:
    """This package's version and commit, and the versions of the libraries at work.

    Args:
        further: Names of distributions that were used beside the usual ones.
    """
    return {
        "version": _version(DISTRIBUTION),
        "commit": commit(_ROOT),
        "libraries": {name: _version(name) for name in (*LIBRARIES, *further)},
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(root: Path) -> str | None:
    """The commit that a package was built from or a checkout is at, with ``-dirty`` behind it if files were changed.

    Args:
        root: The installed package's folder, or the checkout's.
    """
    recorded = root / COMMIT_FILE
    if recorded.is_file():
        return recorded.read_text("utf-8").strip()
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    describe = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(describe, capture_output=True, text=True, check=False)  # noqa: S603  # nothing of a user's
    return done.stdout.strip() or None


def device_names(lm: Any) -> str:
    """The devices that a model's weights are on, and what hardware they are: ``cpu``, ``cuda:0 (NVIDIA H100)``."""
    devices = {parameter.device for parameter in lm.model.parameters()} or {lm.device}
    return ", ".join(sorted(map(_device_name, devices)))


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
