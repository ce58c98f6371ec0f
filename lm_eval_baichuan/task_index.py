"""Keeps on disk what lm-eval reads from its own folders of tasks, so that a command doesn't wait for it each time.

lm-eval reads all of its YAML files, 14 000 of them, whenever it starts, to know which name stands in which file. What
it reads is kept here as JSON, and taken from there as long as no file of the folder has changed by name, time or size.
lm-eval still builds its index from that itself, so nothing else differs; loading a task reads its file anew anyhow.
Folders of ``--include_path`` are always read. The table of ``lm_eval ls`` is kept likewise.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SWITCH_OFF = "LM_EVAL_BAICHUAN_NO_TASK_INDEX"
"""Set to 1, this environment variable has lm-eval read all files each time, and keeps nothing."""

SETTLED = 2.0
"""Seconds. A folder with a younger change is not kept: another may follow that neither time nor size would show."""

KEPT = 90 * 24 * 3600.0
"""Seconds. What was written longer ago goes when something is written: its environment may have been removed."""

_log = logging.getLogger(__name__)


def remember_files(index: Any, roots: Iterable[Path], versions: Mapping[str, str]) -> None:
    """Let `TaskIndex.build` take the files of some folders from disk where they haven't changed.

    Args:
        index: lm-eval's module of `TaskIndex`, which reads a file by its `load_yaml`.
        roots: the folders; all others are read as ever.
        versions: what else the content depends on: the versions of the packages that read it.
    """
    build = index.TaskIndex.build
    kept = {Path(root).resolve() for root in roots}

    @functools.wraps(build)
    def build_from_kept(paths: Iterable[Path], **options: Any) -> Any:
        paths, load = list(paths), index.load_yaml
        stores = {
            Path(path): FolderOnDisk(Path(path), {**versions, "options": repr(sorted(options.items()))})
            for path in paths
            if Path(path).resolve() in kept
        }
        index.load_yaml = functools.partial(_load, load, stores)
        try:
            built = IndexOfFolders(build(paths, **options))
        finally:
            index.load_yaml = load
        for store in stores.values():
            store.write()
        if all(Path(path) in stores for path in paths):
            built.folders = list(stores.values())
        return built

    build_from_kept.kept_folders = kept  # type: ignore[attr-defined]
    index.TaskIndex.build = staticmethod(build_from_kept)


class IndexOfFolders(dict[str, Any]):
    """lm-eval's index of tasks.

    Attributes:
        folders: where it is from, if all of that is kept.
    """

    folders: Sequence[FolderOnDisk] | None = None


def remember_listing(manager: Any, versions: Mapping[str, str]) -> None:
    """Let `TaskManager.list_all_tasks` take its table from disk where no file that it is made of has changed.

    Args:
        manager: lm-eval's class `TaskManager`.
        versions: what else the table depends on: the versions of the packages that write it.
    """
    own = manager.list_all_tasks

    @functools.wraps(own)
    def list_all_tasks(self: Any, *arguments: Any, **options: Any) -> str:
        folders = getattr(self.task_index, "folders", None)
        if folders is None:
            return str(own(self, *arguments, **options))
        asked = repr((arguments, sorted(options.items())))
        header = {"folders": [folder.header() for folder in folders], "asked": asked, **versions}
        place = _place([asked, *(str(folder.root) for folder in folders)])
        table = _read(place, header)
        if not isinstance(table, str):
            table = str(own(self, *arguments, **options))
            if all(folder.is_settled() for folder in folders):
                _write(place, header, table)
        return table

    manager.list_all_tasks = list_all_tasks


def _load(load: Any, stores: Mapping[Path, FolderOnDisk], path: Path, **options: Any) -> Any:
    """Return a file's content from the store of the folder that it lies in, or have lm-eval read it."""
    for root, store in stores.items():
        if path.is_relative_to(root):
            name = path.relative_to(root).as_posix()
            if name not in store.files:
                store.files[name] = load(path, **options)  # what fails is not kept, and fails again next time
                store.grew = True
            return store.files[name]
    return load(path, **options)


class FolderOnDisk:
    """The contents of one folder's YAML files, as kept from an earlier run if they still hold.

    Attributes:
        files: what lm-eval read, by the file's name within the folder.
        grew: whether something was added that is not on disk.
    """

    def __init__(self, root: Path, versions: Mapping[str, str]) -> None:
        """Read what is kept of a folder; nothing if it is not there, damaged, or of another state of the folder."""
        self.root, self.versions, self.grew = root, dict(versions), False
        self.listing, self.newest = list_folder(root)
        self.place = _place([str(root)])
        self.files: dict[str, dict[str, Any]] = self._read()

    def header(self) -> dict[str, Any]:
        """Return what the kept contents hold for: the folder's state and the versions."""
        return {"folder": str(self.root), "listing": self.listing, **self.versions}

    def is_settled(self) -> bool:
        """Whether the folder is as it was, and that was not made a moment ago."""
        return time.time() - self.newest >= SETTLED and list_folder(self.root)[0] == self.listing

    def _read(self) -> dict[str, dict[str, Any]]:
        files = _read(self.place, self.header())
        if isinstance(files, dict) and all(isinstance(content, dict) for content in files.values()):
            return files
        return {}

    def write(self) -> None:
        """Keep what was read, unless it is all there, or the folder changed meanwhile or a moment ago."""
        if self.grew and self.is_settled():
            files = {name: content for name, content in self.files.items() if _same_in_json(content)}
            _write(self.place, self.header(), files)


def _place(what: Sequence[str]) -> Path:
    return cache_folder() / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}.json"


def _read(place: Path, header: Mapping[str, Any]) -> Any | None:
    """Return what a file holds for just this header; None if it is not there, damaged, or of another."""
    try:
        kept = json.loads(place.read_bytes())
        return kept["content"] if kept["header"] == header else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as problem:
        _log.debug("%s is not taken: %s", place, problem)
        return None


def _write(place: Path, header: Mapping[str, Any], content: Any) -> None:
    temporary = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=place.stem, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"header": header, "content": content}, file)
        Path(temporary).replace(place)  # at once: another command sees the old content or the new
        _remove_old(place.parent)
    except OSError as problem:
        _log.debug("%s is not kept: %s", place, problem)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _remove_old(folder: Path) -> None:
    """Remove what was written long ago, finished or, by a killed command, not."""
    for file in folder.glob("*"):
        try:
            if file.suffix in (".json", ".part") and time.time() - file.stat().st_mtime > KEPT:
                file.unlink()
        except FileNotFoundError:
            pass  # another command removed it


def list_folder(root: Path) -> tuple[str, float]:
    """Return a digest of all files' names, times and sizes below a folder, and the time of the newest, in seconds.

    Python's files are left out: the index holds functions by name only.
    """
    digest, newest = hashlib.sha256(), 0.0
    for name, status in _files(str(root), ""):
        digest.update(f"{name}\0{status.st_mtime_ns}\0{status.st_size}\n".encode("utf-8", "surrogateescape"))
        newest = max(newest, status.st_mtime)
    return digest.hexdigest(), newest


def _files(folder: str, inner: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield name and status of each file below a folder, in the order of names."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{inner}{entry.name}"
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _files(entry.path, f"{name}/")
            elif not entry.name.endswith((".py", ".pyc")):
                yield name, entry.stat()


def cache_folder() -> Path:
    """Return the folder that keeps the contents: ``lm-eval-baichuan`` in the user's folder of caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lm-eval-baichuan" / "task_index"


def switched_off() -> bool:
    """Whether the environment variable says that nothing is kept."""
    return os.environ.get(SWITCH_OFF, "0") not in ("", "0")


def _same_in_json(content: dict[str, Any]) -> bool:
    """Whether JSON gives back what YAML gave, types and order too: not so for dates, sets, or keys that are no text."""
    try:
        return repr(json.loads(json.dumps(content))) == repr(content)
    except (TypeError, ValueError, RecursionError):
        return False
