"""Fixtures that several tests share: where the real data and the golden checkpoints are, if they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with ``data`` and ``golden``; tests of the real data are skipped where it is missing."""
    named = os.environ.get("LM_EVAL_BAICHUAN_SHARED")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is no folder (LM_EVAL_BAICHUAN_SHARED names another)")
    return folder.resolve()


@pytest.fixture(scope="session")
def data_dir(shared_dir: Path) -> Path:
    """The benchmarks' real questions, one folder a benchmark, and the Baichuan-7B tokenizer."""
    return shared_dir / "data"


@pytest.fixture(scope="session")
def golden_dir(shared_dir: Path) -> Path:
    """Tiny checkpoints, and what the official model code computed from them."""
    return shared_dir / "golden"
