"""The comparison as plain tables of text, which the terminal, Markdown and the page each draw in their own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..published import PublishedTables
from ..results import AVERAGE
from .pairing import Pairing
from .spread import Spread
from .verdicts import NO_MEASUREMENT, Comparison

NOTHING = "–"
INDENT = "\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}"
SHOWN_CHANGES = 20
QUESTION = "question begins"
CONTEXT_OF_CHANGE = 40


@dataclass(frozen=True)
class Table:
    """A table of text with what stands above and below it."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...] = field(default=())


def part_title(part: str) -> str:
    """Return a category as the published tables head its column."""
    titles = {
        "jec_qa": "JEC-QA",
        "social_science": "Social Sciences",
        "social_sciences": "Social Sciences",
        "stem": "STEM",
        "without_jec_qa": "without JEC-QA",
    }
    return titles.get(part, part.replace("_", " ").capitalize())


def comparison_table(comparison: Comparison, confidence: float) -> Table:
    """Return a run beside its published row: a line for each average, and its categories below it."""
    against = comparison.row.name if comparison.row else NOTHING
    rows = tuple(
        (
            line.title if line.part == AVERAGE else f"{INDENT}{part_title(line.part)}",
            f"{line.ours.value:.2f}",
            f"{line.ours.low:.2f}–{line.ours.high:.2f}",
            line.figure.printed if line.figure else NOTHING,
            NOTHING if line.difference is None else f"{line.difference:+.2f}",
            str(line.asked),
            line.verdict,
        )
        for line in comparison.lines
    )
    headers = ("benchmark", "ours", f"{100 * confidence:g} % CI", "published", "diff.", "n", "verdict")
    return Table(f"{comparison.run.name} against {against}", headers, rows, tuple(_footnotes(comparison)))


def _footnotes(comparison: Comparison) -> list[str]:
    """Say of each average why it is not comparable, what else to know, where its figure stands, and what was checked.

    What sets a category apart sets its average apart too, so that is said once.
    """
    holding: dict[str, dict[str, None]] = {}
    averages = [line for line in comparison.lines if line.part == AVERAGE]
    for line in averages:
        if line.ties_warning:
            holding.setdefault(line.ties_warning, {})[line.title] = None
        for reason in line.reasons:
            holding.setdefault(f"not comparable: {reason}", {})[line.title] = None
    for line in averages:
        for note in line.notes:
            holding.setdefault(note, {})[line.title] = None
    for line in averages:
        if line.figure:
            holding.setdefault(f"published {line.figure.printed}: {line.figure.source}", {})[line.title] = None
            holding.setdefault(f"published protocol: {line.figure.protocol}", {})[line.title] = None
    footnotes = [f"{', '.join(titles)}: {text}" for text, titles in holding.items()]
    return [*footnotes, certificate_line(comparison), *(f"left out: {reason}" for reason in comparison.run.left_out)]


def certificate_line(comparison: Comparison) -> str:
    """Return what was checked before a run scored, or that nothing was."""
    found = comparison.certificates
    if len(found) == 1:
        return found[0][0].words
    return "; ".join(f"{tasks} of {len(comparison.run.tasks)} tasks {own.words}" for own, tasks in found)


def unequal_certificates(comparisons: Sequence[Comparison]) -> str | None:
    """Return a sentence on runs that were not checked alike, or None where all were."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for comparison in comparisons:
        kind = tuple(sorted({certificate.kind for certificate, _ in comparison.certificates}))
        kinds.setdefault(kind, []).append(comparison.run.name)
    if len(kinds) < 2:
        return None
    said = "; ".join(f"{', '.join(names)}: {' and '.join(kind)}" for kind, names in kinds.items())
    return f"These runs were not checked alike, so a difference between their scores may lie in how they scored. {said}"


def certificate_table(comparisons: Sequence[Comparison]) -> Table:
    """Return what was checked before each of several runs scored."""
    rows = tuple((comparison.run.name, certificate_line(comparison)) for comparison in comparisons)
    unequal = unequal_certificates(comparisons)
    return Table("Certificates", ("run", "scores beside the model's own forward"), rows, (unequal,) if unequal else ())


def spread_table(spreads: Sequence[Spread]) -> Table:
    """Return how far several runs lie apart."""
    rows = tuple(
        (
            spread.title,
            str(len(spread.values)),
            f"{spread.mean:.2f}",
            f"{spread.deviation:.2f}",
            f"{spread.range[0]:.2f}–{spread.range[1]:.2f}",
            ", ".join(f"{name}: {value:.2f}" for name, value in spread.values.items()),
        )
        for spread in spreads
    )
    headers = ("benchmark", "runs", "mean", "standard deviation", "range", "each")
    return Table("Spread of several runs of one model", headers, rows)


def pairing_tables(pairing: Pairing, shown: int | None = SHOWN_CHANGES) -> list[Table]:
    """Return what changed between two runs.

    Args:
        pairing: The two runs.
        shown: How many subjects and questions to list; None for all.
    """
    second_right, second_wrong = f"{pairing.second} right", f"{pairing.second} wrong"
    outcome = Table(
        f"{pairing.first} and {pairing.second}, question by question",
        ("", second_right, second_wrong),
        (
            (f"{pairing.first} right", str(pairing.both_right), str(pairing.only_first)),
            (f"{pairing.first} wrong", str(pairing.only_second), str(pairing.both_wrong)),
        ),
        (
            f"McNemar's exact test that both are right equally often: p = {pairing.p_value:.4g} "
            f"({pairing.only_first} against {pairing.only_second} of {pairing.paired} questions)",
            *([f"{pairing.unpaired} questions were logged by one of them only"] if pairing.unpaired else []),
        ),
    )
    counted = ("gained", "lost", "other wrong label")
    by_subject = pairing.by_subject()
    subjects = Table(
        "Changed answers by subject",
        ("benchmark", "subject", *counted),
        tuple((row[0], row[1], *map(str, row[2:])) for row in by_subject[:shown]),
        _more(len(by_subject), shown, "subjects"),
    )
    labels = Table(
        "Changed answers by label",
        (pairing.first, pairing.second, *counted),
        tuple((row[0], row[1], *map(str, row[2:])) for row in pairing.by_label()),
    )
    changes = Table(
        "Changed answers",
        ("subject", "number", QUESTION, "answer", pairing.first, pairing.second, "change"),
        tuple(
            (c.subject, str(c.doc_id), _begin(c.question), c.answer, c.first, c.second, c.kind)
            for c in pairing.changes[:shown]
        ),
        _more(len(pairing.changes), shown, "changed answers"),
    )
    return [outcome, subjects, labels, changes]


def _more(found: int, shown: int | None, what: str) -> tuple[str, ...]:
    hidden = 0 if shown is None else max(0, found - shown)
    return (f"and {hidden} more {what}: compare --format markdown or json lists all",) if hidden else ()


def _begin(question: str) -> str:
    text = " ".join(question.split())
    return text if len(text) <= CONTEXT_OF_CHANGE else text[:CONTEXT_OF_CHANGE] + "…"


def paper_row(comparisons: Sequence[Comparison], published: PublishedTables) -> Table:
    """Return the rows in the form the papers print: a model, and its average on each benchmark.

    A figure that is not comparable with the published one or no measurement is marked, and a benchmark not asked has a
    dash. Below stands what was checked before each run scored.
    """
    names = [name for name in published.benchmarks if name != "jec_qa"]
    rows: list[tuple[str, ...]] = []
    marks: set[str] = set()
    rows_beside = dict.fromkeys(c.row.name for c in comparisons if c.row)
    for row in rows_beside:
        printed = [" / ".join(dict.fromkeys(f.printed for f in published.of(row, name, AVERAGE))) for name in names]
        rows.append((f"{row} (published)", *(cell or "-" for cell in printed)))
    for comparison in comparisons:
        cells = []
        for name in names:
            lines = [line for line in comparison.lines if line.benchmark == name and line.part == AVERAGE]
            lines.sort(key=lambda line: bool(line.reasons))
            mark = "" if not lines else "†" if lines[0].verdict == NO_MEASUREMENT else "*" if lines[0].reasons else ""
            cells.append("-" if not lines else f"{lines[0].ours.value:.2f}{mark}")
            marks.add(mark)
        rows.append((comparison.run.name, *cells))
    headers = ("Model", *(published.benchmarks[name].title for name in names))
    meanings = {
        "*": "* not measured as the published figure was; the comparison says how",
        "†": "† no measurement: the best labels of most questions are exactly alike",
    }
    footnotes = [meaning for mark, meaning in meanings.items() if mark in marks]
    footnotes += [f"{comparison.run.name}: {certificate_line(comparison)}" for comparison in comparisons]
    footnotes += [unequal] if (unequal := unequal_certificates(comparisons)) else []
    return Table("5-shot accuracy, %", headers, tuple(rows), tuple(footnotes))
