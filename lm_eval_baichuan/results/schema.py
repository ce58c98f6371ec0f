"""What results files and logged samples of lm-eval must hold, as far as anything here reads it.

Of tasks and models of others only what lm-eval itself writes is looked at. What is not read may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    ValidationError,
    model_validator,
)

from ..model_adapters.errors import ResultsError
from .files import CHANGED, FACTS_KEYS

SHOWN = 3
OURS = ("baichuan", "hf-trie", "baichuan-vllm")
"""Names of our models, which always record something under one of `FACTS_KEYS`."""

Count = Annotated[int, Field(ge=0, le=10**12)]
Questions = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63)]


def _plain(given: Any) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f"found {_short(given)}; expected text")
    return str(given)


Plain = Annotated[Any, AfterValidator(_plain)]
"""Text, where lm-eval takes some of it for a number: the 7 of ``pretrained=7``."""


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True, protected_namespaces=())


class _Counts(_Read):
    original: Questions
    effective: Count

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> _Counts:
        if self.effective > self.original:
            raise ValueError(f"{self.effective} questions were asked of a split of {self.original}")
        return self


class _Arguments(_Read):
    peft: Plain | None = None
    delta: Plain | None = None
    pretrained: Plain | None = None
    model: Plain | None = None
    path: Plain | None = None
    engine: Plain | None = None


_ModelArguments = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[_Arguments, Tag("<object>")],
    Discriminator(lambda given: "<text>" if isinstance(given, str) else "<object>"),
]


class _Losses(_Read):
    prompts: Count
    shots: Count


class _LossesToOneLimit(_Losses):
    limit: Count | None
    by_window: bool | None


class _Shortened(_Losses):
    limits: list[_LossesToOneLimit] | None = None


class _Ties(_Read):
    questions: Count
    of: Count

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> _Ties:
        if self.questions > self.of:
            raise ValueError(f"{self.questions} of {self.of} questions are ties")
        return self


class _Asked(_Read):
    """Of which questions, by their fingerprints."""

    asked: Count
    numbers: str
    questions: str
    shots: str | None = None


class _Difference(_Read):
    largest_difference: Annotated[float, Field(ge=0)]
    bound: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _within_the_bound(self) -> _Difference:
        if self.largest_difference > self.bound:
            raise ValueError(
                f"a largest difference of {self.largest_difference} with a bound of {self.bound}, with which the run "
                "would have stopped"
            )
        return self


class _Steps(_Difference):
    steps: Count


class _Requests(_Difference):
    requests: Count
    scores: str | None = None
    generation: _Steps | None = None


class _OnlyGenerated(_Read):
    generation: _Steps
    scores: str | None = None


def _kind_of_certificate(recorded: Any) -> str:
    if isinstance(recorded, str):
        return "<text>"
    only_generated = isinstance(recorded, Mapping) and "generation" in recorded and "requests" not in recorded
    return "<generated>" if only_generated else "<scored>"


_Verified = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[_Requests, Tag("<scored>")]
    | Annotated[_OnlyGenerated, Tag("<generated>")],
    Discriminator(_kind_of_certificate),
]


class _Facts(_Read):
    """What our models record; the first three since their first version."""

    label_tokens: dict[str, list[str]]
    shortened_prompts: dict[str, _Shortened]
    truncated_prompts: dict[str, Count]
    ties: dict[str, _Ties] = {}
    questions: dict[str, _Asked] = {}
    verified: _Verified | None = None
    max_length: Annotated[int, Field(ge=1, le=10**9)] | None = None
    quantization: str | None = None
    remembered_answers: Count | None = None


class _Config(_Read):
    model: str
    model_args: _ModelArguments | None = None
    model_dtype: str | None = None
    limit: Annotated[float, Field(ge=0, le=10**9)] | None = None
    use_cache: str | None = None
    baichuan: _Facts | None = None
    hf_trie: _Facts | None = None
    baichuan_vllm: _Facts | None = None

    @model_validator(mode="after")
    def _with_facts(self) -> _Config:
        if self.model in OURS and all(getattr(self, key) is None for key in FACTS_KEYS):
            raise ValueError(
                f"--model {self.model} records its facts under {' or '.join(FACTS_KEYS)}; none of them is there"
            )
        return self


class _File(_Read):
    results: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    shots: dict[str, Any] = Field({}, alias="n-shot")
    counts: dict[str, _Counts] = Field(alias="n-samples")
    config: _Config
    date: Annotated[float, Field(ge=0, le=10**11)] | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None
    model_source: str | None = None
    chat_template: str | None = None
    system_instruction: str | None = None


class _Protocol(_Read):
    split_drawn: bool | None = None


class _Metadata(_Read):
    version: float | None = None
    shots_seed: Seed | None = None
    split_seed: Seed | None = None
    own_data: bool | None = None
    protocol: _Protocol | None = None


class _DatasetArguments(_Read):
    name: str | None = None


class _Task(_Read):
    """The configuration of one of our tasks."""

    test_split: str | None = None
    validation_split: str | None = None
    num_fewshot: Count | None = None
    dataset_kwargs: _DatasetArguments | None = None
    metadata: _Metadata | None = None


class _Metrics(_Read):
    """The metrics of one of our tasks."""

    accuracy: Annotated[float, Field(ge=0, le=1)] = Field(alias="acc,none")
    sample_len: Questions | None = None


class _Shots(RootModel[Count]):
    model_config = ConfigDict(strict=True)


def _logprob(response: Any) -> Any:
    """The log-likelihood of a response, which lm-eval logs as text, beside whether greedy decoding gives the label."""
    given = response[0] if isinstance(response, list) and response else response
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


class Request(_Read):
    """One label, as it was asked."""

    context: str = Field(alias="arg_0")
    continuation: str = Field(alias="arg_1")


class _Document(_Read):
    prompt: str | None = None


class Sample(_Read):
    """One line of logged samples: a multiple-choice question and what the model thought of each label."""

    doc_id: Count
    doc: _Document
    target: Plain
    arguments: dict[str, Request] = Field(min_length=2)
    logprobs: list[Annotated[float, BeforeValidator(_logprob)]] = Field(alias="filtered_resps")
    right: Annotated[float, Field(ge=0, le=1, multiple_of=1)] = Field(alias="acc")


class Marked(_Read):
    """One line of logged samples of a task of others."""

    doc_id: Count
    doc_hash: str | None = None


def _number(given: Any) -> Any:
    return float(given) if isinstance(given, bool) else given


class Score(RootModel[Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]]):
    """How far one of their questions was answered right; some tasks log it as true or false."""

    model_config = ConfigDict(strict=True)


Model = TypeVar("Model", bound=BaseModel)


def check(kind: type[Model], found: Any, where: str, *place: str) -> Model:
    """Checks what was read from a file.

    Args:
        kind: What is expected.
        found: What was read.
        where: The file, and the line if it has several of them.
        place: The keys that lead to it.

    Returns:
        It, with values of the types that are expected.

    Raises:
        ResultsError: A value is missing, of another type or out of range; the message names its place.
    """
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        said = "; ".join(_sentence(problem, place) for problem in problems[:SHOWN])
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ResultsError(f"{where}: {said}{more}. {CHANGED}") from error


def _sentence(problem: Mapping[str, Any], place: tuple[str, ...]) -> str:
    keys = [*place, *(str(key) for key in problem["loc"] if not str(key).startswith("<"))]
    said = f"{'.'.join(keys)}: " if keys else ""
    if problem["type"] == "missing":
        return f"{said}missing"
    if problem["type"] == "value_error":
        return said + str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] in ("model_type", "dict_type"):
        return f"{said}found {_short(problem['input'])}; expected an object"
    expected = str(problem["msg"]).removeprefix("Input should be ")
    return f"{said}found {_short(problem['input'])}; expected {expected[:1].lower()}{expected[1:]}"


def _short(value: Any) -> str:
    try:
        shown = ascii(value)
    except ValueError:  # a number of more digits than Python prints
        return "a number of thousands of digits"
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def check_file(data: Any, path: Path) -> None:
    """Checks the frame of a results file: what it must have whatever its tasks are.

    Raises:
        ResultsError: A value is missing, of another type or out of range.
    """
    check(_File, data, str(path))


def check_task(data: Mapping[str, Any], task: str, path: Path) -> None:
    """Checks what a results file, whose frame is right, holds of one of our tasks that reports an accuracy.

    Raises:
        ResultsError: As for `check_file`; or more questions were asked, or ranked, than the split holds.
    """
    check(_Task, data["configs"][task], str(path), "configs", task)
    metrics = check(_Metrics, data["results"][task], str(path), "results", task)
    if task in data.get("n-shot", {}):
        check(_Shots, data["n-shot"][task], str(path), "n-shot", task)
    if task not in data["n-samples"]:
        raise ResultsError(f"{path}: n-samples.{task}: missing. {CHANGED}")
    counts = check(_Counts, data["n-samples"][task], str(path), "n-samples", task)
    if (metrics.sample_len or 0) > counts.effective:
        raise ResultsError(
            f"{path}: results.{task}.sample_len: {metrics.sample_len} questions, where n-samples says that "
            f"{counts.effective} of {counts.original} were asked. {CHANGED}"
        )
    for key in FACTS_KEYS:
        of = ((data["config"].get(key) or {}).get("ties", {}).get(task) or {}).get("of", 0)
        if of > counts.original:
            raise ResultsError(
                f"{path}: config.{key}.ties.{task}.of: {of} questions of a split that has {counts.original}. {CHANGED}"
            )
