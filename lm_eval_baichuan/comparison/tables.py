"""The comparison as plain tables of text, which the terminal, Markdown and the page each draw in their own way."""

from __future__ import annotations

from collections.abc import Sequence

from ..published import PublishedTables
from ..results import AVERAGE
from .checked import alike, certificate_words, unequal
from .columns import scores_table
from .condition import note
from .pairing import Pairing
from .spread import Spread
from .table import INDENT, NOTHING, Marks, Table
from .titles import part_title as part_title
from .verdicts import Comparison, Line

SHOWN_CHANGES = 20
QUESTION = "question begins"
CONTEXT_OF_CHANGE = 40


def comparison_table(comparison: Comparison, confidence: float) -> Table:
    """Return a run beside its published row, or where it has none beside what answering at random scores.

    Beside the row there is a line for each average, and its categories below it.
    """
    if comparison.row is None or not comparison.published:
        title = f"{comparison.run.name} against chance"
        return scores_table(title, comparison.scores, confidence, _footnotes(comparison, comparison.lines))
    marks = Marks()
    rows = tuple(
        (
            line.title if line.part == AVERAGE else f"{INDENT}{part_title(line.part)}",
            marks.cell(f"{line.ours.value:.2f}", line.caveats, of=line.suite),
            f"{line.ours.low:.2f}–{line.ours.high:.2f}",
            line.figure.printed if line.figure else NOTHING,
            NOTHING if line.difference is None else f"{line.difference:+.2f}",
            str(line.asked),
            line.verdict,
        )
        for line in comparison.lines
    )
    headers = ("benchmark", "ours", f"{100 * confidence:g} % CI", "published", "diff.", "n", "verdict")
    footnotes = (*marks.footnotes, *_footnotes(comparison, comparison.lines))
    return Table(f"{comparison.run.name} against {comparison.row.name}", headers, rows, footnotes)


def others_table(comparison: Comparison, confidence: float) -> Table | None:
    """Return what a run with a published row measured by tasks of lm-eval's own; None where it did not."""
    others = [score for score in comparison.scores if score.key[0] not in {line.suite for line in comparison.lines}]
    if not others or not comparison.published:
        return None
    return scores_table(f"{comparison.run.name}, tasks that are not this package's", others, confidence)


def _footnotes(comparison: Comparison, lines: Sequence[Line]) -> tuple[str, ...]:
    """Say of each average what else is to know than its marks say, where its figure stands, and what was checked.

    What is to know of a category is to know of its average too, so that is said once.
    """
    holding: dict[str, dict[str, None]] = {}
    averages = [line for line in lines if line.part == AVERAGE]
    for line in averages:
        if line.ties_warning and not line.ties.degenerate:
            holding.setdefault(line.ties_warning, {})[line.title] = None
        for condition in line.found:
            if not condition.short:
                holding.setdefault(condition.text, {})[line.title] = None
    for line in averages:
        if line.figure:
            holding.setdefault(f"published {line.figure.printed}: {line.figure.source}", {})[line.title] = None
            holding.setdefault(f"published protocol: {line.figure.protocol}", {})[line.title] = None
    footnotes = [f"{', '.join(titles)}: {text}" for text, titles in holding.items()]
    marked = {caveat.text for line in averages for caveat in line.caveats}
    if comparison.certificates and certificate_line(comparison) not in marked:
        footnotes.append(certificate_line(comparison))
    return (*footnotes, *(f"left out: {reason}" for reason in comparison.run.left_out))


def certificate_line(comparison: Comparison) -> str:
    """Return what was checked before a run scored, or that nothing was."""
    return certificate_words(comparison.certificates, len(comparison.run.tasks))


def unequal_certificates(comparisons: Sequence[Comparison]) -> str | None:
    """Return a sentence on runs that were not checked alike, or None where all were."""
    return unequal({c.run.name: c.certificates for c in comparisons if c.certificates})


def certificate_table(comparisons: Sequence[Comparison]) -> Table:
    """Return what was checked before each of several runs scored."""
    together = alike([comparison.certificates for comparison in comparisons])
    if together:
        rows: tuple[tuple[str, ...], ...] = ((f"all {len(comparisons)} runs", together.words),)
    else:
        rows = tuple((comparison.run.name, certificate_line(comparison)) for comparison in comparisons)
    sentence = unequal_certificates(comparisons)
    headers = ("run", "scores beside the model's own forward")
    return Table("Certificates", headers, rows, (sentence,) if sentence else ())


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

    What a figure is not stands in marks beside it, and a row that is nowhere the published measure says so. Below
    stands what was checked before each run scored. There are no rows where no run was asked what was published.
    """
    names = [name for name in published.benchmarks if name != "jec_qa"]
    marks = Marks()
    rows: list[tuple[str, ...]] = []
    beside = [comparison.row.name for comparison in comparisons if comparison.row and comparison.published]
    for row in dict.fromkeys(beside):
        cells = [_published_cell(marks, published, row, name) for name in names]
        rows.append((f"{row} (published)", *cells))
    asked = [comparison for comparison in comparisons if any(line.benchmark in names for line in comparison.lines)]
    for comparison in asked:
        lines = [_line_of(comparison, name) for name in names]
        cells = [marks.cell(f"{line.ours.value:.2f}", line.caveats, of=f"{line.run} {line.suite}") if line else EMPTY
                 for line in lines]  # fmt: skip
        whole = any(not line.reasons and not line.ties.degenerate for line in lines if line)
        rows.append((comparison.run.name if whole else f"{comparison.run.name} {NOT_PUBLISHED}", *cells))
    titles = [published.benchmarks[name].title for name in names]
    kept = [0, *(number for number in range(1, len(names) + 1) if any(row[number] != EMPTY for row in rows))]
    rows = [tuple(row[number] for number in kept) for row in rows]
    footnotes = [*marks.footnotes]
    footnotes += [f"{comparison.run.name}: {certificate_line(comparison)}" for comparison in asked]
    headers = tuple(("Model", *titles)[number] for number in kept)
    return Table("5-shot accuracy, %", headers, tuple(rows), tuple(footnotes))


EMPTY = "-"
NOT_PUBLISHED = "(not the published measure)"


def _published_cell(marks: Marks, published: PublishedTables, row: str, name: str) -> str:
    """A row's published figures of a benchmark, marked where they are not on the split that most rows are on."""
    figures = published.of(row, name, AVERAGE)
    printed = " / ".join(dict.fromkeys(figure.printed for figure in figures))
    most = published.benchmarks[name].split
    others = sorted({figure.split for figure in figures if figure.split and figure.split != most})
    caveats = [note(f"published on the {split} split; most rows on {most}", short=f"{split} split") for split in others]
    return marks.cell(printed, caveats, of=row) if printed else EMPTY


def _line_of(comparison: Comparison, benchmark: str) -> Line | None:
    """A run's line of a benchmark: that of the suite that comes nearest to the published measure."""
    lines = [line for line in comparison.lines if line.benchmark == benchmark and line.part == AVERAGE]
    return min(lines, key=lambda line: bool(line.reasons), default=None)
