"""``data check``: tells for each set whether a data folder holds it, complete and undamaged."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .checksums import Checksums
from .known import known_hashes
from .sources import home, read_file, set_files

REASONS_SHOWN = 3


@dataclass
class SetState:
    """What was found of one set."""

    benchmark: str
    files: int
    """How many files the set has."""
    present: int = 0
    rows: collections.Counter[str] = field(default_factory=collections.Counter)
    """Rows read, by split or kind."""
    problems: list[str] = field(default_factory=list)
    compared_with: str = "no recorded checksums"
    """What its rows were compared with, beyond their number."""

    @property
    def state(self) -> str:
        """``complete``, ``not there`` or ``damaged``."""
        if not self.present:
            return "not there"
        return "damaged" if self.problems else "complete"


def check(folder: Path, benchmarks: Sequence[str]) -> list[SetState]:
    """Read every file of the sets as the tasks do, and compare with hashes known or recorded, where there are any."""
    from tqdm import tqdm

    checksums = Checksums(folder)
    states = []
    with tqdm(total=sum(len(set_files(benchmark)) for benchmark in benchmarks), unit="file", leave=False) as bar:
        for benchmark in benchmarks:
            files = set_files(benchmark)
            state = SetState(benchmark, len(files))
            if set(known_hashes().get(benchmark, {}).get("files", {})) >= {file.path for file in files}:
                state.compared_with = "the published hashes"
            elif benchmark in checksums.sets:
                since = checksums.sets[benchmark].get("first_fetched", "an unknown date")
                state.compared_with = f"recorded at first fetch, {since}"
            if outdated := checksums.outdated(benchmark):
                state.problems.append(
                    f"fetched at revision {outdated}; the tasks read {home(benchmark)[1]}: run `data fetch`"
                )
            for file in files:
                bar.update()
                path = folder / file.path
                if not path.is_file():
                    state.problems.append(f"{file.path}: missing")
                    continue
                state.present += 1
                try:
                    content = read_file(file, folder)
                    state.rows.update(content.rows)
                    if problem := checksums.problem(file, content):
                        state.problems.append(problem)
                except (OSError, ValueError) as error:
                    state.problems.append(str(error))
            states.append(state)
    return states


def table(states: Sequence[SetState]) -> str:
    """Set out the states as a table, and below it the first problems of each damaged set."""
    lines = [f"{'set':8}{'state':11}{'files':>9}  rows"]
    for state in states:
        rows = ", ".join(f"{kind} {count}" for kind, count in state.rows.items())
        against = f"  ({state.compared_with})" if state.present else ""
        lines.append(f"{state.benchmark:8}{state.state:11}{f'{state.present}/{state.files}':>9}  {rows}{against}")
    for state in states:
        if state.state == "damaged":
            lines += ["", f"{state.benchmark}: {len(state.problems)} problems"]
            lines += [f"  {problem}" for problem in state.problems[:REASONS_SHOWN]]
            if len(state.problems) > REASONS_SHOWN:
                lines.append(f"  … and {len(state.problems) - REASONS_SHOWN} more")
    return "\n".join(lines)
