"""A table of text, and the letters in it that say what a figure is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase

from ..languages import joined
from .condition import Condition

NOTHING = "–"
INDENT = "\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Table:
    """A table of text with what stands above and below it."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...] = field(default=())
    wide: bool = False
    """Whether it has a column for each of any number of runs, so that a narrow place may show some at a time."""


class Marked(str):
    """A cell with letters that point to footnotes: ``43.00 [a,b]``."""

    figure: str
    marks: tuple[str, ...]

    def __new__(cls, figure: str, marks: Sequence[str] = ()) -> Marked:
        """Make a cell; without marks it is the figure alone."""
        cell = super().__new__(cls, f"{figure} [{','.join(marks)}]" if marks else figure)
        cell.figure = figure
        cell.marks = tuple(marks)
        return cell


class Marks:
    """Gives each topic of a table's conditions a letter, in the order in which they are first needed."""

    def __init__(self) -> None:
        """Begins without any."""
        self._letters: dict[tuple[str, str], str] = {}
        self._texts: dict[str, str] = {}

    def cell(self, figure: str, caveats: Sequence[Condition], of: str = "") -> Marked:
        """Return a figure with the letters of what it is not.

        Args:
            figure: The figure as text.
            caveats: What it is not.
            of: The suite and run: within one, a category shares the letters of its average, whatever it counts.
        """
        letters = {self._letter(caveat, of) for caveat in caveats}
        return Marked(figure, sorted(letters, key=lambda letter: (len(letter), letter)))

    @property
    def footnotes(self) -> tuple[str, ...]:
        """What each letter means: ``[a] --limit 8: 416 of 1346 questions``."""
        return tuple(joined(" ", (f"[{letter}]", text)) for letter, text in self._texts.items())

    def _letter(self, caveat: Condition, of: str) -> str:
        same = next((letter for letter, known in self._texts.items() if known == caveat.text), None)
        letter = self._letters.setdefault((of, caveat.topic), same or _letter(len(self._texts)))
        self._texts.setdefault(letter, caveat.text)
        return letter


def _letter(number: int) -> str:
    """Return a, b, …, z, aa, ab, …."""
    before, last = divmod(number, len(ascii_lowercase))
    return (_letter(before - 1) if before else "") + ascii_lowercase[last]
