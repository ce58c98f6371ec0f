"""Runs damaged files through what reads them, and says how each case ended."""

from __future__ import annotations

import contextlib
import io
import math
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from damage import damage

SECONDS = 30
CLOSE = 1e-5

ERROR, SAME, ASKED = "clear error", "same numbers", "what the file asks"
BARE, OTHER, HANG, UNNAMED = "bare traceback", "other numbers", f"over {SECONDS} s", "error without the file"
OUTCOMES = (ERROR, SAME, ASKED, BARE, OTHER, HANG, UNNAMED)
RIGHT = (ERROR, SAME, ASKED)


@dataclass
class Kind:
    """Something that is read from outside."""

    name: str
    files: list[Path]
    """What is damaged, one at a time."""
    measure: Callable[[Path], Any]
    """The numbers that come of the files, and what is said of them; its argument is the damaged one."""
    errors: tuple[type[BaseException], ...]
    """What may be raised, with the file's name."""
    any_text_asks: bool = False
    """Whether other content of a readable file cannot be told from what was meant (the text of a question)."""
    expected: dict[Path, Any] = field(default_factory=dict)

    def numbers(self, file: Path) -> Any:
        """What comes of the whole files, measured once for each place."""
        place = file.parent
        if place not in self.expected:
            self.expected[place] = self.measure(file)
        return self.expected[place]


@dataclass(frozen=True)
class Case:
    """How one case ended."""

    seed: int
    file: str
    damage: str
    outcome: str
    said: str


class Hang(BaseException):
    """It took too long."""


def run_case(kind: Kind, seed: int) -> Case:
    """Damages one file, reads it, and puts it back."""
    draw = Random(f"{kind.name} {seed}")  # noqa: S311
    file = draw.choice(kind.files)
    expected = kind.numbers(file)
    whole = file.read_bytes()
    done = damage(whole, draw)
    file.write_bytes(done.content)
    try:
        with warnings.catch_warnings(), _alarm(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            found = kind.measure(file)
    except Hang:
        outcome, said = HANG, "".join(traceback.format_exc(limit=-4))
    except kind.errors as error:
        said = str(error)
        # Numbers that turned out wrong while the model ran are told by their layer.
        named = (file.name, str(file.parent), "(first in model.", "were not asked the same: question")
        outcome = ERROR if any(name in said for name in named) else UNNAMED
    except Exception as error:  # noqa: BLE001  (that is what is looked for)
        outcome, said = BARE, "".join(traceback.format_exception(error)[-4:])
    else:
        outcome, said = SAME, ""
        if not same(found, expected):
            # Where a value is no longer stated, less may be said of the same numbers.
            silent = done.name == "deleted" and same(found[0], expected[0])
            outcome = ASKED if done.asks or kind.any_text_asks or silent else OTHER
            said = f"{expected!r:.400} became {found!r:.400}"
    finally:
        file.write_bytes(whole)
    return Case(seed, file.name, done.name, outcome, said)


def run_cases(kind: Kind, seeds: Iterator[int] | range) -> tuple[Counter[str], list[Case]]:
    """Runs a case for each seed: how many ended how, and those that ended wrongly."""
    ended: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        case = run_case(kind, seed)
        ended[case.outcome] += 1
        if case.outcome not in RIGHT:
            wrong.append(case)
    return ended, wrong


def same(found: Any, expected: Any) -> bool:
    """Whether two nestings of lists and numbers are alike within what arithmetic explains."""
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=CLOSE, abs_tol=CLOSE)
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


@contextmanager
def _alarm() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
