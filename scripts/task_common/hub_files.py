"""Files of data sets on the Hugging Face hub."""

from __future__ import annotations

import errno
import functools
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or requests', by release

from .data_files import DATA_VARIABLE, MAX_DOWNLOAD_BYTES, DataFile


class BoundedBar(huggingface_hub.utils.tqdm):  # type: ignore[misc,name-defined]  # untyped
    """The hub library's progress bar, which ends a download that does not end by itself."""

    come = 0

    def update(self, n: float | None = 1) -> Any:
        """Count the bytes that came."""
        self.come += int(n or 0)
        if self.come > MAX_DOWNLOAD_BYTES:
            raise OSError(errno.EFBIG, f"more than {MAX_DOWNLOAD_BYTES} bytes came")
        return super().update(n)


@functools.cache  # each call asks the hub for its list of files
def hub_snapshot(repository: str, revision: str, pattern: str) -> Path:
    """Return a folder with the files of a data set that match a pattern."""
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=pattern,
                tqdm_class=BoundedBar,
            )
        )
    except (OSError, HTTPError) as error:
        raise ConnectionError(
            f"The hub set {repository} at revision {revision}: {pattern} could not be downloaded "
            f"({type(error).__name__}: {error}). Name a mirror in the environment variable HF_ENDPOINT, or fill a "
            "folder elsewhere (lm-eval-baichuan data fetch PATH) and name it: --metadata data_dir=PATH, or the "
            f"environment variable {DATA_VARIABLE}."
        ) from error


def hub_files(file: DataFile, *, fresh: bool = False) -> list[Path]:
    """Return the files that match ``file.at_home``, downloaded where the hub's cache does not have them yet."""
    folder = hub_snapshot(file.repository, file.revision, file.at_home)
    if fresh:
        for path in folder.glob(file.at_home):
            for each in (
                path.resolve(),
                path,
            ):  # the cache links from a name to the content
                each.unlink(missing_ok=True)
        hub_snapshot.cache_clear()
        folder = hub_snapshot(file.repository, file.revision, file.at_home)
    found = sorted(folder.glob(file.at_home))
    if not found:
        raise FileNotFoundError(
            f"The hub set {file.repository} at revision {file.revision} has no file {file.at_home}. If HF_ENDPOINT "
            "names a mirror, the mirror is incomplete; else get the files another way and pass --metadata "
            "data_dir=PATH."
        )
    return found
