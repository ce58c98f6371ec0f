"""Damages files by the thousand and prints how the cases ended: python -m tests.fuzz --help."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "fuzz"), str(TESTS)]

from cases import OUTCOMES, RIGHT, SECONDS, Kind, run_cases  # noqa: E402
from conftest import train_tokenizer  # noqa: E402
from kinds import checkpoints, data_files, reports, results  # noqa: E402

NAMES = ("checkpoints", "results", "data files", "reports")


def make(name: str, folder: Path) -> Kind:
    """Writes the whole files of a kind."""
    if name == "checkpoints":
        (folder / "vocabulary").mkdir()
        tokenizer = train_tokenizer(folder / "vocabulary", dummy_prefix=True)
        return checkpoints(folder / "checkpoints", tokenizer)
    return {"results": results, "data files": data_files, "reports": reports}[name](folder)


def main() -> int:
    """Runs the cases, and returns 1 where one ended wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Read damaged files.")
    parser.add_argument("kinds", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--cases", type=int, default=500, help="of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case (default: %(default)s)")
    asked = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    logging.disable(logging.CRITICAL)
    table = []
    failed = False
    for name in asked.kinds:
        with tempfile.TemporaryDirectory() as folder:
            kind = make(name, Path(folder))
            begun = time.monotonic()
            ended, wrong = run_cases(kind, range(asked.seed, asked.seed + asked.cases))
        for case in wrong:
            print(f"{name} --seed {case.seed}: {case.file}, {case.damage}: {case.outcome}\n  {case.said}\n")
        failed |= any(ended[outcome] for outcome in OUTCOMES if outcome not in RIGHT)
        took = f"{time.monotonic() - begun:.0f} s"
        table.append((name, sum(ended.values()), *(ended[outcome] for outcome in OUTCOMES), took))
    print(f"(each case at most {SECONDS} s)")
    print("| " + " | ".join(("kind", "cases", *OUTCOMES, "time")) + " |\n|" + "---|" * (len(OUTCOMES) + 3))
    for row in table:
        print("| " + " | ".join(map(str, row)) + " |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
