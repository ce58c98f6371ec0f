"""Write the comparison as one HTML page that opens offline, with charts, subjects, answers and all logged questions.

Takes results files or the folders that lm-eval's --output_path wrote, as compare does. Run lm_eval with --log_samples
to have the questions in it, and what the model answered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..comparison.arguments import add_results_arguments
from ..comparison.outcome import Outcome, find_outcome
from ..comparison.requirements import need_report_extra
from ..model_adapters.places import try_file
from ..results import read_logged, read_runs

PICTURE_FORMATS = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_results_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument(
        "--png", type=_picture, metavar="FILE", help=f"also write the main chart ({', '.join(PICTURE_FORMATS)})"
    )


def run(args: argparse.Namespace) -> int:
    """Build the page, write it, and return the exit status."""
    try_file(args.output, "-o")
    if args.png:
        try_file(args.png, "--png")
    outcome = write_report(args.results, args.output, args.against, args.confidence, args.lang, args.x)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    if args.png:
        from .picture import save_comparison

        save_comparison(outcome, args.png, args.lang)
        print(args.png, file=sys.stderr)
    return 0


def write_report(
    results: Sequence[Path],
    output: Path,
    against: str | None,
    confidence: float,
    language: str = "en",
    x: Sequence[str] | None = None,
) -> Outcome:
    """Write the page of some results, and return what is on it.

    Args:
        results: Results files, or folders of them.
        output: The page.
        against: As `find_outcome` takes it.
        confidence: Coverage of the intervals, 0 to 1.
        language: Of the page, one of `LANGUAGES`.
        x: As `find_outcome` takes it.
    """
    need_report_extra("scipy", "tabulate", "vl_convert")
    from tqdm import tqdm

    from .page import build_page

    runs = read_runs(results)
    logged = [read_logged(one) for one in tqdm(runs, desc="reading samples", unit="run", disable=None)]
    outcome = find_outcome(runs, against, confidence, logged, x)
    output.write_text(build_page(runs, outcome, logged, language), encoding="utf-8", errors="surrogatepass")
    return outcome


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in PICTURE_FORMATS:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(PICTURE_FORMATS)}")
    return path
