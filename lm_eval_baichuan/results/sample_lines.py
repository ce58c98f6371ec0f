"""Reads the lines of a file of logged samples, whatever task they are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..model_adapters.errors import ResultsError
from ..model_adapters.outside.files import parse_json


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return each sample of a file, and before it where it stands.

    Raises:
        ResultsError: a line is no JSON, or no sample.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                sample = parse_json(line)
            except ValueError as error:
                cut = " The file ends in the middle of a line: the run was cut off." if not line.endswith(b"\n") else ""
                raise ResultsError(f"{where}: not valid JSON ({error}).{cut} Log the samples anew.") from error
            if not isinstance(sample, dict):
                raise ResultsError(f"{where}: expected one sample, found {type(sample).__name__}.")
            yield where, sample
