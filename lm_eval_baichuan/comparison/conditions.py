"""What a figure is not: everything recorded that sets it apart from the published measure, or from a whole run.

Each output shows these conditions and none looks for its own, so that no partial figure can pass for a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..published import Benchmark, Figure, PublishedModel
from ..results import Part, Suite, TaskResult, Ties, certificates, unpublished_questions
from .checked import certificate_words
from .condition import Condition, blocks, note
from .prompt_lengths import prompt_lengths

QUANTIZING = ("load_in_8bit", "load_in_4bit", "torchao", "gptqmodel", "autogptq", "gguf_file", "quantization_config")
OFF = ("", "false", "none", "0")
NOT_RECORDED = "not recorded"


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
    """Return that a figure is no measurement, where the labels of too many questions are exactly alike."""
    if ties.degenerate:
        yield note(f"no measurement: {ties.words}", "", short="no measurement (ties)")


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
        number = f"{len(results)} of {len(part.tasks)} subjects"
        yield blocks(f"subset: {number}", f"subset: {[r.task for r in results]}", short=number, topic="subset")
    yield from _counts(results)
    yield from _draws(results)
    if any(r.metadata.get("own_data") for r in results):
        yield blocks("own data (own_data) instead of the published set", short="own data")
    else:
        changed = [(result.task, what) for result in results if (what := unpublished_questions(result))]
        if changed:
            task, what = changed[0]
            others = f" and {len(changed) - 1} more tasks" if len(changed) > 1 else ""
            text = f"{what} of {task}{others} are not the published ones, by their fingerprints"
            yield blocks(text, "other questions", short=f"{what} not the published ones", topic="fingerprints")
    splits = sorted({str(r.split or NOT_RECORDED) for r in results})
    published = figure.split if figure else benchmark.split
    if published is None:
        if figure:
            yield note("which questions the published figure is over was never published")
    elif splits != [published]:
        yield blocks(f"{' and '.join(splits)} split; published on {published}")
    elif published != benchmark.split:
        # The published row is on it as well, but its column in a table is headed by the benchmark alone.
        yield note(f"{published} split, as published; most rows are on {benchmark.split}", short=f"{published} split")


def _counts(results: Sequence[TaskResult]) -> Iterator[Condition]:
    """How many of the questions were asked."""
    asked, available = sum(r.asked for r in results), sum(r.available for r in results)
    limits = {f"{r.file.config['limit']:g}" for r in results if isinstance(r.file.config.get("limit"), int | float)}
    chosen = f"--limit {', '.join(sorted(limits))}" if limits else "chosen samples"
    if asked != available:
        text = f"{chosen}: {asked} of {available} questions"
        yield blocks(text, short=text, topic=chosen)


def _draws(results: Sequence[TaskResult]) -> Iterator[Condition]:
    """What was drawn by seeds."""
    for seed in sorted({r.draws.shots_seed for r in results if r.draws.shots_seed is not None}):
        yield blocks(f"shots_seed={seed}: shots in a drawn order, not the task's own", "shots in a drawn order")
    for seed in sorted({r.draws.split_seed for r in results if r.draws.split_seed is not None}):
        yield blocks(f"split_seed={seed}: other shots and questions than the task's own split", "another split")


def _prompts(results: Sequence[TaskResult], benchmark: Benchmark, row: PublishedModel | None) -> Iterator[Condition]:
    """How the questions were put."""
    shots = sorted({NOT_RECORDED if r.shots is None else str(r.shots) for r in results})
    if shots != [str(benchmark.shots)]:
        of = "published with" if benchmark.protocol else "the tasks have"
        said = " and ".join(f"{number} shots" if number != NOT_RECORDED else f"shots {number}" for number in shots)
        yield blocks(f"{said}; {of} {benchmark.shots}")
    if any(r.file.data.get("chat_template") for r in results):
        if row is None or row.kind == "chat":
            yield note("chat template applied; no recipe was published for chat models", short="chat template")
        else:
            yield blocks("chat template applied; published without", short="chat template")
    if any(r.file.data.get("system_instruction") for r in results):
        yield blocks("a system instruction was added", short="system instruction")
    yield from prompt_lengths(results, benchmark, row)
    # Until 0.2, lm-eval looked answers up before the model saw their requests.
    if any(r.file.config.get("use_cache") and "remembered_answers" not in r.file.facts for r in results):
        yield note("what is recorded of the run leaves out answers that came from --use_cache")


def _label_tokens(results: Sequence[TaskResult], benchmark: Benchmark) -> Iterator[Condition]:
    """Which ids of the labels were ranked."""
    if benchmark.label_tokens is None:
        return
    used = {_encoding(result) for result in results}
    other = sorted(encoding for encoding in used if encoding != benchmark.label_tokens)
    if other:
        of = "published" if benchmark.protocol else "the tasks have"
        named = " and ".join(encoding.partition(" (")[0] for encoding in other)
        yield blocks(
            f"label tokens: {' and '.join(other)}; {of} {benchmark.label_tokens}",
            short=f"label tokens {named}",
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
    return f"joint (lm-eval's own, --model {result.file.config.get('model') or NOT_RECORDED})"


def _precision(results: Sequence[TaskResult], row: PublishedModel | None) -> Iterator[Condition]:
    """What the weights were computed in."""
    quantized = sorted({text for result in results for text in _quantization(result)})
    named = f"quantized ({', '.join(quantized)})"
    if quantized and row is None:
        yield note(named, short="quantized")
    elif quantized and row and not row.quantization:
        yield blocks(f"{named}; the row {row.name} is not", short="quantized")
    elif row and row.quantization and not quantized:
        yield blocks(f"no quantization recorded; the row {row.name} is {row.quantization}")
    elif quantized and row:
        yield note(f"quantized by {', '.join(quantized)}; the row is {row.quantization}, by its makers' own code")
    dtypes = sorted({str(r.file.config.get("model_dtype") or NOT_RECORDED).removeprefix("torch.") for r in results})
    if len(dtypes) > 1:
        yield blocks(f"dtype differs from task to task: {', '.join(dtypes)}")
    else:
        yield note(f"dtype {dtypes[0]}" + ("; the published one is not recorded" if row else ""))


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
    yield note(words, "", short="no certificate for a part" if some else "no certificate", topic="certificate")
