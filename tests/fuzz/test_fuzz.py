"""Damaged files end in a clear error, in unchanged numbers, or in what the file really asks for.

``FUZZ_CASES`` says how many cases a kind has here; ``python -m tests.fuzz`` runs more and counts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import run_cases
from kinds import checkpoints, data_files, reports, results

CASES = {"checkpoints": 24, "results": 60, "data files": 24, "reports": 8}
MORE = 10
KINDS = {"results": results, "data files": data_files, "reports": reports}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("more", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_damaged_files(name: str, more: bool, tmp_path: Path, small_tokenizer: Path) -> None:
    kind = checkpoints(tmp_path, small_tokenizer) if name == "checkpoints" else KINDS[name](tmp_path)
    cases = int(os.environ.get("FUZZ_CASES", CASES[name])) * (MORE if more else 1)
    first = 1000 if more else 0
    ended, wrong = run_cases(kind, range(first, first + cases))
    assert wrong == [], f"{ended}; again by: python -m tests.fuzz '{name}' --cases 1 --seed {wrong[0].seed}"
    assert sum(ended.values()) == cases
