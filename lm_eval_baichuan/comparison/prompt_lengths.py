"""Prompts that were too long: what the published rule took from them, and what a window smaller than published took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..languages import joined, say
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
            say(
                "truncated prompts: {prompts} were longer than the model's window and lost their beginning: rerun with "
                "a larger max_length, where the model takes that",
                prompts=beginnings,
            ),
            "truncated prompts",
            short=say("truncated prompts"),
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
            say(
                "shortened prompts: {prompts} lost {shots} shots; whether by the published rule of {published} tokens "
                "or to a smaller window is not recorded: rerun with this version",
                prompts=lost.prompts,
                shots=lost.shots,
                published=published,
            ),
            "lost shots to a limit not recorded",
            short=say("shortened prompts"),
        )
    if limit.tokens == published:
        counts = {"prompts": lost.prompts, "published": published}
        return note(say("{prompts} prompts lost shots by the published rule of {published} tokens", **counts), "")
    rule = say("by a rule of {tokens} tokens", tokens=published) if published else say("without such a rule")
    return blocks(
        say(
            "shortened prompts: {prompts} lost {shots} shots by the task's rule of {tokens} tokens; published {rule}",
            prompts=lost.prompts,
            shots=lost.shots,
            tokens=limit.tokens,
            rule=rule,
        ),
        f"rule of {limit.tokens} tokens",
        short=say("shortened prompts"),
    )


def _lost_to_window(tokens: int | None, lost: _Lost, benchmark: Benchmark, row: PublishedModel | None) -> Condition:
    window = say("the model's window") if tokens is None else say("a window of {tokens} tokens", tokens=tokens)
    text = say(
        "shortened prompts: {prompts} lost {shots} shots to fit {window}",
        prompts=lost.prompts,
        shots=lost.shots,
        window=window,
    )
    needed = _needed(benchmark, row)
    if _unknown_prompts(benchmark) and tokens and needed and tokens >= needed:
        own = {"row": _name(row), "tokens": needed}
        beyond = say("how prompts beyond {row}'s own {tokens} were shortened was never published", **own)
        return note(joined("; ", (text, beyond)), "", short="")
    if benchmark.max_prompt_tokens:
        published = say("the published rule allows {tokens}", tokens=benchmark.max_prompt_tokens)
    elif benchmark.split:
        published = say("published with all shots")
    elif row is None:
        published = say("the task has all shots")
    else:
        published = say("{row} has {tokens}", row=_name(row), tokens=needed or say("one that is not recorded"))
    longer: str = say("a larger max_length")
    if needed and (tokens or 0) < needed:
        longer = say("max_length={tokens} or more", tokens=needed)
    if not lost.max_length_given:
        longer = joined(", ", (longer, say("where the model takes that")))
    why = joined(": ", (published, say("rerun with {longer}", longer=longer)))
    return blocks(joined("; ", (text, why)), f"lost shots to {window}", short=say("shortened prompts"))


def _windows(results: Sequence[TaskResult], benchmark: Benchmark, row: PublishedModel | None) -> Iterator[Condition]:
    """What the windows alone tell: of runs that record no prompts, and of windows that spare shots."""
    needed = _needed(benchmark, row)
    unrecorded = [result for result in results if not result.file.facts]
    smaller = sorted({w for r in unrecorded if (w := r.file.max_length) and needed and w < needed})
    if smaller:
        windows = joined(" and ", map(str, smaller))
        yield blocks(
            say(
                "a window of {tokens} tokens, where published prompts have up to {needed}; whether it cut any is not "
                "recorded for this kind of model: rerun with max_length={needed} or more",
                tokens=windows,
                needed=needed,
            ),
            short=say("a window of {tokens} tokens", tokens=windows),
        )
    elif unrecorded:
        yield note(say("whether long prompts were cut is not recorded for this kind of model"))
    larger = sorted({w for r in results if (w := r.file.max_length) and needed and w > needed})
    if larger and _unknown_prompts(benchmark):
        yield note(
            say(
                "a window of {tokens} tokens, which spares shots; {row} has {needed}",
                tokens=joined(" and ", map(str, larger)),
                row=_name(row),
                needed=needed,
            )
        )


def _needed(benchmark: Benchmark, row: PublishedModel | None) -> int | None:
    """The tokens that a published prompt may have; None where not recorded."""
    return benchmark.max_prompt_tokens or (row.context_length if row else None)


def _name(row: PublishedModel | None) -> str:
    return row.name if row else say("the published model")


def _unknown_prompts(benchmark: Benchmark) -> bool:
    """Whether it was never published how prompts of a benchmark were put, so that only the model's window is known."""
    return benchmark.split is None
