"""Set results of lm-eval beside the published tables, beside chance, and beside each other.

Takes results files or the folders that lm-eval's --output_path wrote: a file is a run, a folder the latest result of
each task of each model, revision and seed. Several runs stand as columns; checkpoints of one training, told by names
such as checkpoint-500, as a curve; runs that logged their samples are paired question by question. Any task of lm-eval
can stand there; published figures are known for this package's.

exit status with --fail-outside, judged by the averages and not the categories:
  0  every average with a published figure is within sampling error of it
  1  one differs
  3  none differs, but one is not comparable or no measurement, or there was no published figure at all, or a results
     file of a folder was cut off
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..languages import Translator
from ..model_adapters.places import try_file
from ..results import AVERAGE, read_runs
from .arguments import add_results_arguments
from .formats import to_csv, to_json, to_latex, to_markdown, to_terminal
from .outcome import Outcome, find_outcome
from .requirements import need_report_extra
from .verdicts import DIFFERS, WITHIN

READ = {"table": to_terminal, "markdown": to_markdown, "latex": to_latex}
DATA = {"csv": to_csv, "json": to_json}
"""For programs: the same in every language."""
FORMATS = {**READ, **DATA}
OUTSIDE, NOT_JUDGED = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_results_arguments(parser)
    parser.add_argument("--format", choices=list(FORMATS), default="table", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of the terminal")
    parser.add_argument(
        "--fail-outside", action="store_true", help="exit status 1 or 3 unless every average matches; for CI"
    )


def run(args: argparse.Namespace) -> int:
    """Compare, print, and return the exit status."""
    need_report_extra("scipy", "rich", "tabulate")
    if args.output:
        try_file(args.output, "-o")
    outcome = find_outcome(read_runs(args.results), args.against, args.confidence, x=args.x)
    data = DATA.get(args.format)
    text = data(outcome) if data else READ[args.format](outcome, Translator(args.lang))
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return exit_status(outcome) if args.fail_outside else 0


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
    cut_off = any(comparison.run.cut_off for comparison in outcome.comparisons)
    return NOT_JUDGED if outside or cut_off or not verdicts else 0
