"""How a command ends: SIGTERM as an exception, as Ctrl-C is one, so that what is under way is put in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(BaseException):
    """SIGTERM arrived."""


@contextmanager
def raising_sigterm(concerns_us: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Inside this block SIGTERM raises `Terminated`, where nobody else looks after it.

    Args:
        concerns_us: Asked when it arrives; False leaves it as it would be without this.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, _: Any) -> None:
        if concerns_us():
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_further_signals() -> None:
    """Keeps Ctrl-C and SIGTERM from a process that is ending: torchrun sends another one after a Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
