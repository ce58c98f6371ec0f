"""Write the comparison as one HTML page that opens offline, with charts, subjects, answers and all logged questions.

Takes results files or the folders that lm-eval's --output_path wrote, as compare does. Run lm_eval with --log_samples
to have the questions in it, and what the model answered.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..comparison.command import add_results_arguments, find_outcome
from ..comparison.pairing import read_logged
from ..comparison.requirements import need_report_extra
from ..results import read_runs

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
    need_report_extra("scipy", "matplotlib", "tabulate")
    from tqdm import tqdm

    from .charts import save_picture
    from .page import build_page

    runs = read_runs(args.results)
    logged = [read_logged(one) for one in tqdm(runs, desc="reading samples", unit="run", disable=None)]
    outcome = find_outcome(runs, args.against, args.confidence, logged)
    page = build_page(runs, outcome, logged)
    args.output.write_text(page, encoding="utf-8", errors="surrogatepass")
    print(f"{args.output}: {len(page.encode('utf-8', 'surrogatepass')) / 1e6:.1f} MB", file=sys.stderr)
    if args.png:
        save_picture([line for comparison in outcome.comparisons for line in comparison.lines], args.png)
        print(args.png, file=sys.stderr)
    return 0


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in PICTURE_FORMATS:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(PICTURE_FORMATS)}")
    return path
