"""Reads the tensors of a checkpoint one by one, and keeps no second copy of it in memory while it does.

Transformers maps weight files into memory and copies each tensor from there to the device. Pages once read stay with
the process, so that at the end the whole file counts on top of the model; and files in the oldest format, which cannot
be mapped, are read in full, all shards at once. Here pages go back to the system as soon as their tensor was copied,
and of files that cannot be mapped one is held at a time (two or three, for a moment, while one follows another).
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any
from weakref import finalize

import torch
from safetensors import safe_open

from .weight_files import DTYPE_CODES

# Tensors after which the pages of one are given back once more: a quantizer reads what it was lent a little later.
_TRAIL = 16


class StoredTensor:
    """A tensor that is read when it is indexed: what transformers takes in place of a safetensors slice."""

    def __init__(self, read: Callable[[], Any], lend: Callable[[torch.Tensor], None], shape: list[int], dtype: str):
        """Remembers how to read a tensor; `dtype` is a safetensors code such as ``BF16``."""
        self._read, self._lend, self._shape, self._dtype = read, lend, shape, dtype

    def get_shape(self) -> list[int]:
        """The shape, known without reading."""
        return self._shape

    def get_dtype(self) -> str:
        """The dtype as safetensors writes it, known without reading."""
        return self._dtype

    def __getitem__(self, index: Any) -> torch.Tensor:
        """Reads the tensor or a part of it; an index as for a tensor."""
        tensor: torch.Tensor = self._read()[index]
        self._lend(tensor)
        return tensor


class StoredTensors:
    """All tensors of a checkpoint's weight files, by name, for `PreTrainedModel.from_pretrained` to load."""

    def __init__(self, files: Iterable[str | Path]) -> None:
        """Maps the files; nothing is read yet but names and shapes (and, once each, files that cannot be mapped)."""
        self.by_name: dict[str, StoredTensor] = {}
        self._lent: deque[torch.Tensor] = deque()
        self._finalizers: list[finalize[Any, Any]] = []
        self._lock = RLock()
        self._held: tuple[Path, dict[str, torch.Tensor]] | None = None
        paths = [Path(file).resolve() for file in files]  # what the system calls them, behind the hub cache's links
        self._files = {str(path) for path in paths}
        for file in paths:
            if _is_safetensors(file):
                self._add_safetensors(file)
            else:
                self._add_pickle(file)

    def _add_safetensors(self, file: Path) -> None:
        tensors = safe_open(file, framework="pt")
        for name in tensors.keys():  # noqa: SIM118
            part = tensors.get_slice(name)
            self.by_name[name] = StoredTensor(lambda part=part: part, self._lend, part.get_shape(), part.get_dtype())

    def _add_pickle(self, file: Path) -> None:
        mapped = zipfile.is_zipfile(file)
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True) if mapped else self._hold(file)
        for name, tensor in state.items():
            read = (lambda tensor=tensor: tensor) if mapped else partial(self._read_held, file, name)
            self.by_name[name] = StoredTensor(
                read, self._lend, list(tensor.shape), DTYPE_CODES.get(tensor.dtype, str(tensor.dtype))
            )

    def _hold(self, file: Path) -> dict[str, torch.Tensor]:
        """The tensors of a file that cannot be mapped; the one held before is let go first."""
        with self._lock:
            if self._held is None or self._held[0] != file:
                self._held = None
                self._held = file, torch.load(file, map_location="cpu", weights_only=True)
            return self._held[1]

    def _read_held(self, file: Path, name: str) -> torch.Tensor:
        return self._hold(file)[name]

    def _lend(self, tensor: torch.Tensor) -> None:
        """Sees to it that the tensor's pages are given back when whoever asked for it has copied it and lets it go."""
        same_memory = tensor.detach()  # keeps the mapping alive meanwhile
        with self._lock:
            self._finalizers.append(finalize(tensor, release_pages, same_memory, self._files))
            self._lent.append(same_memory)
            if len(self._lent) > _TRAIL:
                release_pages(self._lent.popleft(), self._files)

    def close(self) -> None:
        """Gives back what is still in memory; tensors handed out stay valid, and are left alone from here on."""
        with self._lock:
            for finalizer in self._finalizers:
                finalizer.detach()
            for tensor in self._lent:
                release_pages(tensor, self._files)
            self._finalizers.clear()
            self._lent.clear()
            self._held = None
            self.by_name.clear()


def _is_safetensors(file: Path) -> bool:
    """By content, since files in the hub's cache have no endings: a safetensors header is JSON after its length."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"


def release_pages(tensor: torch.Tensor, files: Collection[str]) -> None:
    """Gives the memory pages of an unchanged tensor in a mapped file back to the system; it stays valid.

    Does nothing for a tensor that lies elsewhere, and nothing but on Linux, where this can be known.

    Args:
        tensor: Any tensor.
        files: Real paths of the mapped files.
    """
    if sys.platform != "linux" or tensor.device.type != "cpu" or not tensor.is_contiguous():
        return
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    stop = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if start < stop and _mapped_file(start, stop) in files:
        ctypes.CDLL(None, use_errno=True).madvise(
            ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED
        )


def _mapped_file(start: int, stop: int) -> str | None:
    """The file that is mapped at these addresses. Pages of other memory must stay: they are nowhere else."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            first, last = (int(address, 16) for address in line.partition(" ")[0].split("-"))
            if first <= start < last:
                path = line.rstrip("\n").split(maxsplit=5)[5:]
                return path[0] if path and stop <= last else None
    return None
