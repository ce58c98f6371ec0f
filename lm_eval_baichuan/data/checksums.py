"""``checksums.json``: what ``data fetch`` wrote, so that a later look sees whether it is still that.

By set: ``revision``, when it was ``first_fetched``, the SHA-256 of its ``files``, and the hashes of their ``rows``,
which stay the same where a file only takes another form.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..model_adapters.errors import DataError
from .sources import Content, SetFile, home

NAME = "checksums.json"


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Checksums:
    """The recorded checksums of a data folder, set by set; empty where nothing was recorded."""

    def __init__(self, folder: Path) -> None:
        """Read ``checksums.json`` of a data folder, if it is there.

        Raises:
            DataError: The file is not what ``data fetch`` writes.
        """
        self.folder = folder
        self.path = folder / NAME
        self.sets: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return
        try:
            self.sets = json.loads(self.path.read_text("utf-8"))
            for entry in self.sets.values():
                entry["revision"], dict(entry["files"]), dict(entry.get("rows", {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.path}: not the checksums that `data fetch` writes ({type(error).__name__}: {error}). Delete "
                "this file; `data fetch` checks the data by its row counts then and writes it anew."
            ) from error

    def problem(self, file: SetFile, content: Content) -> str | None:
        """Say how a file differs from what was recorded; None where it doesn't, or where nothing was recorded.

        Args:
            file: The file.
            content: What it holds now.
        """
        entry = self.sets.get(file.benchmark, {})
        rows = entry.get("rows", {}).get(file.path)
        if rows is not None:
            found, expected = content.hash, rows
        else:  # recorded before rows were
            expected = entry.get("files", {}).get(file.path)
            found = expected and sha256(self.folder / file.path)
        if found == expected:
            return None
        return (
            f"{file.path}: checksum differs from what `data fetch` recorded ({found[:12]}… found, "
            f"{expected[:12]}… expected)"
        )

    def check_again(self, file: SetFile, content: Content) -> None:
        """Compare newly fetched rows with those that an earlier fetch from this revision recorded.

        Raises:
            ValueError: They differ.
        """
        expected = self.sets.get(file.benchmark, {}).get("rows", {}).get(file.path)
        if expected not in (None, content.hash) and not self.outdated(file.benchmark):
            raise ValueError(
                f"{file.path}: its rows are not those that an earlier fetch of this revision recorded in {self.path} "
                f"({content.hash[:12]}… found, {expected[:12]}… expected). One of the two came from a mirror that "
                "serves other questions. Fetch into a new folder from the true home to see which."
            )

    def outdated(self, benchmark: str) -> str | None:
        """Return the revision recorded for a set where it isn't the one that the tasks read, else None."""
        found = self.sets.get(benchmark, {}).get("revision")
        return found if found not in (None, home(benchmark)[1]) else None

    def record(self, benchmark: str, contents: Mapping[str, Content]) -> None:
        """Record all files of a set as they are now.

        Args:
            benchmark: The set.
            contents: What its files hold, by path.
        """
        repository, revision = home(benchmark)
        earlier = self.sets.get(benchmark, {})
        since = None if self.outdated(benchmark) else earlier.get("first_fetched")
        entry = {
            "repository": repository,
            "revision": revision,
            "first_fetched": since or datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "files": {path: sha256(self.folder / path) for path in contents},
            "rows": {path: content.hash for path, content in contents.items()},
        }
        if entry == earlier:
            return
        self.sets[benchmark] = entry
        fresh = self.path.with_name(f".{NAME}.new")
        fresh.write_text(json.dumps(self.sets, indent=1) + "\n", "utf-8")
        os.replace(fresh, self.path)
