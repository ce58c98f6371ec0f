"""Reads one results file of lm-eval (0.4.5 and later, as tried) into counts of right answers per task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..model_adapters.errors import ResultsError
from ..model_adapters.outside.files import parse_json, read_text
from .draws import Draws, chosen_draws, draws_of, present_name
from .suites import find_suite

ACCURACY = "acc,none"
DATE = re.compile(r"_(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?)\.json$")
"""The end of the name of a results file; the samples logged with it carry the same date."""

# What names a model in model_args, in lm-eval's own order: an adapter before the model it sits on.
MODEL_KEYS = ("peft", "delta", "pretrained", "model", "path", "engine")
FACTS_KEYS = ("baichuan", "hf_trie", "baichuan_vllm")
"""Where in the results our models put what they record."""
DEFAULT_CHECKPOINT = "baichuan-inc/Baichuan-7B"
CHANGED = "The file is damaged or has been changed: run the evaluation again, or move it away."
"""What to do about a file that no run wrote as it is."""


@dataclass(frozen=True)
class ResultsFile:
    """One results file, parsed."""

    path: Path
    data: Mapping[str, Any]

    @property
    def config(self) -> Mapping[str, Any]:
        """How the run was asked for: model, model_args, limit, seeds, and what the model says of itself."""
        config: Mapping[str, Any] = self.data["config"]
        return config

    @property
    def facts(self) -> Mapping[str, Any]:
        """What one of our models recorded of the run; empty for other models."""
        facts: Mapping[str, Any] = next((self.config[key] for key in FACTS_KEYS if self.config.get(key)), {})
        return facts

    @property
    def max_length(self) -> int | None:
        """The most tokens that a prompt could have; None where not recorded."""
        return self.facts.get("max_length") or self.data.get("max_length")

    @property
    def arguments(self) -> dict[str, str]:
        """The model's arguments, which older releases wrote as one text."""
        arguments = self.config.get("model_args") or {}
        if isinstance(arguments, str):
            arguments = dict(item.partition("=")[::2] for item in arguments.split(",") if item)
        return {str(key): str(value) for key, value in arguments.items()}

    @property
    def model(self) -> str:
        """The model's name: its checkpoint or adapter, else lm-eval's name of the kind of model."""
        kind = str(self.config.get("model") or self.data.get("model_source") or "unknown model")
        named = next((self.arguments[key] for key in MODEL_KEYS if self.arguments.get(key)), None)
        return named or (DEFAULT_CHECKPOINT if kind.startswith("baichuan") else kind)

    @property
    def revision(self) -> str:
        """Which revision of the model was asked for: a checkpoint of its training, say; empty for the main one."""
        revision = self.arguments.get("revision", "")
        return "" if revision in ("main", "None") else revision

    @property
    def dtype(self) -> str | None:
        """What the weights were in, by torch's name; None where not recorded."""
        recorded = self.config.get("model_dtype")
        return str(recorded).removeprefix("torch.") if recorded else None

    @property
    def date(self) -> tuple[float, str]:
        """When the run began, to tell the latest."""
        written = DATE.search(self.path.name)
        stamp = self.data.get("date")
        if stamp is None:
            try:
                text = written.group(1) if written else ""
                stamp = datetime.strptime(text.partition(".")[0], "%Y-%m-%dT%H-%M-%S").timestamp()
            except ValueError:
                stamp = self.path.stat().st_mtime
        return float(stamp), self.path.name

    def samples_path(self, task: str) -> Path:
        """Where lm-eval put the logged samples of a task, whether or not it logged any."""
        written = DATE.search(self.path.name)
        date = written.group(1) if written else ""
        return self.path.with_name(f"samples_{task}_{date}.jsonl")


@dataclass(frozen=True)
class TaskResult:
    """How many questions of one task were answered right."""

    recorded_as: str
    """The task's name in the file."""
    correct: int
    asked: int
    available: int
    """Questions of the split before ``--limit`` or ``--samples`` took some."""
    shots: int | None
    config: Mapping[str, Any]
    """The task's own configuration, as lm-eval recorded it."""
    file: ResultsFile

    @property
    def task(self) -> str:
        """The task's name, as it is called now."""
        return present_name(self.recorded_as)

    @property
    def draws(self) -> Draws:
        """What the task drew by seeds."""
        return draws_of(self.recorded_as, self.metadata)

    @property
    def seeds(self) -> Draws:
        """The seeds that its run was asked for, with or without effect on this task."""
        return chosen_draws(self.recorded_as, self.metadata)

    @property
    def accuracy(self) -> float:
        """The share answered right, 0 to 1."""
        return self.correct / self.asked

    @property
    def split(self) -> str | None:
        """The split that was asked."""
        split = self.config.get("test_split") or self.config.get("validation_split")
        return None if split is None else str(split)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The task's metadata, with what the user passed by ``--metadata``."""
        return self.config.get("metadata") or {}

    @property
    def samples_path(self) -> Path:
        """Where its logged samples are, if any were."""
        return self.file.samples_path(self.recorded_as)


class CutOff(ResultsError):
    """A results file that is not even JSON: the run was cut off while writing it, or the file is damaged."""


def read_results_file(path: Path) -> ResultsFile:
    """Read a results file and check its frame.

    Raises:
        CutOff: it is no JSON.
        ResultsError: it cannot be read, or is no results file of lm-eval 0.4.
    """
    from .schema import check_file  # pydantic takes its time

    try:
        data = parse_json(read_text(path))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror}). Name a results_….json of lm-eval.") from error
    except UnicodeDecodeError as error:
        raise CutOff(f"{path}: not UTF-8 text at byte {error.start}, so no results file of lm-eval.") from error
    except json.JSONDecodeError as error:
        raise CutOff(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}). The file is damaged, or the run was cut off "
            "while writing it; run the evaluation again (--use_cache spares what is done)."
        ) from error
    except ValueError as error:
        raise ResultsError(f"{path}: {error}. {CHANGED}") from error
    if not isinstance(data, dict) or not isinstance(data.get("results"), dict):
        raise ResultsError(f'{path}: no results file of lm-eval: it holds no "results".')
    missing = [key for key in ("configs", "n-samples", "config") if key not in data]
    if missing:
        raise ResultsError(
            f"{path}: {', '.join(missing)} not found, so it does not say how many questions were asked or how. "
            "Releases of lm-eval before 0.4.2 wrote such files: run the evaluation again with a current one."
        )
    check_file(data, path)
    return ResultsFile(path=path, data=data)


def task_results(file: ResultsFile) -> Iterator[TaskResult | str]:
    """Return our tasks of a file that report an accuracy, and for each other of ours the reason it does not count.

    Raises:
        ResultsError: what the file holds of a task is damaged, or an accuracy is no share of the questions asked.
    """
    from .schema import check_task

    results, configs = file.data["results"], file.data["configs"]
    for task in sorted(results.keys() - configs.keys()):
        if find_suite(present_name(task)):
            raise ResultsError(f"{file.path}: configs.{task}: missing, though results.{task} is there. {CHANGED}")
    for task, config in configs.items():
        if find_suite(present_name(task)) is None:
            continue
        metrics = results.get(task, {})
        if ACCURACY not in metrics:
            found = sorted(key for key in metrics if "," in key and "_stderr" not in key)
            if not found:
                raise ResultsError(f"{file.path}: results.{task}: no metric in it, so no {ACCURACY}. {CHANGED}")
            yield f"{task}: no accuracy ({ACCURACY}) reported; found {', '.join(found)}"
            continue
        check_task(file.data, task, file.path)
        counts, accuracy = file.data["n-samples"][task], metrics[ACCURACY]
        asked = metrics.get("sample_len") or counts["effective"]
        correct = round(accuracy * asked)
        if not asked or abs(accuracy * asked - correct) > 1e-6 * asked:
            raise ResultsError(
                f"{file.path}: task {task}: an accuracy of {accuracy!r} is no share of {asked} questions. "
                "The file has been changed, or two runs were merged in it."
            )
        yield TaskResult(
            recorded_as=task,
            correct=correct,
            asked=asked,
            available=counts["original"],
            shots=file.data.get("n-shot", {}).get(task, config.get("num_fewshot")),
            config=config,
            file=file,
        )
