"""What sets a run apart from how the published figure was measured, told from what the results record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..published import Benchmark, Figure, PublishedModel
from ..results import Part, TaskResult, unpublished_questions
from .condition import Condition, blocks, note
from .prompt_lengths import prompt_lengths

QUANTIZING = ("load_in_8bit", "load_in_4bit", "torchao", "gptqmodel", "autogptq", "gguf_file", "quantization_config")
OFF = ("", "false", "none", "0")


def conditions(
    part: Part, results: Sequence[TaskResult], figure: Figure, benchmark: Benchmark, row: PublishedModel
) -> list[Condition]:
    """Return everything recorded that sets the results of a part apart from a published figure."""
    found = [*_questions(part, results, figure)]
    found += [*_prompts(results, benchmark, row), *_label_tokens(results, benchmark), *_precision(results, row)]
    return list(dict.fromkeys(found))


def _questions(part: Part, results: Sequence[TaskResult], figure: Figure) -> Iterator[Condition]:
    """Which questions were asked."""
    if len(results) < len(part.tasks):
        yield blocks(f"subset: {len(results)} of {len(part.tasks)} subjects")
    asked, available = sum(r.asked for r in results), sum(r.available for r in results)
    if asked < available:
        limits = {f"{r.file.config['limit']:g}" for r in results if r.file.config.get("limit") is not None}
        chosen = f"--limit {', '.join(sorted(limits))}" if limits else "chosen samples"
        yield blocks(f"{chosen}: {asked} of {available} questions")
    yield from _draws(results)
    if any(r.metadata.get("own_data") for r in results):
        yield blocks("own data (own_data) instead of the published set")
    else:
        changed = [(result.task, what) for result in results if (what := unpublished_questions(result))]
        if changed:
            task, what = changed[0]
            others = f" and {len(changed) - 1} more tasks" if len(changed) > 1 else ""
            yield blocks(
                f"{what} of {task}{others} are not the published ones, by their fingerprints", "other questions"
            )
    splits = sorted({str(r.split) for r in results})
    if figure.split is None:
        yield note("which questions the published figure is over was never published")
    elif splits != [figure.split]:
        yield blocks(f"{' and '.join(splits)} split; published on {figure.split}")


def _draws(results: Sequence[TaskResult]) -> Iterator[Condition]:
    """What was drawn by seeds."""
    for seed in sorted({r.draws.shots_seed for r in results if r.draws.shots_seed is not None}):
        yield blocks(f"shots_seed={seed}: shots in a drawn order, not the task's own", "shots in a drawn order")
    for seed in sorted({r.draws.split_seed for r in results if r.draws.split_seed is not None}):
        yield blocks(f"split_seed={seed}: other shots and questions than the task's own split", "another split")


def _prompts(results: Sequence[TaskResult], benchmark: Benchmark, row: PublishedModel) -> Iterator[Condition]:
    """How the questions were put."""
    shots = sorted({str(r.shots) for r in results})
    if shots != [str(benchmark.shots)]:
        yield blocks(f"{' and '.join(shots)} shots; published with {benchmark.shots}")
    if any(r.file.data.get("chat_template") for r in results):
        recipe = "no recipe was published for chat models" if row.kind == "chat" else "published without"
        applied = f"chat template applied; {recipe}"
        yield note(applied) if row.kind == "chat" else blocks(applied)
    if any(r.file.data.get("system_instruction") for r in results):
        yield blocks("a system instruction was added")
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
        yield blocks(f"label tokens: {' and '.join(other)}; published {benchmark.label_tokens}")


def _encoding(result: TaskResult) -> str:
    """The label encoding used for a task; other models than ours know only lm-eval's own."""
    recorded = result.file.facts.get("label_tokens", {})
    used = sorted(encoding for encoding, tasks in recorded.items() if result.recorded_as in tasks)
    if used:
        return "+".join(used)
    return "not recorded" if result.file.facts else f"joint (lm-eval's own, --model {result.file.config['model']})"


def _precision(results: Sequence[TaskResult], row: PublishedModel) -> Iterator[Condition]:
    """What the weights were computed in."""
    quantized = sorted({text for result in results for text in _quantization(result)})
    if quantized and not row.quantization:
        yield blocks(f"quantized ({', '.join(quantized)}); the row {row.name} is not")
    elif row.quantization and not quantized:
        yield blocks(f"no quantization recorded; the row {row.name} is {row.quantization}")
    elif quantized:
        yield note(f"quantized by {', '.join(quantized)}; the row is {row.quantization}, by its makers' own code")
    dtypes = sorted({str(r.file.config.get("model_dtype") or "not recorded").removeprefix("torch.") for r in results})
    if len(dtypes) > 1:
        yield blocks(f"dtype differs from task to task: {', '.join(dtypes)}")
    else:
        yield note(f"dtype {dtypes[0]}; the published one is not recorded")


def _quantization(result: TaskResult) -> list[str]:
    recorded = result.file.facts.get("quantization")
    if recorded:
        return [str(recorded)]
    arguments = result.file.arguments
    return [key for key in QUANTIZING if arguments.get(key, "").lower() not in OFF]
