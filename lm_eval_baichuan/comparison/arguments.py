"""The arguments that ``compare`` and ``report`` both take."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..languages import LANGUAGES


def add_results_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results file or folder of lm-eval")
    parser.add_argument(
        "--against",
        metavar="ROW|RUN",
        help="published row, such as Baichuan-7B, or results file or folder of another run; default: the row named "
        "like the model",
    )
    parser.add_argument(
        "--confidence", type=_share, default=0.95, metavar="SHARE", help="of the intervals; default: %(default)s"
    )
    parser.add_argument(
        "--lang", choices=list(LANGUAGES), default="en", help="language of what is read by people; default: %(default)s"
    )
    parser.add_argument(
        "--x",
        type=lambda text: text.split(","),
        metavar="X,…",
        help="where each run's checkpoint stands in its training, such as 500,1000,1500 or 220B,1.2T; default: read "
        "from names such as checkpoint-500",
    )


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value
