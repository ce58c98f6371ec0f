"""What a figure is not: everything recorded that sets it apart from the published measure, or from a whole run.

Each output shows these conditions and none looks for its own, so that no partial figure can pass for a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..languages import joined, say
from ..published import Benchmark, Figure, PublishedModel
from ..results import Part, Suite, TaskResult, Ties, certificates, unpublished_questions
from .checked import certificate_words
from .condition import Condition, blocks, chosen_by, note, partly_asked
from .prompt_lengths import prompt_lengths

QUANTIZING = ("load_in_8bit", "load_in_4bit", "torchao", "gptqmodel", "autogptq", "gguf_file", "quantization_config")
OFF = ("", "false", "none", "0")
NOT_RECORDED = say("not recorded")


def conditions(
    part: Part,
    results: Sequence[TaskResult],
    benchmark: Benchmark,
    figure: Figure | None = None,
    row: PublishedModel | None = None,
) -> list[Condition]:
    """Return everything recorded that sets the results of a part apart from the published measure.

    Args:
        part: The suite or category.
        results: Its tasks, as far as there are results.
        benchmark: How it was measured.
        figure: The published figure that the results stand beside; None to tell only what holds without one.
        row: The model that the figure is of.
    """
    found = [*_questions(part, results, benchmark, figure)]
    found += [*_prompts(results, benchmark, row), *_label_tokens(results, benchmark), *_precision(results, row)]
    found += _checked(results)
    return list(dict.fromkeys(found))


def no_measurement(ties: Ties) -> Iterator[Condition]:
    """Return that a figure is no measurement, where the labels of too many questions are equally likely."""
    if ties.degenerate:
        yield note(joined(": ", (say("no measurement"), ties.words)), "", short=say("no measurement (ties)"))


def own_benchmark(suite: Suite, results: Sequence[TaskResult]) -> Benchmark:
    """Return how a suite that was never published is measured: as its tasks say."""
    protocols = [result.metadata.get("protocol") or {} for result in results]
    tokens = {str(found) for protocol in protocols if (found := protocol.get("label_tokens"))}
    shots = re.search(r"_(\d+)shot", suite.name)
    return Benchmark(
        name=suite.benchmark,
        title=suite.benchmark,
        split=None,
        shots=int(shots.group(1)) if shots else 0,
        label_tokens=tokens.pop() if len(tokens) == 1 else None,
        max_prompt_tokens=0,
        averaged_over=None,
        protocol="",
    )


def _questions(
    part: Part, results: Sequence[TaskResult], benchmark: Benchmark, figure: Figure | None
) -> Iterator[Condition]:
    """Which questions were asked."""
    if len(results) < len(part.tasks):
        number = say("{some} of {all} subjects", some=len(results), all=len(part.tasks))
        text = say("subset: {number}", number=number)
        yield blocks(text, f"subset: {[r.task for r in results]}", short=number, topic="subset")
    yield from _counts(results)
    yield from _draws(results)
    if any(r.metadata.get("own_data") for r in results):
        yield blocks(say("own data (own_data) instead of the published set"), short=say("own data"))
    else:
        changed = [(result.task, what) for result in results if (what := unpublished_questions(result))]
        if changed:
            task, what = changed[0]
            if len(changed) > 1:
                task = say("{task} and {others} more tasks", task=task, others=len(changed) - 1)
            text = say("{what} of {task} are not the published ones, by their fingerprints", what=what, task=task)
            short = say("{what} not the published ones", what=what)
            yield blocks(text, "other questions", short=short, topic="fingerprints")
    splits = sorted({r.split or NOT_RECORDED for r in results})
    published = figure.split if figure else benchmark.split
    if published is None:
        if figure:
            yield note(say("which questions the published figure is over was never published"))
    elif splits != [published]:
        yield blocks(
            say("{splits} split; published on {published}", splits=joined(" and ", splits), published=published),
            short=say("{splits} split", splits=joined(" and ", splits)),
        )
    elif published != benchmark.split:
        # The published row is on it as well, but its column in a table is headed by the benchmark alone.
        yield note(
            say("{split} split, as published; most rows are on {most}", split=published, most=benchmark.split),
            short=say("{splits} split", splits=published),
        )


def _counts(results: Sequence[TaskResult]) -> Iterator[Condition]:
    """How many of the questions were asked."""
    asked, available = sum(r.asked for r in results), sum(r.available for r in results)
    if asked != available:
        yield partly_asked(chosen_by(r.file.config.get("limit") for r in results), asked, available)


def _draws(results: Sequence[TaskResult]) -> Iterator[Condition]:
    """What was drawn by seeds."""
    for seed in sorted({r.draws.shots_seed for r in results if r.draws.shots_seed is not None}):
        text = say("shots_seed={seed}: shots in a drawn order, not the task's own", seed=seed)
        yield blocks(text, "shots in a drawn order", short=f"shots_seed={seed}")
    for seed in sorted({r.draws.split_seed for r in results if r.draws.split_seed is not None}):
        text = say("split_seed={seed}: other shots and questions than the task's own split", seed=seed)
        yield blocks(text, "another split", short=f"split_seed={seed}")


def _prompts(results: Sequence[TaskResult], benchmark: Benchmark, row: PublishedModel | None) -> Iterator[Condition]:
    """How the questions were put."""
    shots = sorted({NOT_RECORDED if r.shots is None else str(r.shots) for r in results})
    if shots != [str(benchmark.shots)]:
        of = say("published with") if benchmark.protocol else say("the tasks have")
        unknown = say("shots not recorded")
        said = joined(" and ", (say("{n} shots", n=n) if n != NOT_RECORDED else unknown for n in shots))
        yield blocks(say("{said}; {of} {shots}", said=said, of=of, shots=benchmark.shots), short=said)
    if any(r.file.data.get("chat_template") for r in results):
        if row is None or row.kind == "chat":
            yield note(
                say("chat template applied; no recipe was published for chat models"), short=say("chat template")
            )
        else:
            yield blocks(say("chat template applied; published without"), short=say("chat template"))
    if any(r.file.data.get("system_instruction") for r in results):
        yield blocks(say("a system instruction was added"), short=say("system instruction"))
    yield from prompt_lengths(results, benchmark, row)
    # Until 0.2, lm-eval looked answers up before the model saw their requests.
    if any(r.file.config.get("use_cache") and "remembered_answers" not in r.file.facts for r in results):
        yield note(say("what is recorded of the run leaves out answers that came from --use_cache"))


def _label_tokens(results: Sequence[TaskResult], benchmark: Benchmark) -> Iterator[Condition]:
    """Which ids of the labels were ranked."""
    if benchmark.label_tokens is None:
        return
    used = {_encoding(result) for result in results}
    other = sorted(encoding for encoding in used if encoding != benchmark.label_tokens)
    if other:
        named = joined(" and ", (_short(encoding) for encoding in other))
        of = say("published") if benchmark.protocol else say("the tasks have")
        tokens = {"tokens": joined(" and ", other), "of": of, "own": benchmark.label_tokens}
        yield blocks(
            say("label tokens: {tokens}; {of} {own}", **tokens),
            short=say("label tokens {named}", named=named),
            topic="label tokens",
        )


def _encoding(result: TaskResult) -> str:
    """The label encoding used for a task; other models than ours know only lm-eval's own."""
    recorded = result.file.facts.get("label_tokens", {})
    used = sorted(encoding for encoding, tasks in recorded.items() if result.recorded_as in tasks)
    if used:
        return "+".join(used)
    if result.file.facts:
        return NOT_RECORDED
    return say("joint (lm-eval's own, --model {model})", model=result.file.config.get("model") or NOT_RECORDED)


def _short(encoding: str) -> str:
    return encoding if encoding == NOT_RECORDED else encoding.partition(" (")[0]


def _precision(results: Sequence[TaskResult], row: PublishedModel | None) -> Iterator[Condition]:
    """What the weights were computed in."""
    quantized = sorted({text for result in results for text in _quantization(result)})
    named = say("quantized ({by})", by=", ".join(quantized))
    if quantized and row is None:
        yield note(named, short=say("quantized"))
    elif quantized and row and not row.quantization:
        yield blocks(joined("; ", (named, say("the row {row} is not", row=row.name))), short=say("quantized"))
    elif row and row.quantization and not quantized:
        yield blocks(
            say("no quantization recorded; the row {row} is {how}", row=row.name, how=row.quantization),
            short=say("no quantization recorded"),
        )
    elif quantized and row:
        yield note(
            say(
                "quantized by {by}; the row is {quantization}, by its makers' own code",
                by=", ".join(quantized),
                quantization=row.quantization,
            )
        )
    dtypes = sorted({result.file.dtype or NOT_RECORDED for result in results})
    if len(dtypes) > 1:
        yield blocks(
            say("dtype differs from task to task: {dtypes}", dtypes=joined(", ", dtypes)),
            short=say("dtype differs from task to task"),
        )
    else:
        text = say("dtype {dtype}", dtype=dtypes[0])
        yield note(joined("; ", (text, say("the published one is not recorded"))) if row else text)


def _quantization(result: TaskResult) -> list[str]:
    recorded = result.file.facts.get("quantization")
    if recorded:
        return [str(recorded)]
    arguments = result.file.arguments
    return [key for key in QUANTIZING if arguments.get(key, "").lower() not in OFF]


def _checked(results: Sequence[TaskResult]) -> Iterator[Condition]:
    """Whether the scores were checked before the run went on."""
    found = certificates({result.task: result for result in results})
    if all(certificate.scores and not certificate.reason for certificate, _ in found):
        return
    words = certificate_words(found, len(results))
    some = any(certificate.scores for certificate, _ in found)
    short = say("no certificate for a part") if some else say("no certificate")
    yield note(words, "", short=short, topic="certificate")
