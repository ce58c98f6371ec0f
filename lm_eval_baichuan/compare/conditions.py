"""What sets a run apart from how the published figure was measured, told from what the results record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..published import Benchmark, Figure, PublishedModel
from ..results import Part, TaskResult

QUANTIZING = ("load_in_8bit", "load_in_4bit", "torchao", "gptqmodel", "autogptq", "gguf_file", "quantization_config")
OFF = ("", "false", "none", "0")


@dataclass(frozen=True)
class Condition:
    """One difference between a run and the published protocol."""

    text: str
    blocks: bool
    """Whether it makes the two figures incomparable; otherwise it is something to know."""


def conditions(
    part: Part, results: Sequence[TaskResult], figure: Figure, benchmark: Benchmark, row: PublishedModel
) -> list[Condition]:
    """Return everything recorded that sets the results of a part apart from a published figure."""
    found = [*_questions(part, results, figure)]
    found += [*_prompts(results, benchmark, row), *_label_tokens(results, benchmark), *_precision(results, row)]
    return list(dict.fromkeys(found))


def _blocks(text: str) -> Condition:
    return Condition(text, blocks=True)


def _note(text: str) -> Condition:
    return Condition(text, blocks=False)


def _questions(part: Part, results: Sequence[TaskResult], figure: Figure) -> Iterator[Condition]:
    """Which questions were asked."""
    if len(results) < len(part.tasks):
        yield _blocks(f"subset: {len(results)} of {len(part.tasks)} subjects")
    asked, available = sum(r.asked for r in results), sum(r.available for r in results)
    if asked < available:
        limits = {f"{r.file.config['limit']:g}" for r in results if r.file.config.get("limit") is not None}
        chosen = f"--limit {', '.join(sorted(limits))}" if limits else "chosen samples"
        yield _blocks(f"{chosen}: {asked} of {available} questions")
    if any(r.metadata.get("own_data") for r in results):
        yield _blocks("own data (own_data) instead of the published set")
    splits = sorted({str(r.split) for r in results})
    if figure.split is None:
        yield _note("which questions the published figure is over was never published")
    elif splits != [figure.split]:
        yield _blocks(f"{' and '.join(splits)} split; published on {figure.split}")


def _prompts(results: Sequence[TaskResult], benchmark: Benchmark, row: PublishedModel) -> Iterator[Condition]:
    """How the questions were put."""
    shots = sorted({str(r.shots) for r in results})
    if shots != [str(benchmark.shots)]:
        yield _blocks(f"{' and '.join(shots)} shots; published with {benchmark.shots}")
    if any(r.file.data.get("chat_template") for r in results):
        recipe = "no recipe was published for chat models" if row.kind == "chat" else "published without"
        yield Condition(f"chat template applied; {recipe}", blocks=row.kind != "chat")
    if any(r.file.data.get("system_instruction") for r in results):
        yield _blocks("a system instruction was added")
    lost = _count(results, "truncated_prompts")
    if lost:
        yield _blocks(f"truncated prompts: {lost} were longer than the model's window and lost their beginning")
    shortened = sum(r.file.baichuan.get("shortened_prompts", {}).get(r.task, {}).get("prompts", 0) for r in results)
    if shortened and benchmark.max_prompt_tokens:
        yield _note(f"{shortened} prompts lost shots by the published rule of {benchmark.max_prompt_tokens} tokens")
    elif shortened:
        yield Condition(
            f"shortened prompts: {shortened} lost shots to fit the model's window", benchmark.split is not None
        )
    if not all(r.file.baichuan for r in results):
        yield _note("whether long prompts were cut is not recorded for this kind of model")


def _label_tokens(results: Sequence[TaskResult], benchmark: Benchmark) -> Iterator[Condition]:
    """Which ids of the labels were ranked."""
    if benchmark.label_tokens is None:
        return
    used = {_encoding(result) for result in results}
    other = sorted(encoding for encoding in used if encoding != benchmark.label_tokens)
    if other:
        yield _blocks(f"label tokens: {' and '.join(other)}; published {benchmark.label_tokens}")


def _encoding(result: TaskResult) -> str:
    """The label encoding used for a task; other models than ours know only lm-eval's own."""
    recorded = result.file.baichuan.get("label_tokens", {})
    used = sorted(encoding for encoding, tasks in recorded.items() if result.task in tasks)
    if used:
        return "+".join(used)
    return "not recorded" if result.file.baichuan else f"joint (lm-eval's own, --model {result.file.config['model']})"


def _precision(results: Sequence[TaskResult], row: PublishedModel) -> Iterator[Condition]:
    """What the weights were computed in."""
    quantized = sorted({text for result in results for text in _quantization(result)})
    if quantized and not row.quantization:
        yield _blocks(f"quantized ({', '.join(quantized)}); the row {row.name} is not")
    elif row.quantization and not quantized:
        yield _blocks(f"no quantization recorded; the row {row.name} is {row.quantization}")
    elif quantized:
        yield _note(f"quantized by {', '.join(quantized)}; the row is {row.quantization}, by its makers' own code")
    dtypes = sorted({str(r.file.config.get("model_dtype") or "not recorded").removeprefix("torch.") for r in results})
    if len(dtypes) > 1:
        yield _blocks(f"dtype differs from task to task: {', '.join(dtypes)}")
    else:
        yield _note(f"dtype {dtypes[0]}; the published one is not recorded")


def _quantization(result: TaskResult) -> list[str]:
    recorded = result.file.baichuan.get("quantization")
    if recorded:
        return [str(recorded)]
    arguments = result.file.arguments
    return [key for key in QUANTIZING if arguments.get(key, "").lower() not in OFF]


def _count(results: Sequence[TaskResult], fact: str) -> int:
    return sum(int(result.file.baichuan.get(fact, {}).get(result.task, 0)) for result in results)
