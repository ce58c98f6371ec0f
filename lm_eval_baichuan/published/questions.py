"""``questions.json``: fingerprints of the published questions, as a full run of each task records them.

Sets whose true files were not at hand have none there. ``scripts/record_hashes.py`` writes the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("questions.json")


@functools.cache
def published_questions() -> Mapping[str, Mapping[str, Any]]:
    """Return, by task, how many questions it ``asked`` and hashes of their ``numbers``, of them and their ``shots``."""
    tasks: dict[str, dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
    return tasks
