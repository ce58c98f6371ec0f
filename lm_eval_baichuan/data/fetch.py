"""``data fetch``: fills a data folder from the public homes, and continues where an earlier run stopped."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..model_adapters.errors import DataError
from .checksums import Checksums, sha256
from .sources import SetFile, count_rows, home, set_files

STAGING = ".fetch"
"""Folder in the data folder where files lie until they are complete and checked."""
ATTEMPTS = 4
PAUSE = 1.0
"""Seconds to wait before the second attempt; doubled before each further one."""


def fetch(folder: Path, benchmarks: Sequence[str]) -> None:
    """Fetch whatever files of the sets are missing or damaged.

    Args:
        folder: The data folder; made if need be.
        benchmarks: Names of the sets.

    Raises:
        DataError: A file can't be had, or not undamaged; the files before it stay.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from tqdm import tqdm

    disable_progress_bars()  # one bar over all files instead of one a file
    folder.mkdir(parents=True, exist_ok=True)
    checksums = Checksums(folder)
    files = {benchmark: set_files(benchmark) for benchmark in benchmarks}
    with tqdm(total=sum(map(len, files.values())), unit="file") as bar:
        for benchmark, wanted in files.items():
            bar.set_description(benchmark)
            for file in wanted:
                reason = refetch_reason(file, folder, checksums)
                if reason is not None:
                    _set_aside(folder / file.path, reason)
                    obtain(file, folder)
                bar.update()
            checksums.record(benchmark)
    shutil.rmtree(folder / STAGING, ignore_errors=True)


def refetch_reason(file: SetFile, folder: Path, checksums: Checksums) -> str | None:
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


def obtain(file: SetFile, folder: Path) -> None:
    """Download a file, check it, and move it into place.

    Raises:
        DataError: No attempt brought the file, or none an undamaged one.
    """
    staging = folder / STAGING
    staged = staging / file.path
    staged.parent.mkdir(parents=True, exist_ok=True)
    problem, damaged = "", False
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            content, _ = file.source.download(file.source, fresh=damaged)
            staged.write_bytes(content)
            count_rows(file, staging)
        except OSError as error:
            problem = f"{type(error).__name__}: {error}"
            if _final(error):
                break
            continue
        except ValueError as error:
            problem, damaged = f"damaged: {error}", True
            continue
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, target)
        return
    repository, revision = home(file.benchmark)
    raise DataError(
        f"{folder / file.path} could not be fetched from {repository} at revision {revision}. {problem}\n"
        "Run the same command again to continue. HF_ENDPOINT names another mirror of the hub and "
        "LM_EVAL_BAICHUAN_GITHUB one of GitHub's raw files, or unsets a bad one."
    )


def _final(error: BaseException | None) -> bool:
    """Tell whether a server's refusal is for good, so that asking again is of no use."""
    if error is None:
        return False
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return isinstance(error, FileNotFoundError) or status in (401, 403, 404) or _final(error.__cause__)
