"""Writes a comparison for the terminal, as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..languages import ENGLISH, Translator, joined
from ..printable import printable, spreadsheet_cell
from .chance import ABOVE, BELOW, LIKE
from .outcome import Outcome
from .positions import Position
from .records import curve_record, difference_record, figure_records, placed, records_of_run
from .table import Marked, Table
from .tables import QUESTION, SHOWN_CHANGES, certificate_line, unequal_certificates
from .verdicts import DIFFERS, NO_MEASUREMENT, NOT_COMPARABLE, WITHIN, Comparison


def to_terminal(outcome: Outcome, say: Translator = ENGLISH, width: int | None = None) -> str:
    """Return the tables for a terminal, in colour where it has any."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    def shown(text: str) -> str:
        return printable(say.shown(text))

    console = Console(width=width)
    with console.capture() as captured:
        for table in (part for whole in outcome.tables(SHOWN_CHANGES) for part in fitting(whole, console.width)):
            drawn = RichTable(title=Text(shown(table.title)), title_justify="left", box=SIMPLE_HEAD, padding=0)
            marked = any(isinstance(cell, Marked) and cell.marks for row in table.rows for cell in row)
            for number, header in enumerate(table.headers):
                numeric = _numeric(table, number)
                cut = header == QUESTION  # a long line of a question says no more than its beginning
                drawn.add_column(
                    Text(shown(header)),
                    justify="right" if numeric else "left",
                    no_wrap=(numeric and not table.wide) or cut or not header or (header == "verdict" and not marked),
                    min_width=_narrowest(table, number) if number == 0 or table.wide else None,
                    overflow="ellipsis" if cut else "fold",
                )
            for row in table.rows:
                drawn.add_row(*(Text(shown(cell), style=_style(cell)) for cell in row))
            console.print(drawn)
            for footnote in table.footnotes:
                console.print(Padding(Text(shown(footnote), style="dim"), (0, 0, 0, 2), expand=False))
            console.print()
    return captured.get()


def to_markdown(outcome: Outcome, say: Translator = ENGLISH) -> str:
    """Return the tables in Markdown."""
    return printable("\n".join(markdown_table(table, say) for table in outcome.tables(shown_changes=None)))


def markdown_table(table: Table, say: Translator = ENGLISH) -> str:
    """Return one table in Markdown, with its title and footnotes."""
    from tabulate import tabulate

    table = translated(table, say)
    rows = [[_markdown(cell) for cell in row] for row in table.rows]
    headers = [_markdown(header) for header in table.headers]
    drawn = tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)
    footnotes = "".join(f"- {_markdown(footnote)}\n" for footnote in table.footnotes)
    return f"### {_markdown(table.title)}\n\n{drawn}\n\n{footnotes}"


def to_latex(outcome: Outcome, say: Translator = ENGLISH) -> str:
    """Return the rows that papers print, ready for a document that uses booktabs; else the runs' figures."""
    row = outcome.paper_row()
    return printable("\n".join(latex_table(table, say) for table in ([row] if row else outcome.run_tables())))


def latex_table(table: Table, say: Translator = ENGLISH) -> str:
    """Return one table in LaTeX (booktabs), its text escaped, and below it what its marks mean.

    Footnotes that no mark points to stand as comments.
    """
    from tabulate import tabulate

    table = translated(table, say)
    alignment = ["left", *["right"] * (len(table.headers) - 1)]
    rows = [[_marked(cell) for cell in row] for row in table.rows]
    drawn = tabulate(rows, headers=table.headers, tablefmt="latex_booktabs", disable_numparse=True, colalign=alignment)
    drawn = re.sub(f"{BEGIN}(.*?){END}", r"\\textsuperscript{\1}", drawn)
    marked = [footnote[1:].split("] ", 1) for footnote in table.footnotes if footnote.startswith("[")]
    comments = "".join(f"% {footnote}\n" for footnote in table.footnotes if not footnote.startswith("["))
    if not marked:
        return f"{drawn}\n{comments}"
    notes = " \\\\\n".join(rf"\textsuperscript{{{letter}}} {_latex(text)}" for letter, text in marked)
    return f"{drawn}\n\n{{\\footnotesize\\raggedright\n{notes}\n\\par}}\n{comments}"


# Private characters stand for what LaTeX may not escape, until the rest is escaped.
BEGIN, END = "\ue000", "\ue001"
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{special: rf"\{special}" for special in "&%$#_{}"},
    }
)


def _latex(text: str) -> str:
    """Escape a text, in which two hyphens are two hyphens: LaTeX would set ``--limit`` with a dash."""
    return text.translate(LATEX).replace("--", "-{}-")


def _marked(cell: str) -> str:
    return f"{cell.figure}{BEGIN}{','.join(cell.marks)}{END}" if isinstance(cell, Marked) and cell.marks else cell


def translated(table: Table, say: Translator) -> Table:
    """Return a table in the language of a translator."""
    return replace(
        table,
        title=say.shown(table.title),
        headers=tuple(map(say.shown, table.headers)),
        rows=tuple(tuple(map(say.shown, row)) for row in table.rows),
        footnotes=tuple(map(say.shown, table.footnotes)),
    )


def to_csv(outcome: Outcome) -> str:
    """Return the figures, one a row; below, what sets runs against the named one, and for two runs what changed."""
    against = [difference_record(against, found) for against in outcome.against for found in against.differences]
    changes = (
        [asdict(change) | {"change": change.kind} for change in outcome.pairing.changes] if outcome.pairing else []
    )
    text = io.StringIO()
    _write_csv(text, figure_records(outcome))
    for block in (against, changes):
        if block:
            text.write("\n")
            _write_csv(text, block)
    return printable(text.getvalue())


def to_json(outcome: Outcome) -> str:
    """Return everything as JSON."""
    pairing = outcome.pairing
    data: dict[str, Any] = {
        "confidence": outcome.confidence,
        "runs": [
            {
                "run": comparison.run.name,
                "model": comparison.run.model,
                "against": comparison.row.name if comparison.row else None,
                "files": [str(file.path) for file in comparison.run.files],
                "left_out": comparison.run.left_out,
                "certificate": certificate_line(comparison) or None,
                "certificates": [asdict(own) | {"tasks": tasks} for own, tasks in comparison.certificates],
                "lines": _lines(comparison, position),
            }
            for comparison, position in placed(outcome)
        ],
        "unequal_certificates": unequal_certificates(outcome.all_runs),
        "curves": [curve_record(curve) for curve in outcome.curves],
        "differences": [difference_record(a, found) for a in outcome.against for found in a.differences],
        "spreads": [
            asdict(spread) | {"mean": spread.mean, "standard_deviation": spread.deviation} for spread in outcome.spreads
        ],
        "pairing": None
        if pairing is None
        else asdict(pairing)
        | {
            "p_value": pairing.p_value,
            "changes": [asdict(change) | {"change": change.kind} for change in pairing.changes],
        },
    }
    return printable(json.dumps(data, ensure_ascii=False, indent=1)) + "\n"


def _lines(comparison: Comparison, position: Position | None) -> list[dict[str, Any]]:
    """A run's figures, with lists where CSV has joined text."""
    lines = list(records_of_run(comparison, position))
    for line, found in zip(lines, comparison.lines, strict=False):
        line |= {"reasons": list(found.reasons), "notes": list(found.notes)}
        line["caveats"] = [caveat.short for caveat in found.caveats]
    return lines


def _write_csv(text: io.StringIO, records: Sequence[dict[str, Any]]) -> None:
    if records:
        writer = csv.DictWriter(text, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in records)


def fitting(table: Table, width: int) -> Iterator[Table]:
    """Yield a table with a column for each run as several, each of as many runs as a place of some width holds."""
    if not table.wide:
        yield table
        return
    widths = [MARGIN + _narrowest(table, number) for number in range(len(table.headers))]
    shown, used = [0], MARGIN + widths[0]
    pieces: list[list[int]] = []
    for number in range(1, len(table.headers)):
        if used + widths[number] > width and len(shown) > 1:
            pieces.append(shown)
            shown, used = [0], MARGIN + widths[0]
        shown.append(number)
        used += widths[number]
    pieces.append(shown)
    for number, piece in enumerate(pieces, start=1):
        last = number == len(pieces)
        yield replace(
            table,
            title=table.title if len(pieces) == 1 else joined(" ", (table.title, f"({number}/{len(pieces)})")),
            headers=tuple(table.headers[column] for column in piece),
            rows=tuple(tuple(row[column] for column in piece) for row in table.rows),
            footnotes=table.footnotes if last else (),
        )


MARGIN = 1
HEADER = 12
"""Characters of a run's name that stand in one line; a longer one is broken."""


def _narrowest(table: Table, column: int) -> int:
    """How narrow a column may be: a run's figures are never broken, other text between words."""
    cells = [row[column] for row in table.rows]
    texts = cells if table.wide else [word for cell in cells for word in cell.split(" ")]
    return max(min(len(table.headers[column]), HEADER), *map(len, texts), 0)


def _numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows if row[column]]
    return bool(cells) and all(cell[0] in "0123456789+-–" for cell in cells)


def _style(cell: str) -> str:
    if cell in (WITHIN, ABOVE):
        return "green"
    return "red" if cell in (DIFFERS, NO_MEASUREMENT, BELOW) else "yellow" if cell in (NOT_COMPARABLE, LIKE) else ""


def _markdown(cell: str) -> str:
    """Escape what Markdown would take for its own: bars end a cell, and angle brackets open a tag."""
    text = cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
    return " ".join(text.split())
