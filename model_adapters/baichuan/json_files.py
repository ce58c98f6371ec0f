"""Reads the JSON files of a checkpoint, so that one that is damaged is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..outside.files import parse_json, read_text


def read_object(file: Path) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Args:
        file: Its path.

    Raises:
        CheckpointError: It cannot be read, is no JSON, or holds something else.
    """
    try:
        content = parse_json(read_text(file))
    except (OSError, ValueError) as error:  # undecodable bytes are a ValueError too
        raise CheckpointError(
            f"{file}: not readable as JSON in UTF-8 ({error}). It is damaged or cut off; download it again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{file}: holds a JSON {_NAMES.get(type(content), 'value')}; expected an object in braces. "
            "It is damaged or belongs elsewhere; download it again."
        )
    return content


_NAMES = {list: "list", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
