"""Reads files that others made: a pipe in a file's place never ends, and a key that stands twice says two things."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any

LARGEST = 2**28
"""In bytes. No configuration, tokenizer, template or results file comes near; to read more would fill the memory."""


def check_regular(file: Path, largest: int | None = LARGEST) -> None:
    """Refuses what would block or never end when it is read.

    Args:
        file: Its path.
        largest: The most bytes that it may have; None for any number.

    Raises:
        OSError: It is not there, is a pipe, a device or a folder, or is too large.
    """
    found = file.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, where a file is expected")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a pipe, socket or device, where a regular file is expected")
    if largest is not None and found.st_size > largest:
        raise OSError(errno.EFBIG, f"{found.st_size} bytes, where at most {largest} are read")


def read_text(file: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Reads a regular file of a bounded size as text.

    Raises:
        OSError: It is none, or cannot be read.
        UnicodeDecodeError: It is no text in this encoding.
    """
    check_regular(file)
    return file.read_text(encoding=encoding, errors=errors)


def parse_json(text: str | bytes) -> Any:
    """Parses JSON in which no object says two things under one key.

    Raises:
        ValueError: It is no JSON (`json.JSONDecodeError`), is nested too deep, has a number of too many digits, or an
            object has a key twice with different values.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and (found[key] != value or type(found[key]) is not type(value)):
            raise ValueError(f"the key {key[:80]!r} stands twice in one object, with different values")
        found[key] = value
    return found
