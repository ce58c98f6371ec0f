"""``data fetch``: fills a data folder from the public homes, and continues where an earlier run stopped."""

from __future__ import annotations

import os
import shutil
import sys
import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path

from ..model_adapters.errors import DataError
from .checksums import Checksums, sha256
from .homes import discard, fetch_sources, write_from
from .sources import DataFile, count_rows, data_files, home

STAGING = ".fetch"
"""Folder in the data folder where files lie until they are complete and checked."""
ATTEMPTS = 4
PAUSE = 1.0
"""Seconds to wait before the second attempt; doubled before each further one."""


def fetch(folder: Path, benchmarks: Sequence[str], timeout: float) -> None:
    """Fetch whatever files of the sets are missing or damaged.

    Args:
        folder: The data folder; made if need be.
        benchmarks: Names of the sets.
        timeout: Seconds to wait for a server at each step.

    Raises:
        DataError: A file can't be had, or not undamaged; the files before it stay.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from tqdm import tqdm

    disable_progress_bars()  # one bar over all files instead of one a file
    folder.mkdir(parents=True, exist_ok=True)
    checksums = Checksums(folder)
    files = {benchmark: data_files(benchmark) for benchmark in benchmarks}
    with tqdm(total=sum(map(len, files.values())), unit="file") as bar:
        for benchmark, wanted in files.items():
            bar.set_description(benchmark)
            for file in wanted:
                reason = refetch_reason(file, folder, checksums)
                if reason is not None:
                    _set_aside(folder / file.path, reason)
                    obtain(file, folder, timeout)
                bar.update()
            checksums.record(benchmark)
    shutil.rmtree(folder / STAGING, ignore_errors=True)


def refetch_reason(file: DataFile, folder: Path, checksums: Checksums) -> str | None:
    """Say why a file has to be fetched; None where it is there and complete."""
    path = folder / file.path
    if not path.exists():
        return "missing"
    if outdated := checksums.outdated(file.benchmark):
        return f"from revision {outdated}, the tasks read {home(file.benchmark)[1]}"
    recorded = checksums.recorded(file)
    if recorded is not None:
        return None if sha256(path) == recorded else "its checksum differs from the recorded one"
    try:
        count_rows(file, folder)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _set_aside(path: Path, reason: str) -> None:
    """Keep a file that is to be replaced: it may be somebody's own."""
    if path.exists():
        kept = path.with_name(path.name + ".replaced")
        os.replace(path, kept)
        print(f"{path}: fetched anew ({reason}); what was there is kept as {kept.name}", file=sys.stderr)


def obtain(file: DataFile, folder: Path, timeout: float) -> None:
    """Download a file, check it, and move it into place.

    Raises:
        DataError: No attempt brought the file, or none an undamaged one.
    """
    staging = folder / STAGING
    staged = staging / file.path
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        sources: list[Path] = []
        try:
            sources = fetch_sources(file, staging, timeout)
        except OSError as error:
            problem = f"{type(error).__name__}: {error}"
            if _final(error):
                break
            continue
        try:
            write_from(sources, file, staging)
            count_rows(file, staging)
        except (OSError, ValueError) as error:
            problem = f"damaged: {error}"
            discard([*sources, staged])
            continue
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, target)
        return
    repository, revision = home(file.benchmark)
    mirror = "HF_ENDPOINT" if file.split else "LM_EVAL_BAICHUAN_GITHUB"
    raise DataError(
        f"{folder / file.path} could not be fetched from {repository} at revision {revision}. {problem}\n"
        f"Run the same command again to continue; {mirror} names another mirror, or unsets a bad one."
    )


def _final(error: OSError) -> bool:
    """Tell whether a server's refusal is for good, so that asking again is of no use."""
    response = getattr(error, "response", None)
    status = error.code if isinstance(error, urllib.error.HTTPError) else getattr(response, "status_code", 0)
    return status in (401, 403, 404)
