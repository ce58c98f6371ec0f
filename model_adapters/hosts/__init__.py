"""What of the host libraries may change under us: their private names and renamed keywords, one file a host.

Each file gives the names under one of our own, or lists those that only a subclass can override. tests/hosts looks
every one of them up in the installed release, and says which one moved and who leans on it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Lean(NamedTuple):
    """A name of a host that we lean on.

    Attributes:
        where: ``module:Class.attribute``.
        who: Which module of ours leans on it, and for what.
        parameters: Of a function: those that we pass or take, in the host's order.
    """

    where: str
    who: str
    parameters: tuple[str, ...] = ()


@contextmanager
def without_warnings_of(*loggers: str) -> Iterator[None]:
    """Inside this block, these loggers tell of errors only."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [each.level for each in found]
    try:
        for each in found:
            each.setLevel(logging.ERROR)
        yield
    finally:
        for each, level in zip(found, levels, strict=True):
            each.setLevel(level)
