"""Gets a data file's content from its public home, at the revision that the tasks pin."""

from __future__ import annotations

import csv
import fnmatch
import functools
import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .download import download
from .sources import DataFile, home, task_module

GITHUB_RAW = "https://raw.githubusercontent.com"


def fetch_sources(file: DataFile, staging: Path, timeout: float) -> list[Path]:
    """Download what a data file is made from: the file itself, a parquet file (or parts of one), or an archive.

    Files of the hub go to its cache, as when a task reads them; files of GitHub to ``staging``, a data folder.

    Raises:
        OSError: The home can't be reached, breaks off, or does not have the file.
    """
    repository, revision = home(file.benchmark)
    module = task_module(file.benchmark)
    if not file.split:
        mirror = os.environ.get(module.GITHUB_VARIABLE, GITHUB_RAW).rstrip("/")
        target = staging / file.path
        inside = file.path.removeprefix(f"{file.folder}/")
        download(f"{mirror}/{repository}/{revision}/{inside}", target, timeout)
        return [target]
    import huggingface_hub
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or requests', by release

    try:
        if file.benchmark == "cmmlu":
            names = [module.HUB_ARCHIVE]
        else:
            names = fnmatch.filter(_names(repository, revision), f"{file.subject}/{file.split}-*")
        if not names:
            raise FileNotFoundError(f"{repository} at revision {revision} has no file {file.subject}/{file.split}-*")
        return [
            Path(huggingface_hub.hf_hub_download(repository, name, repo_type="dataset", revision=revision))
            for name in sorted(names)
        ]
    except OSError:
        raise
    except HTTPError as error:  # of httpx, and no OSError
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


@functools.cache
def _names(repository: str, revision: str) -> Sequence[str]:
    """Return the names of a hub set's files."""
    import huggingface_hub

    return huggingface_hub.HfApi().list_repo_files(repository, repo_type="dataset", revision=revision)


def write_from(sources: Sequence[Path], file: DataFile, staging: Path) -> None:
    """Write a data file from what was downloaded, and see that it reads as its source does.

    Raises:
        ValueError: A source is damaged.
    """
    target = staging / file.path
    if list(sources) == [target]:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    module = task_module(file.benchmark)
    if file.benchmark == "cmmlu":
        try:
            with zipfile.ZipFile(sources[0]) as archive:
                target.write_bytes(archive.read(f"{file.split}/{file.subject}.csv"))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{sources[0]}: {error}") from error
        return
    read = module.read_hub_file if file.benchmark == "mmlu" else module.read_parquet
    rows = [row for source in sources for row in read(source)]
    if not rows:
        raise ValueError(f"{sources[0]} holds no rows")
    columns = list(module.COLUMNS)
    if file.benchmark == "ceval":
        module.pick_columns(rows, columns)  # says which column is missing
        columns += ["explanation"] if file.split == "dev" and "explanation" in rows[0] else []
    header = [] if file.benchmark == "mmlu" else [columns]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([*header, *([row[column] for column in columns] for row in rows)])
    target.write_bytes(text.getvalue().encode())
    written = module.read_split(file.subject, file.split, str(staging))
    for number, (before, after) in enumerate(zip(rows, written, strict=True), start=1):
        _check_same(before, after, module.COLUMNS, f"{sources[0]}, row {number}")


def _check_same(before: Mapping[str, str], after: Mapping[str, str], columns: Sequence[str], where: str) -> None:
    for column in columns:
        if before[column] != after[column]:
            raise ValueError(f"{where}, column {column!r}: {before[column]!r} reads as {after[column]!r} from CSV")


def discard(sources: Sequence[Path]) -> None:
    """Delete damaged downloads, so that the next attempt doesn't find them again."""
    for source in sources:
        for path in {source.resolve(), source}:  # the hub's cache links from a name to the content
            path.unlink(missing_ok=True)
