"""Reads the tensors of weight files by name, mapped into memory: what is not asked for is not read."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open


def tensor_readers(files: Iterable[str | Path]) -> dict[str, Callable[[], torch.Tensor]]:
    """What reads each tensor of some weight files.

    Files in the oldest format of pickles cannot be mapped, and are held whole.

    Args:
        files: Weight files of either form, whatever their endings.
    """
    readers: dict[str, Callable[[], torch.Tensor]] = {}
    for file in map(Path, files):
        if _is_safetensors(file):
            tensors = safe_open(file, framework="pt")
            readers |= {name: partial(tensors.get_tensor, name) for name in tensors.keys()}  # noqa: SIM118
        else:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
            readers |= {name: partial(_given, tensor) for name, tensor in state.items()}
    return readers


def _given(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _is_safetensors(file: Path) -> bool:
    """By content, since files in the hub's cache have no endings: a safetensors header is JSON after its length."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"
