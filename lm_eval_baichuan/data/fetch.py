"""``data fetch``: fills a data folder from the public homes, and continues where an earlier run stopped."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ..model_adapters.errors import DataError
from ..model_adapters.places import held, try_folder
from .checksums import Checksums
from .sources import Content, SetFile, home, read_file, set_files

STAGING = ".fetch"
"""Folder in the data folder where files lie until they are complete and checked."""
ATTEMPTS = 4
PAUSE = 1.0
"""Seconds to wait before the second attempt; doubled before each further one."""
MAX_SECONDS = 900.0
"""How long one file may take. The largest has a few megabytes."""


class DownloadTimeoutError(OSError):
    """A download that does not end."""


def fetch(folder: Path, benchmarks: Sequence[str]) -> None:
    """Fetch whatever files of the sets are missing or damaged.

    Args:
        folder: The data folder; made if need be.
        benchmarks: Names of the sets.

    Raises:
        DataError: A file can't be had, or not undamaged, or with other rows than recorded; what was there stays.
        PlaceError: Nothing can be written to the folder, or another fetch is at work in it.
    """
    try_folder(folder, "data fetch")
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another `data fetch` is at work there. Let it end, or name another folder."
    with held(staging / "lock", busy):
        _fetch(folder, benchmarks)
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(folder: Path, benchmarks: Sequence[str]) -> None:
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from tqdm import tqdm

    disable_progress_bars()  # one bar over all files instead of one a file
    checksums = Checksums(folder)
    files = {benchmark: set_files(benchmark) for benchmark in benchmarks}
    with tqdm(total=sum(map(len, files.values())), unit="file") as bar:
        for benchmark, wanted in files.items():
            bar.set_description(benchmark)
            contents = {}
            for file in wanted:
                found = look_at(file, folder, checksums)
                contents[file.path] = found if isinstance(found, Content) else obtain(file, folder, checksums, found)
                bar.update()
            checksums.record(benchmark, contents)


def look_at(file: SetFile, folder: Path, checksums: Checksums) -> Content | str:
    """Return what a file holds where it is there and complete, else the reason why it has to be fetched."""
    if not (folder / file.path).exists():
        return "missing"
    if outdated := checksums.outdated(file.benchmark):
        return f"from revision {outdated}, the tasks read {home(file.benchmark)[1]}"
    try:
        content = read_file(file, folder)
    except (OSError, ValueError) as error:
        return str(error)
    return checksums.problem(file, content) or content


def obtain(file: SetFile, folder: Path, checksums: Checksums, reason: str) -> Content:
    """Download a file, check it, and only then put it in the place of what was there, which is kept.

    Args:
        file: The file.
        folder: The data folder.
        checksums: What earlier fetches recorded there.
        reason: Why it is fetched.

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
            staged.write_bytes(_downloaded(file, fresh=damaged))
            content = read_file(file, staging)
            checksums.check_again(file, content)
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
        _keep(target, reason)
        os.replace(staged, target)
        return content
    repository, revision = home(file.benchmark)
    raise DataError(
        f"{folder / file.path} could not be fetched from {repository} at revision {revision}. {problem}\n"
        "Run the same command again to continue. HF_ENDPOINT names another mirror of the hub and "
        "LM_EVAL_BAICHUAN_GITHUB one of GitHub's raw files, or unsets a bad one."
    )


def _downloaded(file: SetFile, *, fresh: bool) -> bytes:
    """Download a file within `MAX_SECONDS`, whatever trickles in; the tasks' own code bounds its size."""
    outcome: list[bytes | BaseException] = []

    def download() -> None:
        try:
            outcome.append(file.source.download(file.source, fresh=fresh)[0])
        except BaseException as error:  # raised where it is waited for
            outcome.append(error)

    thread = threading.Thread(target=download, daemon=True)  # the end of the process ends it
    thread.start()
    thread.join(MAX_SECONDS)
    if not outcome:
        raise DownloadTimeoutError(
            f"{file.source.repository}, {file.source.at_home}: not complete after {MAX_SECONDS:g} seconds"
        )
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _keep(path: Path, reason: str) -> None:
    """Keep a copy of a file that is to be replaced: it may be somebody's own. An earlier copy is never written over."""
    if not path.exists():
        return
    content = path.read_bytes()
    for number in itertools.count(1):
        kept = path.with_name(f"{path.name}.replaced" + (f".{number}" if number > 1 else ""))
        if not kept.exists():
            with kept.open("xb") as copy:
                copy.write(content)
        if kept.read_bytes() == content:
            break
    print(f"{path}: fetched anew ({reason}); what was there is kept as {kept.name}", file=sys.stderr)


def _final(error: BaseException | None) -> bool:
    """Tell whether asking again is of no use: a refusal for good, a full disk, a server that never ends."""
    if error is None:
        return False
    status = getattr(getattr(error, "response", None), "status_code", 0)
    kinds = (FileNotFoundError, DownloadTimeoutError)
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, kinds) or full or status in (401, 403, 404) or _final(error.__cause__)
