"""The benchmark that a machine with a GPU is to run, tried out on the CPU: its figures, and their table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_scoring_writes_its_figures_and_their_table(small_data: Path, small_tokenizer: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = [
        "--shape",
        "2x64",
        "--threads",
        "1",
        "--questions",
        "6",
        "--sample",
        "3",
        "--repeat",
        "2",
        "--no-growth",
        "--own-data",
    ]
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(REPOSITORY / "benchmarks" / "scoring.py"), *options]
        + ["--data", str(small_data), "--tokenizer", str(small_tokenizer), "--out", str(out)],
        env={**os.environ, "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(out.read_text("utf-8"))
    (piece,) = figures["task"]["pieces"]
    assert piece["questions"] == 6 and piece["requests"] == 24
    assert piece["tokens"] < piece["sent"]
    assert abs(piece["plain_pairs"] / piece["pairs"] - 1) < 0.05  # the floor has about as many
    assert piece["difference"] < 1e-4 and len(piece["trie_runs"]) == 2
    assert 0 < figures["task"]["matrix_share"] < 1.5
    lines = done.stdout.splitlines()
    assert figures["machine"] in lines and "float32; 2x64" in figures["machine"]
    (trie,) = (line for line in lines if line.startswith("| trie |"))
    assert f"(the memory plan: {piece['planned'] / 2**20:.0f})" in trie
    for row in ("| (a) hf, batches of ", "| (b) plain forward", "| nothing shared, 3 requests"):
        assert any(line.startswith(row) for line in lines), row
    assert any(line.startswith("Measured matrix rate") for line in lines)


def test_the_tables_and_the_picture_show_the_figures_that_were_kept() -> None:
    folder = REPOSITORY / "benchmarks"
    text, picture = (folder / "README.md").read_text("utf-8"), (REPOSITORY / "docs" / "growth.svg").read_text("utf-8")
    rows = json.loads((folder / "growth.json").read_text("utf-8"))["growth"]
    ratios = {(row["prefix"], row["questions"]): f"{row['hf'] / row['trie']:.1f}" for row in rows}
    for row in rows:
        prefix, questions = row["prefix"], row["questions"]
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {prefix} | {questions} |"))
        cells = line.split(" | ")
        assert cells[2:4] == [f"{row['trie']:.2f}", f"{row['trie'] / row['plain']:.2f}"]
        assert cells[5] == ratios[prefix, questions]
    most = max(questions for _, questions in ratios)
    assert all(f">{ratio}<" in picture for (_, questions), ratio in ratios.items() if questions == most)

    for name in ("generation", "generation_window", "generation_states"):
        generated = json.loads((folder / f"{name}.json").read_text("utf-8"))
        assert generated["equal"] == generated["questions"] == 64
        assert f"{generated['ratio']:.2f} times" in text.replace("\n", " ")
        for seconds in generated["seconds"].values():
            assert f"{seconds[0]:.1f}" in text
        for readme in ("README.md", "README.zh-CN.md"):
            assert f"{generated['ratio']:.1f}" in (REPOSITORY / readme).read_text("utf-8")

    task = json.loads((folder / "scoring.json").read_text("utf-8"))["task"]
    total = {name: sum(piece[name] for piece in task["pieces"]) for name in ("hf", "trie")}
    assert sum(piece["questions"] for piece in task["pieces"]) == 1346
    assert f"**{total['hf'] / total['trie']:.2f}**" in text
    assert f"**{total['hf'] / task['at_once']['trie']:.2f}**" in text
    for readme, times in (("README.md", "times"), ("README.zh-CN.md", "倍")):
        shown = (REPOSITORY / readme).read_text("utf-8")
        assert f"| {total['hf'] / task['at_once']['trie']:.1f} {times}" in shown and "docs/growth.svg" in shown
        for peer in ("vllm", "llama_cpp"):
            asked = sum(piece[peer]["seconds"] for piece in task["pieces"]) / total["trie"]
            assert f"| {asked:.1f} {times}" in shown, (readme, peer)
