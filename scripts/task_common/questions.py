"""Questions, their shots, and the task that asks them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import datasets
import jinja2

from lm_eval.api.samplers import ContextSampler
from lm_eval.api.task import ConfigurableTask

from .data_files import questions_from


LETTERS = ("A", "B", "C", "D")
SEEDS = ("shots_seed", "split_seed")


class QuestionTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval is untyped
    """A task whose requests are always of this run's questions and shots, in this run's form."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Set up the task from its YAML, in which ``class`` names this class and means nothing further.

        ``custom_dataset`` is kept apart: lm-eval would write its source into the results, once for each task.
        """
        self.load: Callable[..., datasets.DatasetDict] = config["custom_dataset"]
        super().__init__(
            config={
                key: value
                for key, value in config.items()
                if key not in ("class", "custom_dataset")
            }
        )

    def download(self, *_: Any, **__: Any) -> None:
        """Load the questions as lm-eval does, but without its warning, which would come once for each task."""
        metadata, subject = self.config.metadata, self.config.dataset_kwargs
        self.dataset = self.load(**metadata, **subject)
        if "subject" in subject:
            files = self.load.__globals__["data_files"](**subject)
            source = questions_from(
                next(iter(files.values())), metadata.get("data_dir")
            )
            self.config.metadata["questions_from"] = source

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Set a value of the configuration; of shots other than the protocol's, the results tell both numbers."""
        if key == "num_fewshot" and value != self.config.num_fewshot:
            self.config.metadata["protocol_num_fewshot"] = self.config.num_fewshot
        super().set_config(key, value, update)

    def fewshot_docs(self) -> list[Any]:
        """Return no pool of shots to draw from: each question's row carries its own."""
        return []

    def build_all_requests(self, **options: Any) -> None:
        """Build the requests anew, whatever lm-eval's cache holds.

        The cache of ``--cache_requests`` knows a task by its name, so it answers another seed, other data or another
        chat form with the prompts of the run before; and a model that never saw a conversation can't shorten it.
        """
        if options.get("cache_requests"):
            logging.getLogger(__name__).info(
                "%s: --cache_requests has no effect; the requests are built anew.",
                self.config.task,
            )
        super().build_all_requests(**{**options, "cache_requests": False})


class ShotsOfQuestion(ContextSampler):  # type: ignore[misc]  # lm-eval is untyped
    """Takes the shots that a question's own row carries in its column ``shots``, in their order.

    lm-eval hands a sampler the question only where the shots' split is the questions' split, so a task using this
    sets ``fewshot_split`` to the split it asks.
    """

    def sample(
        self,
        n: int,
        eval_doc: dict[str, Any] | None = None,
        df: Any = None,
        **kwargs: Any,
    ) -> list[dict[str, str]]:
        """Return the first ``n`` shots of ``eval_doc``."""
        if eval_doc is None:
            raise ValueError(
                "The shots are a column of each question: set fewshot_split to the split that is asked."
            )
        shots: list[dict[str, str]] = eval_doc["shots"]
        if n > len(shots):
            raise ValueError(
                f"num_fewshot is {n}, but a question of this task has {len(shots)} shots. Ask for fewer."
            )
        return shots[:n]


def check_questions(
    rows: Iterable[Mapping[str, str]],
    columns: Sequence[str],
    *,
    own_data: bool,
    answers: bool = True,
) -> None:
    """Stop at a row whose answer is not one of A-D, or one of whose ``columns`` is empty; say file, row and column."""
    for row in rows:
        if answers and row["answer"] not in LETTERS:
            raise ValueError(
                f"{row['source']}, column 'answer': found {row['answer']!r}, expected A, B, C or D. Correct the row."
            )
        for column in columns:
            if not row[column].strip() and not own_data:
                raise ValueError(
                    f"{row['source']}, column {column!r}: the cell is empty, text was expected. Correct the row, or "
                    "pass --metadata own_data=true if your data is meant to differ from the published set."
                )


def check_row_counts(
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, int],
    expected: Mapping[str, int],
    what: str,
    *,
    own_data: bool,
) -> None:
    """Stop if a file does not have its published size: a score over part of a set is not the published score.

    Args:
        rows: The file's rows.
        found: Their numbers by kind.
        expected: The published numbers, of these kinds and maybe others.
        what: The set.
        own_data: Whether other numbers are meant.
    """
    for kind, number in found.items():
        if number != expected[kind] and not own_data:
            raise ValueError(
                f"{what}, {kind.replace('_', ' ')}: {number} rows found ({rows[0]['source'] if rows else 'none'} ff.), "
                f"{expected[kind]} expected in the published set. The data is incomplete or another release: replace "
                "it, or pass --metadata own_data=true if your data is meant to differ; its score then does not compare "
                "with the published one."
            )


def check_seeds(**metadata: Any) -> None:
    """Stop at a seed that is no whole number, and at one that no task knows, which would change nothing unseen."""
    for name, seed in metadata.items():
        if name.endswith("_seed") and name not in SEEDS:
            raise ValueError(
                f"--metadata {name}: no task draws by it. The seeds are {' and '.join(SEEDS)}."
            )
        if name in SEEDS and seed is not None and type(seed) is not int:
            raise ValueError(
                f"--metadata {name} is {seed!r}, a whole number was expected."
            )


def draw_key(*parts: object) -> str:
    """Return a key to sort by for a seeded random order that depends on nothing but ``parts``."""
    return hashlib.sha256(
        json.dumps([str(part) for part in parts], ensure_ascii=False).encode()
    ).hexdigest()


def make_dataset(
    shots: Sequence[Mapping[str, str]],
    questions: Sequence[Mapping[str, str]],
    split: str,
    subject: str,
    name: str,
    protocol: Mapping[str, Any],
    shots_seed: int | None = None,
) -> datasets.DatasetDict:
    """Render shots and questions, and add what an adapter needs to score them as published.

    Each template is compiled once here, where lm-eval would compile it anew for every text. Columns of the result:
    those of the rows, ``subject``, ``prompt`` (a question up to where its answer goes), ``shots`` (each with ``prompt``
    and ``answer``, in the order asked), ``instruction`` (the text before the shots), ``label_tokens``,
    ``max_prompt_tokens``, ``drop_shots``, and in characters ``description_length`` (of the instruction),
    ``question_length`` and ``shot_lengths`` (of each shot with its answer and delimiters, in order).

    Args:
        shots: The rows to answer in advance, in order.
        questions: The rows to ask.
        split: What to call the questions' split; the shots' is ``dev``.
        subject: Name of the subject in the data.
        name: Name of the subject in the instruction.
        protocol: Templates and scoring rules, from the YAML base.
        shots_seed: Draws the order of the shots, once for the subject or anew for each question as the protocol's
            ``shots_drawn_for`` says; None: the order given.
    """
    environment = jinja2.Environment(  # prompts are plain text, not HTML
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    render_question: Callable[..., str] = environment.from_string(
        protocol["question"]
    ).render
    instruction = environment.from_string(protocol["instruction"]).render(
        subject=subject, name=name
    )
    delimiters_length = len(protocol["answer_delimiter"]) + len(
        protocol["shot_delimiter"]
    )

    def rendered(row: Mapping[str, str]) -> dict[str, Any]:
        columns = {key: value for key, value in row.items() if key != "source"}
        return {**columns, "subject": subject, "prompt": render_question(**columns)}

    given = [rendered(row) for row in shots]
    documents = []
    for document in map(rendered, questions):
        ordered = given
        if shots_seed is not None:
            drawn_for = {"question": document["prompt"], "subject": ""}[
                protocol["shots_drawn_for"]
            ]
            ordered = sorted(
                given,
                key=lambda shot: draw_key(
                    shots_seed, subject, drawn_for, shot["prompt"]
                ),
            )
        document["shots"] = [
            {"prompt": shot["prompt"], "answer": shot["answer"]} for shot in ordered
        ]
        document["instruction"] = instruction
        for rule in ("label_tokens", "max_prompt_tokens", "drop_shots"):
            document[rule] = protocol[rule]
        document["description_length"] = len(instruction)
        document["question_length"] = len(document["prompt"])
        document["shot_lengths"] = [
            len(shot["prompt"]) + len(shot["answer"]) + delimiters_length
            for shot in ordered
        ]
        documents.append(document)
    return datasets.DatasetDict(
        {
            "dev": datasets.Dataset.from_list(given),
            split: datasets.Dataset.from_list(documents),
        }
    )
