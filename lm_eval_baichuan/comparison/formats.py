"""Writes a comparison for the terminal, as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..printable import printable, spreadsheet_cell
from .outcome import Outcome
from .tables import QUESTION, SHOWN_CHANGES, Table, certificate_line, paper_row, unequal_certificates
from .verdicts import DIFFERS, NO_MEASUREMENT, Line


def to_terminal(outcome: Outcome, width: int | None = None) -> str:
    """Return the tables for a terminal, in colour where it has any."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(width=width)
    with console.capture() as captured:
        for table in outcome.tables(SHOWN_CHANGES):
            drawn = RichTable(title=Text(printable(table.title)), title_justify="left", box=SIMPLE_HEAD, padding=0)
            for number, header in enumerate(table.headers):
                numeric = _numeric(table, number)
                cut = header == QUESTION  # a long line of a question says no more than its beginning
                drawn.add_column(
                    Text(printable(header)),
                    justify="right" if numeric else "left",
                    no_wrap=numeric or cut or header == "verdict",
                    overflow="ellipsis" if cut else "fold",
                )
            for row in table.rows:
                drawn.add_row(*(Text(printable(cell), style=_style(cell)) for cell in row))
            console.print(drawn)
            for footnote in table.footnotes:
                console.print(Text(f"  {printable(footnote)}", style="dim"))
            console.print()
    return captured.get()


def to_markdown(outcome: Outcome) -> str:
    """Return the tables in Markdown."""
    return printable("\n".join(markdown_table(table) for table in outcome.tables(shown_changes=None)))


def markdown_table(table: Table) -> str:
    """Return one table in Markdown, with its title and footnotes."""
    from tabulate import tabulate

    rows = [[_markdown(cell) for cell in row] for row in table.rows]
    headers = [_markdown(header) for header in table.headers]
    drawn = tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)
    footnotes = "".join(f"- {_markdown(footnote)}\n" for footnote in table.footnotes)
    return f"### {_markdown(table.title)}\n\n{drawn}\n\n{footnotes}"


def to_latex(outcome: Outcome) -> str:
    """Return the rows that papers print, ready for a document that uses booktabs."""
    return printable(latex_table(paper_row(outcome.comparisons, outcome.published)))


def latex_table(table: Table) -> str:
    """Return one table in LaTeX (booktabs), its text escaped."""
    from tabulate import tabulate

    alignment = ["left", *["right"] * (len(table.headers) - 1)]
    drawn = tabulate(
        table.rows, headers=table.headers, tablefmt="latex_booktabs", disable_numparse=True, colalign=alignment
    )
    return f"{drawn}\n" + "".join(f"% {footnote}\n" for footnote in table.footnotes)


def to_csv(outcome: Outcome) -> str:
    """Return the comparison's lines, one a row, or for two runs with samples also what changed, below."""
    text = io.StringIO()
    unequal = unequal_certificates(outcome.comparisons)
    records = [
        record(line) | {"certificate": certificate_line(comparison), "unequal_certificates": unequal}
        for comparison in outcome.comparisons
        for line in comparison.lines
    ]
    _write_csv(text, records)
    if outcome.pairing:
        text.write("\n")
        _write_csv(text, [asdict(change) | {"change": change.kind} for change in outcome.pairing.changes])
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
                "certificate": certificate_line(comparison),
                "certificates": [asdict(own) | {"tasks": tasks} for own, tasks in comparison.certificates],
                "lines": [record(line) | _lists(line) for line in comparison.lines],
            }
            for comparison in outcome.comparisons
        ],
        "unequal_certificates": unequal_certificates(outcome.comparisons),
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


def record(line: Line) -> dict[str, Any]:
    """A line of the comparison by name of its columns, as CSV and JSON have it."""
    figure = line.figure
    return {
        "run": line.run,
        "suite": line.suite,
        "benchmark": line.benchmark,
        "part": line.part,
        "ours": round(line.ours.value, 4),
        "low": round(line.ours.low, 4),
        "high": round(line.ours.high, 4),
        "interval": line.ours.method,
        "questions": line.asked,
        "published": figure.printed if figure else None,
        "difference": None if line.difference is None else round(line.difference, 4),
        "verdict": line.verdict,
        "reasons": "; ".join(line.reasons),
        "notes": "; ".join(line.notes),
        "ties": line.ties.questions,
        "ties_of": line.ties.of,
        "ties_warning": line.ties_warning,
        "document": figure.document if figure else None,
        "table": figure.table if figure else None,
        "row": figure.row if figure else None,
        "split": figure.split if figure else None,
        "protocol": figure.protocol if figure else None,
    }


def _lists(line: Line) -> dict[str, Any]:
    return {"reasons": list(line.reasons), "notes": list(line.notes)}


def _write_csv(text: io.StringIO, records: Sequence[dict[str, Any]]) -> None:
    if records:
        writer = csv.DictWriter(text, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in records)


def _numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows]
    return bool(cells) and all(cell and cell[0] in "0123456789+-–" for cell in cells)


def _style(cell: str) -> str:
    if cell.startswith("within"):
        return "green"
    return "red" if cell in (DIFFERS, NO_MEASUREMENT) else "yellow" if cell.startswith("not comparable") else ""


def _markdown(cell: str) -> str:
    """Escape what Markdown would take for its own: bars end a cell, and angle brackets open a tag."""
    text = cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
    return " ".join(text.split())
