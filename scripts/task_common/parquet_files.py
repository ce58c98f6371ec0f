"""Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Return a parquet file's rows; a number becomes its text, an empty cell the empty text, a list stays."""
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: not a parquet file ({error}). Delete it, so that it is downloaded anew."
        ) from error
    return [
        {
            key: cell if isinstance(cell, list) else "" if cell is None else str(cell)
            for key, cell in row.items()
        }
        for row in rows
    ]
