"""CSV files, every cell as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from .data_files import decode


def read_csv(
    content: bytes, source: str, columns: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """Return a CSV file's rows, every cell as the text it is; ``columns`` names them where the file has no header."""
    # Guessing types would turn "0.50" into 0.5, "(1) (2) (3)" into what the guesser likes, and "None" into nothing.
    reader = csv.reader(io.StringIO(decode(content, source), newline=""))
    rows: list[dict[str, str]] = []
    try:
        header, next_line = list(columns or ()), 1
        for cells in reader:
            where, next_line = (
                f"{source}, line {next_line}",
                reader.line_num + 1,
            )  # a row may take several lines
            if not cells or (
                len(cells) == 1 and cells[0] and not cells[0].strip(" \t")
            ):
                continue  # a blank line, which pandas and with it the official scripts skip
            if not header:
                header = cells
                continue
            if len(cells) != len(header):
                raise ValueError(
                    f"{where}: {len(cells)} cells found, {len(header)} expected ({', '.join(header)})."
                )
            rows.append({**dict(zip(header, cells, strict=True)), "source": where})
    except csv.Error as error:
        raise ValueError(
            f"{source}, line {reader.line_num}: not a CSV file ({error})."
        ) from error
    if not rows:
        raise ValueError(f"{source} holds no rows. Replace it by the published file.")
    return rows


def pick_columns(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str]
) -> list[dict[str, str]]:
    """Return the rows with just ``columns`` (and where each row was found), or say which column is missing."""
    missing = [column for column in columns if column not in rows[0]]
    if missing:
        spaced = [column for column in rows[0] if column.strip() == missing[0]]
        if spaced:
            raise ValueError(
                f"{rows[0]['source']} ff.: the header has {spaced[0]!r}, with spaces around the name of column "
                f"{missing[0]!r}. Remove them."
            )
        found = ", ".join(
            column or "(unnamed)" for column in rows[0] if column != "source"
        )
        raise ValueError(
            f"{rows[0]['source']}: column {missing[0]!r} is missing. Columns found: {found}; "
            f"columns expected: {', '.join(columns)}."
        )
    return [{column: row[column] for column in (*columns, "source")} for row in rows]


def csv_content(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows of cells as a CSV file that reads as the same cells."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()
