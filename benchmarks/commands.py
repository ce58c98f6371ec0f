"""Whole commands, as a user starts them, from the shell's prompt to the next: the start, the questions, the answers.

    python benchmarks/commands.py --data DIR --tokenizer tokenizer.model             # a few minutes

The first run of a command finds nothing kept (the index of tasks), as after an installation; the others find what the
first left, and their median counts. ceval_5shot_val is answered by a Baichuan of random weights, 12 x 768 in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from machine import data_options, machine
from scoring import save_checkpoint
from scoring_run import SHAPES
from tqdm import tqdm


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_options(parser)
    parser.add_argument("--shape", default="12x768", choices=SHAPES)
    parser.add_argument("--limit", type=int, help="questions a subject of ceval_5shot_val, for a quick try")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each command after its first")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON as well")
    return parser.parse_args()


def commands(options: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """What is timed, by what it is."""
    lm_eval = str(Path(sys.executable).with_name("lm_eval"))
    save_checkpoint(folder / "baichuan", options.tokenizer, SHAPES[options.shape])
    limit = [] if options.limit is None else ["--limit", str(options.limit)]
    return {
        "ls tasks": [lm_eval, "ls", "tasks"],
        "demo_5shot": [lm_eval, "--model", "baichuan", "--model_args", "pretrained=demo", "--tasks", "demo_5shot"],
        "ceval_5shot_val": [
            *(lm_eval, "--model", "baichuan", "--model_args", f"pretrained={folder / 'baichuan'},dtype=float32"),
            *("--tasks", "ceval_5shot_val", "--metadata", f"data_dir={options.data}", "--device", "cpu", *limit),
        ],
    }


def seconds(command: list[str], folder: Path) -> float:
    """Wall time of a command that keeps its caches under a folder."""
    start = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}, cwd=folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return time.perf_counter() - start


def main() -> None:
    options = arguments()
    options.device, options.dtype, options.threads = "cpu", "float32", 0
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        todo = commands(options, folder)
        bar = tqdm(total=len(todo) * (1 + options.repeat), desc="commands", unit="run")
        for what, command in todo.items():
            found[what] = []
            for _ in range(1 + options.repeat):
                found[what].append(seconds(command, folder))
                bar.update()
        bar.close()
    figures: dict[str, Any] = {
        "machine": machine(options, options.shape), "limit": options.limit, "seconds": found,
    }  # fmt: skip
    print(figures["machine"], "", "| `lm_eval …` | first, s | then, s |", "|---|---:|---:|", sep="\n")
    for what, runs in found.items():
        print(f"| {what} | {runs[0]:.1f} | {median(runs[1:]):.1f} ({min(runs[1:]):.1f} to {max(runs[1:]):.1f}) |")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
