"""The figures of benchmarks/scoring.py as Markdown."""

from __future__ import annotations

from statistics import median
from typing import Any

MEGA = 2**20
PEERS = {"vllm": ("vLLM, prefix cache", "vllm"), "llama_cpp": ("llama.cpp, one slot", "cyllama")}


def table(figures: dict[str, Any]) -> str:
    """All of them."""
    parts = [figures["machine"]]
    if "task" in figures:
        parts.append(task_table(figures["task"], figures["nothing shared"], figures.get("whole command")))
    if "growth" in figures:
        parts.append(growth_table(figures["growth"]))
    return "\n\n".join(parts)


def spread(values: list[float]) -> str:
    """The least and the most."""
    return f"{min(values):.2f} to {max(values):.2f}"


def task_table(task: dict[str, Any], unshared: dict[str, Any], command: dict[str, float] | None) -> str:
    """The task by all that were measured, and by the trie with nothing shared."""
    pieces = task["pieces"]
    total = {name: sum(piece[name] for piece in pieces) for name in ("trie", "plain", "hf", "tokens", "sent")}
    ratios = [piece["hf"] / piece["trie"] for piece in pieces]
    plain = [ratio for piece in pieces for ratio in piece["plain_ratios"]]
    first = pieces[0]
    planned = f" (the memory plan: {first['planned'] / MEGA:.0f})" if "planned" in first else ""
    lines = [
        f"{sum(piece['questions'] for piece in pieces)} questions in {len(pieces)} pieces, {total['sent']} tokens as "
        f"sent, {total['tokens']} distinct ({total['sent'] / total['tokens']:.2f} times fewer); {first['attention']} "
        f"attention, {first['token_budget']} tokens at once; largest difference of a score to hf "
        f"{max(piece['difference'] for piece in pieces):.1g}",
        "",
        "| | seconds | distinct tokens/s | of the trie's time (pieces) | peak memory above the model, MiB |",
        "|---|---:|---:|---:|---:|",
        f"| trie | {total['trie']:.1f} | {total['tokens'] / total['trie']:.0f} | 1 "
        f"| {max(piece['trie_peak'] for piece in pieces) / MEGA:.0f}{planned} |",
        f"| (a) hf, batches of {task['batch_size']} | {total['hf']:.1f} | {total['tokens'] / total['hf']:.0f} "
        f"| {total['hf'] / total['trie']:.2f} ({spread(ratios)}) "
        f"| {max(piece['hf_peak'] for piece in pieces) / MEGA:.0f} "
        f"(batches of 1: {task['hf_peak_batch_1'] / MEGA:.0f}) |",
        f"| (b) plain forward, as many pairs | {total['plain']:.1f} | {total['tokens'] / total['plain']:.0f} "
        f"| {total['plain'] / total['trie']:.2f} (the trie takes {median(plain):.2f} of it, {spread(plain)}) | |",
    ]
    if "at_once" in task:
        whole = task["at_once"]
        lines.insert(
            -2,
            f"| trie, all at once, {whole['tokens']} distinct | {whole['trie']:.1f} "
            f"| {whole['tokens'] / whole['trie']:.0f} | hf's sum takes {total['hf'] / whole['trie']:.2f} of it | |",
        )
    for name, (called, package) in PEERS.items():
        if name in first:
            runs = [piece[name] for piece in pieces]
            seconds = sum(run["seconds"] for run in runs)
            ratios = [run["seconds"] / piece["trie"] for run, piece in zip(runs, pieces, strict=True)]
            lines.append(
                f"| (c) {called} ({package} {runs[0]['versions'][package]}) | {seconds:.1f} "
                f"| {total['tokens'] / seconds:.0f} | {seconds / total['trie']:.2f} ({spread(ratios)}); "
                f"difference of a score {max(run['difference'] for run in runs):.1g}; "
                f"its start, {median(run['start'] for run in runs):.0f} s, not counted | |"
            )
    if command:
        ours, theirs = command["baichuan"], command["hf"]
        lines.append(
            f"| (d) the whole command | {ours:.1f} | | hf takes {theirs / ours:.2f} of it ({theirs:.1f} s) | |"
        )
    lines.append(
        f"| nothing shared, {unshared['requests']} requests | {unshared['trie_seconds']:.1f} | "
        f"| hf takes {unshared['hf_seconds'] / unshared['trie_seconds']:.2f} of it | |"
    )
    return "\n".join(
        (
            *lines,
            "",
            f"Measured matrix rate {task['matrix_rate'] / 1e12:.2f} TFLOP/s; the blocks' products of the distinct "
            f"tokens use {task['matrix_share']:.0%} of it. hf on the sample, seconds by batch size: "
            + ", ".join(f"{size}: {seconds:.1f}" for size, seconds in task["hf_sample_seconds"].items()),
        )
    )


def growth_table(rows: list[dict[str, Any]]) -> str:
    """One row a prefix and number of questions."""
    lines = [
        "| prefix | questions | trie, s | plain forward, s | trie / plain | hf, s | hf / trie | peak MiB, trie "
        "| peak MiB, hf |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        scaled = "" if row["hf_questions"] == row["questions"] else f" (from {row['hf_questions']})"
        lines.append(
            f"| {row['prefix']} | {row['questions']} | {row['trie']:.2f} | {row['plain']:.2f} "
            f"| {median(row['plain_ratios']):.2f} | {row['hf']:.2f}{scaled} | {row['hf'] / row['trie']:.1f} "
            f"| {row['trie_peak'] / MEGA:.0f} | {row['hf_peak'] / MEGA:.0f} |"
        )
    return "\n".join(lines)
