"""The comparison as plain tables of text, which the terminal, Markdown and the page each draw in their own way."""

from __future__ import annotations

from collections.abc import Sequence

from ..languages import joined, say
from ..published import PublishedTables
from ..results import AVERAGE
from .checked import alike, certificate_words, unequal
from .columns import bounds, scores_table
from .condition import Condition, note
from .pairing import Pairing
from .spread import Spread
from .table import INDENT, NOTHING, Marks, Table
from .titles import part_title
from .verdicts import Comparison, Line

SHOWN_CHANGES = 20
QUESTION = say("question begins")
CONTEXT_OF_CHANGE = 40


def comparison_table(comparison: Comparison, confidence: float) -> Table:
    """Return a run beside its published row, or where it has none beside what answering at random scores.

    Beside the row there is a line for each average, and its categories below it.
    """
    if comparison.row is None or not comparison.published:
        title = say("{run} against chance", run=comparison.run.name)
        return scores_table(title, comparison.scores, confidence, _footnotes(comparison, comparison.lines))
    marks = Marks()
    rows = tuple(
        (
            line.title if line.part == AVERAGE else joined("", (INDENT, part_title(line.part))),
            marks.cell(f"{line.ours.value:.2f}", line.caveats, of=line.suite),
            bounds(line.ours),
            line.figure.printed if line.figure else NOTHING,
            NOTHING if line.difference is None else f"{line.difference:+.2f}",
            str(line.asked),
            line.verdict,
        )
        for line in comparison.lines
    )
    interval = say("{share:g} % CI", share=100 * confidence)
    headers = (say("benchmark"), say("ours"), interval, say("published"), say("diff."), "n", say("verdict"))
    footnotes = (*marks.footnotes, *_footnotes(comparison, comparison.lines))
    return Table(
        say("{run} against {other}", run=comparison.run.name, other=comparison.row.name), headers, rows, footnotes
    )


def others_table(comparison: Comparison, confidence: float) -> Table | None:
    """Return what a run with a published row measured by tasks of lm-eval's own; None where it did not."""
    others = [score for score in comparison.scores if score.key[0] not in {line.suite for line in comparison.lines}]
    if not others or not comparison.published:
        return None
    return scores_table(say("{run}, tasks that are not this package's", run=comparison.run.name), others, confidence)


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
            source = say("published {printed}: {source}", printed=line.figure.printed, source=line.figure.source)
            holding.setdefault(source, {})[line.title] = None
            holding.setdefault(say("published protocol: {protocol}", protocol=line.figure.protocol), {})[line.title] = (
                None
            )
    footnotes: list[str] = [joined(": ", (", ".join(titles), text)) for text, titles in holding.items()]
    marked = {caveat.text for line in averages for caveat in line.caveats}
    if comparison.certificates and certificate_line(comparison) not in marked:
        footnotes.append(certificate_line(comparison))
    return (*footnotes, *(say("left out: {reason}", reason=reason) for reason in comparison.run.left_out))


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
        rows: tuple[tuple[str, ...], ...] = ((say("all {count} runs", count=len(comparisons)), together.words),)
    else:
        rows = tuple((comparison.run.name, certificate_line(comparison)) for comparison in comparisons)
    sentence = unequal_certificates(comparisons)
    headers = (say("run"), say("scores beside the model's own forward"))
    return Table(say("Certificates"), headers, rows, (sentence,) if sentence else ())


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
    headers = (say("benchmark"), say("runs"), say("mean"), say("standard deviation"), say("range"), say("each"))
    return Table(say("Spread of several runs of one model"), headers, rows)


def pairing_tables(pairing: Pairing, shown: int | None = SHOWN_CHANGES) -> list[Table]:
    """Return what changed between two runs.

    Args:
        pairing: The two runs.
        shown: How many subjects and questions to list; None for all.
    """
    second_right, second_wrong = say("{run} right", run=pairing.second), say("{run} wrong", run=pairing.second)
    outcome = Table(
        say("{first} and {second}, question by question", first=pairing.first, second=pairing.second),
        ("", second_right, second_wrong),
        (
            (say("{run} right", run=pairing.first), str(pairing.both_right), str(pairing.only_first)),
            (say("{run} wrong", run=pairing.first), str(pairing.only_second), str(pairing.both_wrong)),
        ),
        (
            say(
                "McNemar's exact test that both are right equally often: p = {p:.4g} ({first} against {second} of "
                "{all} questions)",
                p=pairing.p_value,
                first=pairing.only_first,
                second=pairing.only_second,
                all=pairing.paired,
            ),
            *([say("{n} questions were logged by one of them only", n=pairing.unpaired)] if pairing.unpaired else []),
        ),
    )
    counted = (say("gained"), say("lost"), say("other wrong label"))
    by_subject = pairing.by_subject()
    subjects = Table(
        say("Changed answers by subject"),
        (say("benchmark"), say("subject"), *counted),
        tuple((row[0], row[1], *map(str, row[2:])) for row in by_subject[:shown]),
        _more(len(by_subject), shown, say("subjects")),
    )
    labels = Table(
        say("Changed answers by label"),
        (pairing.first, pairing.second, *counted),
        tuple((row[0], row[1], *map(str, row[2:])) for row in pairing.by_label()),
    )
    changes = Table(
        say("Changed answers"),
        (say("subject"), say("number"), QUESTION, say("answer"), pairing.first, pairing.second, say("change")),
        tuple(
            (c.subject, str(c.doc_id), _begin(c.question), c.answer, c.first, c.second, _kind(c.kind))
            for c in pairing.changes[:shown]
        ),
        _more(len(pairing.changes), shown, say("changed answers")),
    )
    return [outcome, subjects, labels, changes]


def _more(found: int, shown: int | None, what: str) -> tuple[str, ...]:
    hidden = 0 if shown is None else max(0, found - shown)
    return (
        (say("and {hidden} more {what}: compare --format markdown or json lists all", hidden=hidden, what=what),)
        if hidden
        else ()
    )


def _kind(kind: str) -> str:
    """What changed, as it is said."""
    return {"gained": say("gained"), "lost": say("lost")}.get(kind, say("other wrong label"))


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
        rows.append((say("{row} (published)", row=row), *cells))
    asked = [comparison for comparison in comparisons if any(line.benchmark in names for line in comparison.lines)]
    for comparison in asked:
        lines = [_line_of(comparison, name) for name in names]
        cells = [marks.cell(f"{line.ours.value:.2f}", line.caveats, of=f"{line.run} {line.suite}") if line else EMPTY
                 for line in lines]  # fmt: skip
        whole = any(not line.reasons and not line.ties.degenerate for line in lines if line)
        rows.append((comparison.run.name if whole else joined(" ", (comparison.run.name, NOT_PUBLISHED)), *cells))
    titles = [published.benchmarks[name].title for name in names]
    kept = [0, *(number for number in range(1, len(names) + 1) if any(row[number] != EMPTY for row in rows))]
    rows = [tuple(row[number] for number in kept) for row in rows]
    footnotes = [*marks.footnotes]
    footnotes += [joined(": ", (comparison.run.name, certificate_line(comparison))) for comparison in asked]
    headers = tuple((say("Model"), *titles)[number] for number in kept)
    return Table(say("5-shot accuracy, %"), headers, tuple(rows), tuple(footnotes))


EMPTY = "-"
NOT_PUBLISHED = say("(not the published measure)")


def _published_cell(marks: Marks, published: PublishedTables, row: str, name: str) -> str:
    """A row's published figures of a benchmark, marked where they are not on the split that most rows are on."""
    figures = published.of(row, name, AVERAGE)
    printed = " / ".join(dict.fromkeys(figure.printed for figure in figures))
    most = published.benchmarks[name].split
    others = sorted({figure.split for figure in figures if figure.split and figure.split != most})
    caveats = [_other_split(split, str(most)) for split in others]
    return marks.cell(printed, caveats, of=row) if printed else EMPTY


def _other_split(split: str, most: str) -> Condition:
    text = say("published on the {split} split; most rows on {most}", split=split, most=most)
    return note(text, short=say("{splits} split", splits=split))


def _line_of(comparison: Comparison, benchmark: str) -> Line | None:
    """A run's line of a benchmark: that of the suite that comes nearest to the published measure."""
    lines = [line for line in comparison.lines if line.benchmark == benchmark and line.part == AVERAGE]
    return min(lines, key=lambda line: bool(line.reasons), default=None)
