"""``known_hashes.json``: what the published files hold, as the tasks read it.

A hash is over a file's rows and not its bytes: the hub has some sets in another form than their official archives.
Files without a hash there have theirs recorded by the first ``data fetch``, in the data folder's ``checksums.json``;
what an earlier fetch recorded, a later one must bring again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("known_hashes.json")


def rows_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of rows, without what says where they were found."""
    digest = hashlib.sha256()
    for row in rows:
        cells = {key: cell for key, cell in row.items() if key != "source"}
        digest.update(json.dumps(cells, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


@functools.cache
def known_hashes() -> Mapping[str, Mapping[str, Any]]:
    """Return, by set, the ``revision`` the hashes are of, and the hashes of its ``files`` by path."""
    sets: dict[str, dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
    return sets


def check_known(benchmark: str, path: str, found: str) -> None:
    """Compare the hash of a file's rows with that of the published ones, where this is known.

    Raises:
        ValueError: They differ.
    """
    known = known_hashes().get(benchmark, {}).get("files", {}).get(path)
    if known not in (None, found):
        raise ValueError(
            f"{path}: its rows are not the published ones ({found[:12]}… found, {known[:12]}… expected). Get the file "
            "anew, from another mirror if one is in use."
        )
