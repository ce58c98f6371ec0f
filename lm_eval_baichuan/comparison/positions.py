"""Where a checkpoint stands in its training, told from names such as ``checkpoint-500`` or ``step1000-tokens4B``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..model_adapters.errors import OptionError
from ..results import Run

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
NUMBER = r"(?P<number>\d+(?:\.\d+)?)"
PATTERNS = (
    ("step", re.compile(rf"(?:checkpoint|ckpt|step|iter(?:ation)?)s?[-_=]?{NUMBER}(?P<unit>)(?![\d.]*[KMBT])", re.I)),
    ("tokens", re.compile(rf"{NUMBER}(?P<unit>[KMBT])[-_ ]?tok(?:en)?s?(?![a-z])", re.I)),
    ("tokens", re.compile(rf"(?:tok(?:en)?s?|train)[-_=]?{NUMBER}(?P<unit>[KMBT])(?![a-z0-9])", re.I)),
    ("epoch", re.compile(rf"epoch[-_=]?{NUMBER}(?P<unit>)", re.I)),
)
BARE = (
    # A checkpoint called 0500; not a date. A bare 7B is a size as likely as a number of tokens, so it is not read.
    ("step", re.compile(rf"^(?!20\d{{6}}$){NUMBER}(?P<unit>)$")),
    ("tokens", re.compile(rf"^{NUMBER}(?P<unit>T)$")),
)


@dataclass(frozen=True)
class Position:
    """Where a run's checkpoint stands in its training."""

    value: float
    unit: str
    """``step``, ``tokens`` or ``epoch``; ``x`` where the user gave numbers alone."""
    training: str
    """The name without the number: the same for all checkpoints of one training."""

    @property
    def words(self) -> str:
        """The number as a name would have it: ``500``, ``1.2T``."""
        for unit in ("T", "B", "M") if self.unit == "tokens" else ():
            if self.value >= UNITS[unit]:
                return f"{self.value / UNITS[unit]:g}{unit}"
        return f"{self.value:g}" if self.value < 1e6 else f"{self.value:.0f}"


def positions(runs: Sequence[Run], given: Sequence[str] | None = None) -> list[Position | None]:
    """Return where each run's checkpoint stands in its training; None for a run whose name does not say.

    Args:
        runs: The runs.
        given: The positions as the user gave them, one a run; None to read them from the names.

    Raises:
        OptionError: as many were not given as there are runs, or one is no number.
    """
    if given is None:
        return [_read(run) for run in runs]
    if len(given) != len(runs):
        raise OptionError(
            f"--x has {len(given)} values for {len(runs)} runs ({', '.join(run.name for run in runs)}); "
            "expected one each."
        )
    return [_given(text) for text in given]


def _given(text: str) -> Position:
    found = re.fullmatch(rf"{NUMBER}(?P<unit>[KMBT]?)", text.strip(), re.I)
    if not found:
        raise OptionError(f"--x: {text!r} is no number; expected such as 500, 220B or 1.2T.")
    unit = found["unit"].upper()
    return Position(float(found["number"]) * UNITS[unit], "tokens" if unit else "x", "")


def _read(run: Run) -> Position | None:
    """Read the last name that says it: the revision, the checkpoint's folder, the folder of the results."""
    revision = next((file.revision for file in run.files if file.revision), "")
    folder = run.path if run.path.is_dir() else run.path.parent
    seeds = f" ({run.seeds.words})" if run.seeds.words else ""
    for where, of, bare in ((revision, run.model, True), (run.model, "", True), (str(folder), run.model, False)):
        parts = where.replace("\\", "/").rstrip("/").split("/")
        for number in range(len(parts) - 1, max(-1, len(parts) - 3), -1):
            for unit, pattern in (*PATTERNS, *(BARE if bare else ())):
                if match := pattern.search(parts[number]):
                    parts[number] = _without_numbers(parts[number])
                    value = float(match["number"]) * UNITS[match["unit"].upper()]
                    training = parts[number] if of else "/".join(parts)
                    return Position(value, unit, f"{of} {training}".strip() + seeds)
    return None


def _without_numbers(name: str) -> str:
    """Return a name with a star for all that says where in a training it stands, steps and tokens alike."""
    for _, pattern in (*PATTERNS, *BARE):
        name = pattern.sub("*", name)
    return name
