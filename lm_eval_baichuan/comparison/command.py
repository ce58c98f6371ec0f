"""Set results of lm-eval beside the published tables, and two runs beside each other.

Takes results files or the folders that lm-eval's --output_path wrote: a file is a run, a folder the latest result of
each task of one model (a run for each seed). Two runs that logged their samples are paired question by question too.

exit status with --fail-outside, judged by the averages and not the categories:
  0  every average with a published figure is within sampling error of it
  1  one differs
  3  none differs, but one is not comparable or no measurement, or there was no published figure at all
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..model_adapters.places import try_file
from ..published import load_published
from ..results import AVERAGE, Answer, Run, read_logged, read_runs
from .formats import to_csv, to_json, to_latex, to_markdown, to_terminal
from .outcome import Outcome
from .pairing import Pairing, pair
from .requirements import need_report_extra
from .spread import spreads
from .verdicts import DIFFERS, WITHIN, compare

FORMATS = {"table": to_terminal, "markdown": to_markdown, "latex": to_latex, "csv": to_csv, "json": to_json}
OUTSIDE, NOT_JUDGED = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_results_arguments(parser)
    parser.add_argument("--format", choices=list(FORMATS), default="table", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of the terminal")
    parser.add_argument(
        "--fail-outside", action="store_true", help="exit status 1 or 3 unless every average matches; for CI"
    )


def add_results_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``compare`` and ``report`` both take."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results file or folder of lm-eval")
    parser.add_argument(
        "--against",
        metavar="ROW",
        help="published row, such as Baichuan-7B; default: the row named like the model",
    )
    parser.add_argument(
        "--confidence", type=_share, default=0.95, metavar="SHARE", help="of the intervals; default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Compare, print, and return the exit status."""
    need_report_extra("scipy", "rich", "tabulate")
    if args.output:
        try_file(args.output, "-o")
    outcome = find_outcome(read_runs(args.results), args.against, args.confidence)
    text = FORMATS[args.format](outcome)
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return exit_status(outcome) if args.fail_outside else 0


def find_outcome(
    runs: Sequence[Run],
    against: str | None,
    confidence: float,
    logged: Sequence[Mapping[str, list[Answer]]] | None = None,
) -> Outcome:
    """Compare runs with a published row, and two runs with each other.

    Args:
        runs: The runs.
        against: Name of the published row, or None for the one each model is called after.
        confidence: Coverage of the intervals, 0 to 1.
        logged: Each run's samples by task; None to read them here, where there are two runs to pair.

    Raises:
        PublishedError: no published row is called ``against``.
        ResultsError: samples of two runs are damaged or do not fit together.
    """
    published = load_published()
    row = published.model(against) if against else None
    if logged is None:
        logged = [read_logged(one) if len(runs) == 2 else {} for one in runs]
    comparisons = tuple(
        compare(one, row, published, confidence, samples) for one, samples in zip(runs, logged, strict=True)
    )
    pairing: Pairing | None = pair(runs[0], runs[1], logged[0], logged[1]) if len(runs) == 2 else None
    return Outcome(comparisons, tuple(spreads(comparisons)), pairing, published, confidence)


def exit_status(outcome: Outcome) -> int:
    """Return the status that ``--fail-outside`` promises.

    Where sources print different figures for the same, matching one of them is enough.
    """
    verdicts: dict[tuple[str, str], set[str]] = {}
    for comparison in outcome.comparisons:
        for line in comparison.lines:
            if line.part == AVERAGE and line.figure:
                verdicts.setdefault((line.run, line.suite), set()).add(line.verdict)
    outside = [found for found in verdicts.values() if WITHIN not in found]
    if any(DIFFERS in found for found in outside):
        return OUTSIDE
    return NOT_JUDGED if outside or not verdicts else 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value
