"""``checksums.json``: what ``data fetch`` wrote, so that a later look sees whether it is still that."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ..model_adapters.errors import DataError
from .sources import SetFile, home, set_files

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
                entry["revision"], dict(entry["files"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.path}: not the checksums that `data fetch` writes ({type(error).__name__}: {error}). Delete "
                "this file; `data fetch` checks the data by its row counts then and writes it anew."
            ) from error

    def recorded(self, file: SetFile) -> str | None:
        """Return the checksum recorded for a file, None where there is none."""
        found: str | None = self.sets.get(file.benchmark, {}).get("files", {}).get(file.path)
        return found

    def outdated(self, benchmark: str) -> str | None:
        """Return the revision recorded for a set where it isn't the one that the tasks read, else None."""
        found = self.sets.get(benchmark, {}).get("revision")
        return found if found not in (None, home(benchmark)[1]) else None

    def record(self, benchmark: str) -> None:
        """Record all files of a set as they are now."""
        repository, revision = home(benchmark)
        files = {file.path: sha256(self.folder / file.path) for file in set_files(benchmark)}
        self.sets[benchmark] = {"repository": repository, "revision": revision, "files": files}
        fresh = self.path.with_name(f".{NAME}.new")
        fresh.write_text(json.dumps(self.sets, indent=1) + "\n", "utf-8")
        os.replace(fresh, self.path)
