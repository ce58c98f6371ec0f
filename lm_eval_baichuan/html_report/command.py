"""Write the comparison as one HTML page that opens offline, with charts, subjects, answers and all logged questions.

Takes results files or the folders that lm-eval's --output_path wrote, as compare does. Run lm_eval with --log_samples
to have the questions in it, and what the model answered.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..comparison.arguments import add_results_arguments
from ..model_adapters.places import try_file
from .report import write_report

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


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in PICTURE_FORMATS:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(PICTURE_FORMATS)}")
    return path
