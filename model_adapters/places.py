"""Places to write to: tried before the work, and held by one process at a time.

A place is tried by writing there: permission bits say nothing to root, nor of a full disk or a read-only mount.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from .errors import PlaceError

TRIAL_BYTES = 1 << 20
"""How much is written to see that a disk isn't full."""


def try_folder(folder: Path, option: str) -> None:
    """Writes a file into a folder and removes it again; a folder that isn't there yet is tried where it would be made.

    Args:
        folder: The folder.
        option: What names it, for the message.

    Raises:
        PlaceError: Nothing can be written there.
    """
    nearest = folder.absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest, prefix=".lm-eval-baichuan-") as trial:
            trial.write(bytes(TRIAL_BYTES))
            trial.flush()
    except OSError as error:
        raise refusal(folder, option, error) from error


def try_file(file: Path, option: str) -> None:
    """Tries whether a file can be written, or written over, and changes nothing.

    Args:
        file: The file.
        option: What names it, for the message.

    Raises:
        PlaceError: It can't be written.
    """
    try:
        if file.exists():
            file.open("ab").close()
    except OSError as error:
        raise refusal(file, option, error) from error
    if file.is_file() or not file.exists():  # no device, such as /dev/stdout
        if not file.parent.is_dir():
            raise PlaceError(f"{option} {file}: {file.parent} is not a folder. Make it, or name another place.")
        try_folder(file.parent, option)


def refusal(place: Path, option: str, error: OSError) -> PlaceError:
    """The error to raise where writing to a place failed.

    Args:
        place: Where.
        option: What names the place.
        error: How it failed.
    """
    return PlaceError(
        f"{option} {place}: nothing can be written there ({error.strerror or error}). Make room or give the right to "
        "write, or name another place."
    )


@contextmanager
def held(lock: Path, refusal: str) -> Iterator[None]:
    """Holds a lock file for as long as the context lasts; the lock of a process that died holds nobody up.

    Args:
        lock: The file, in a folder that is there.
        refusal: What to say if another process holds it.

    Raises:
        PlaceError: Another process holds it, or the file cannot be written.
    """
    holder = hold(lock, refusal)
    try:
        yield
    finally:
        holder.release()


def hold(lock: Path, refusal: str, *, again: bool = False) -> filelock.BaseFileLock:
    """Takes a lock file until it is released or this process ends; see `held`.

    Args:
        lock: The file, in a folder that is there.
        refusal: What to say if another process holds it.
        again: Whether this process may take it more than once; it is free when it was released as often.

    Raises:
        PlaceError: Another process holds it, or the file cannot be written.
    """
    holder = filelock.FileLock(str(lock.absolute()), thread_local=not again, is_singleton=again)
    try:
        holder.acquire(timeout=0)
    except filelock.Timeout as error:
        raise PlaceError(refusal) from error
    except OSError as error:
        raise PlaceError(f"{lock}: cannot be written ({error.strerror or error}).") from error
    return holder
