"""Questions for offline use: fill a folder with the benchmarks' data, or tell what a folder holds.

The folder then serves as `--metadata data_dir=DIR`, or as the environment variable LM_EVAL_BAICHUAN_DATA.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .sources import benchmarks


def _sets(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in benchmarks():
            raise argparse.ArgumentTypeError(f"{name!r} is no set; the sets are {', '.join(benchmarks())}")
    return list(dict.fromkeys(names))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``fetch`` and ``check``."""
    actions = parser.add_subparsers(dest="action", metavar="fetch|check", required=True)
    fetch = actions.add_parser(
        "fetch",
        help="download what is missing or damaged; run again to continue",
        description="Download what is missing or damaged, check it, and record checksums. A broken run continues where "
        "it stopped. A file that is replaced is kept beside the new one. HF_ENDPOINT names a mirror of the hub, "
        "LM_EVAL_BAICHUAN_GITHUB one of raw.githubusercontent.com.",
    )
    check = actions.add_parser(
        "check",
        help="tell which sets are complete, not there, or damaged",
        description="Read every file as the tasks do, and compare with the published rows' hashes and the recorded "
        "checksums. The exit status is 0 if every set is complete, else 1.",
    )
    only_help = f"sets to look at, separated by commas, of: {', '.join(benchmarks())} (default: all)"
    for each in (fetch, check):
        each.add_argument("folder", metavar="DIR", type=Path, help="the data folder")
        each.add_argument("--only", metavar="SETS", type=_sets, default=list(benchmarks()), help=only_help)
    fetch.add_argument(
        "--timeout", metavar="SECONDS", type=int, default=30, help="how long to wait for a server (default: 30)"
    )


def run(args: argparse.Namespace) -> int:
    """Fetch or check."""
    folder = args.folder.expanduser()
    if args.action == "check":
        from .check import check, table

        states = check(folder, args.only)
        print(table(states))
        return 0 if all(state.state == "complete" for state in states) else 1
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):  # read when the library is imported
        os.environ.setdefault(name, str(args.timeout))
    from .fetch import fetch

    fetch(folder, args.only)
    print(f"Complete: {', '.join(args.only)}. Use the folder with: --metadata data_dir={folder}")
    return 0
