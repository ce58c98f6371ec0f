"""Shots drawn from the questions."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from .questions import draw_key


def draw_shots(
    rows: Sequence[dict[str, str]], subject: str, seed: int, number: int = 5
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Split a subject's rows at random into ``number`` shots, in drawn order, and the questions to ask, in file order.

    The draw depends on the seed and on the rows' own text, so neither on their order in the file nor on the Python at
    work. A row that occurs twice (same passage, same question) is never a shot, since its copy would then be asked
    with the answer in sight; and no two shots share a passage.
    """
    columns = [column for column in rows[0] if column not in ("id", "source")]

    def text(row: Mapping[str, str]) -> tuple[str, str]:
        return row.get("passage", ""), row["question"]

    times = collections.Counter(map(text, rows))
    shots: list[dict[str, str]] = []
    for row in sorted(
        rows,
        key=lambda row: draw_key(seed, subject, *(row[column] for column in columns)),
    ):
        passage_shown = any(
            row.get("passage") and row.get("passage") == shot.get("passage")
            for shot in shots
        )
        if times[text(row)] == 1 and not passage_shown:
            shots.append(row)
        if len(shots) == number:
            return shots, [
                row for row in rows if not any(row is shot for shot in shots)
            ]
    raise ValueError(
        f"{rows[0]['source']} ff.: {len(rows)} rows give only {len(shots)} of {number} shots (rows that occur once, "
        "each with a passage of its own). Replace the file by the published one."
    )
