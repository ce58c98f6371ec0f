"""The demo's questions: read from beside this file, in C-Eval's layout, and rendered in C-Eval's form."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import jinja2


FOLDER = Path(__file__).resolve().parent


def load(
    *, subject: str, name: str, protocol: Mapping[str, Any], **_: Any
) -> datasets.DatasetDict:
    """Return one subject's ``dev`` rows (the shots) and ``test`` rows (the questions), ready for lm-eval.

    Each template is compiled once here, where lm-eval would compile it anew for every text. Beside the columns of the
    file a row has ``prompt`` (the question up to where its answer goes), ``instruction`` (the text before the shots),
    and what an adapter needs to score it as published: ``label_tokens``, ``max_prompt_tokens``, ``drop_shots``,
    ``question_length`` and ``shot_lengths`` (in characters, each shot with its answer and delimiters, in order).

    Args:
        subject: The subject in the file names, such as ``nature``.
        name: The subject's Chinese name in the instruction.
        protocol: Templates and scoring rules, from the YAML base.
    """
    environment = jinja2.Environment(  # prompts are plain text, not HTML
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    render_question: Callable[..., str] = environment.from_string(
        protocol["question"]
    ).render
    instruction = environment.from_string(protocol["instruction"]).render(name=name)
    delimiters_length = len(protocol["answer_delimiter"]) + len(
        protocol["shot_delimiter"]
    )

    def rendered(split: str) -> list[dict[str, Any]]:
        # Every cell is text: csv guesses no types.
        with (FOLDER / split / f"{subject}_{split}.csv").open(
            encoding="utf-8", newline=""
        ) as file:
            return [
                {**row, "subject": subject, "prompt": render_question(**row)}
                for row in csv.DictReader(file)
            ]

    shots = rendered("dev")
    scoring = {
        "instruction": instruction,
        "label_tokens": protocol["label_tokens"],
        "max_prompt_tokens": protocol["max_prompt_tokens"],
        "drop_shots": protocol["drop_shots"],
        "shot_lengths": [
            len(shot["prompt"]) + len(shot["answer"]) + delimiters_length
            for shot in shots
        ],
    }
    questions = [
        {**row, **scoring, "question_length": len(row["prompt"])}
        for row in rendered("test")
    ]
    return datasets.DatasetDict(
        {
            "dev": datasets.Dataset.from_list(shots),
            "test": datasets.Dataset.from_list(questions),
        }
    )
