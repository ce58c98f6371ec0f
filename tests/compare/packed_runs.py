"""What lm-eval wrote in real runs, packed beside these tests."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpacked(name: str, into: Path) -> Path:
    """Unpack one of the archives into a folder, and return the folder."""
    with tarfile.open(Path(__file__).parent / f"{name}.tar.xz") as packed:
        packed.extractall(into, filter="data")
    return into
