"""Prompts that were too long: what the published rule took from them, and what a window smaller than published took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..published import Benchmark, PublishedModel
from ..results import TaskResult
from .condition import Condition, blocks, note


@dataclass(frozen=True)
class _Limit:
    """What asked for shots to be dropped."""

    tokens: int | None
    """None where not recorded."""
    by_window: bool | None
    """Whether the model's window took more than the published limit alone; None where that can't be told."""


@dataclass
class _Lost:
    """Prompts that lost shots to one limit."""

    prompts: int = 0
    shots: int = 0
    max_length_given: bool = False
    """Whether the run's arguments set the window."""


def prompt_lengths(
    results: Sequence[TaskResult], benchmark: Benchmark, row: PublishedModel | None
) -> Iterator[Condition]:
    """Return what became of prompts that were too long, as far as it is recorded."""
    beginnings = sum(int(r.file.facts.get("truncated_prompts", {}).get(r.recorded_as, 0)) for r in results)
    if beginnings:
        yield blocks(
            f"truncated prompts: {beginnings} were longer than the model's window and lost their beginning: rerun with "
            "a larger max_length, where the model takes that",
            "truncated prompts",
        )
    losses: dict[_Limit, _Lost] = {}
    for result in results:
        _add_losses(losses, result, benchmark)
    for limit, lost in losses.items():
        yield _lost_shots(limit, lost, benchmark, row)
    yield from _windows(results, benchmark, row)


def _add_losses(losses: dict[_Limit, _Lost], result: TaskResult, benchmark: Benchmark) -> None:
    recorded = result.file.facts.get("shortened_prompts", {}).get(result.recorded_as)
    if not recorded or not recorded["prompts"]:
        return
    for part in recorded.get("limits") or [recorded | _judged_by_window(result, benchmark)]:
        lost = losses.setdefault(_Limit(part["limit"], part["by_window"]), _Lost())
        lost.prompts += part["prompts"]
        lost.shots += part["shots"]
        lost.max_length_given |= "max_length" in result.file.arguments


def _judged_by_window(result: TaskResult, benchmark: Benchmark) -> dict[str, int | bool | None]:
    """Which limit took the shots in a file that only counts them, as the first versions wrote."""
    window, published = result.file.max_length, benchmark.max_prompt_tokens
    if not published:
        return {"limit": window, "by_window": True}
    if window is None:
        return {"limit": None, "by_window": None}
    return {"limit": min(window, published), "by_window": window < published}


def _lost_shots(limit: _Limit, lost: _Lost, benchmark: Benchmark, row: PublishedModel | None) -> Condition:
    published = benchmark.max_prompt_tokens
    if limit.by_window:
        return _lost_to_window(limit.tokens, lost, benchmark, row)
    if limit.by_window is None:
        return blocks(
            f"shortened prompts: {lost.prompts} lost {lost.shots} shots; whether by the published rule of {published} "
            "tokens or to a smaller window is not recorded: rerun with this version",
            "lost shots to a limit not recorded",
        )
    if limit.tokens == published:
        return note(f"{lost.prompts} prompts lost shots by the published rule of {published} tokens", "")
    rule = f"by a rule of {published} tokens" if published else "without such a rule"
    return blocks(
        f"shortened prompts: {lost.prompts} lost {lost.shots} shots by the task's rule of {limit.tokens} tokens; "
        f"published {rule}",
        f"rule of {limit.tokens} tokens",
    )


def _lost_to_window(tokens: int | None, lost: _Lost, benchmark: Benchmark, row: PublishedModel | None) -> Condition:
    window = "the model's window" if tokens is None else f"a window of {tokens} tokens"
    text = f"shortened prompts: {lost.prompts} lost {lost.shots} shots to fit {window}"
    needed = _needed(benchmark, row)
    if _unknown_prompts(benchmark) and tokens and needed and tokens >= needed:
        return note(f"{text}; how prompts beyond {_name(row)}'s own {needed} were shortened was never published", "")
    if benchmark.max_prompt_tokens:
        published = f"the published rule allows {benchmark.max_prompt_tokens}"
    elif benchmark.split:
        published = "published with all shots"
    elif row is None:
        published = "the task has all shots"
    else:
        published = f"{_name(row)} has {needed or 'one that is not recorded'}"
    longer = f"max_length={needed} or more" if needed and (tokens or 0) < needed else "a larger max_length"
    if not lost.max_length_given:
        longer += ", where the model takes that"
    return blocks(f"{text}; {published}: rerun with {longer}", f"lost shots to {window}")


def _windows(results: Sequence[TaskResult], benchmark: Benchmark, row: PublishedModel | None) -> Iterator[Condition]:
    """What the windows alone tell: of runs that record no prompts, and of windows that spare shots."""
    needed = _needed(benchmark, row)
    unrecorded = [result for result in results if not result.file.facts]
    smaller = sorted({w for r in unrecorded if (w := r.file.max_length) and needed and w < needed})
    if smaller:
        yield blocks(
            f"a window of {' and '.join(map(str, smaller))} tokens, where published prompts have up to {needed}; "
            f"whether it cut any is not recorded for this kind of model: rerun with max_length={needed} or more"
        )
    elif unrecorded:
        yield note("whether long prompts were cut is not recorded for this kind of model")
    larger = sorted({w for r in results if (w := r.file.max_length) and needed and w > needed})
    if larger and _unknown_prompts(benchmark):
        yield note(
            f"a window of {' and '.join(map(str, larger))} tokens, which spares shots; {_name(row)} has {needed}"
        )


def _needed(benchmark: Benchmark, row: PublishedModel | None) -> int | None:
    """The tokens that a published prompt may have; None where not recorded."""
    return benchmark.max_prompt_tokens or (row.context_length if row else None)


def _name(row: PublishedModel | None) -> str:
    return row.name if row else "the published model"


def _unknown_prompts(benchmark: Benchmark) -> bool:
    """Whether it was never published how prompts of a benchmark were put, so that only the model's window is known."""
    return benchmark.split is None
