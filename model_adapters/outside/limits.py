"""Bounds the time and memory of what a file from outside asks for: a chat template, a regular expression.

Both may ask for more than any machine has, in a line of text. They run in this process, under an alarm of the system
and a limit on what it may allocate. So the bounds hold on systems that have the two, for calls from the main thread:
on Windows, or in another thread, there is none.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SECONDS = 10.0
"""A chat template takes milliseconds."""
BYTES = 2**30
"""What may be allocated besides what the process has."""
STATM = Path("/proc/self/statm")
"""Where Linux says how many pages a process has mapped."""


class OverLimitError(Exception):
    """Something from outside took too long, or too much memory."""


class _OutOfTime(BaseException):
    """No `Exception`: Jinja's compiler computes constants and passes over whatever they raise."""


@contextmanager
def limits(seconds: float | None = None, memory: int | None = BYTES) -> Iterator[None]:
    """Stops what is done inside when it takes too much.

    Args:
        seconds: How long it may take; by default `SECONDS`.
        memory: The bytes that it may allocate; None for any number.

    Raises:
        OverLimitError: It took too long or too much.
    """
    try:
        with _time(SECONDS if seconds is None else seconds), _memory(memory):
            yield
    except _OutOfTime as end:
        raise OverLimitError(str(end)) from None
    except MemoryError as error:
        raise OverLimitError(f"it took more than {(memory or 0) / 2**30:g} GB of memory") from error
    except RecursionError as error:
        raise OverLimitError("it calls itself without end, or is nested too deep") from error


@contextmanager
def _time(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _OutOfTime(f"it took longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory(bytes_: int | None) -> Iterator[None]:
    if bytes_ is None or sys.platform != "linux" or not STATM.exists():
        yield
        return
    import resource

    mapped = int(STATM.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = [mapped + bytes_, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(allowed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
