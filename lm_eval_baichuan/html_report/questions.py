"""Packs all logged questions for the page: each text once, compressed, so that whole benchmarks stay small."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..published import PublishedTables
from ..results import Answer, Run, find_suite, suite_title
from .analysis import chinese_and_english, subject_name

NO_TEXT = -1
ROW = ("subject", "number", "text", "labels", "right", "said", "logprobs", "before", "after")
"""What a row of the packed questions holds, in this order; ``page.js`` reads it by these names."""


class _Once:
    """Numbers things in the order in which they first come."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}

    def __call__(self, thing: Any) -> int:
        return self.numbers.setdefault(thing, len(self.numbers))


def pack_questions(
    runs: Sequence[Run], logged: Sequence[Mapping[str, list[Answer]]], published: PublishedTables
) -> dict[str, Any]:
    """Return the questions of several runs in the form that ``questions.js`` reads.

    Args:
        runs: The runs.
        logged: Each run's samples by task.
        published: For the titles of benchmarks.

    Returns:
        ``columns`` (`ROW`), ``texts`` (each question once, as `split_options` returns it), ``subjects`` (task and
        title), ``labels`` (each set of labels), ``around`` (what stood before and behind questions), and for each of
        ``runs`` its ``name`` and ``rows``. Of a row, ``right`` and ``said`` are indices into its labels, ``number`` is
        the question's own, ``logprobs`` are natural logarithms, and the others are indices; ``before`` is `NO_TEXT`
        where the prompt is not known.
    """
    texts, subjects, labels, around = _Once(), _Once(), _Once(), _Once()
    packed = []
    for run, by_task in zip(runs, logged, strict=True):
        rows = []
        for task, answers in by_task.items():
            subject = subjects((task, _title(task, run, published)))
            for answer in answers:
                rows.append(
                    [
                        subject,
                        answer.doc_id,
                        texts((answer.question, answer.labels)),
                        labels(answer.labels),
                        answer.target,
                        answer.predicted,
                        [round(logprob, 3) for logprob in answer.logprobs],
                        NO_TEXT if answer.before is None else around(answer.before),
                        around(answer.after),
                    ]
                )
        packed.append({"name": run.name, "rows": rows})
    return {
        "columns": ROW,
        "texts": [split_options(text, own) for text, own in texts.numbers],
        "subjects": list(subjects.numbers),
        "labels": list(labels.numbers),
        "around": list(around.numbers),
        "runs": packed,
    }


def _title(task: str, run: Run, published: PublishedTables) -> str:
    suite = find_suite(task)
    if suite is None:
        return task
    names = chinese_and_english(suite.subject(task), subject_name(run.tasks[task]))
    return f"{suite_title(suite, published)}: {names}"


def split_options(text: str, labels: Sequence[str]) -> list[str]:
    """Split a question into the pieces that make it up: what precedes its options, mark and text of each, the rest.

    Returns:
        The text alone where the options do not stand in lines of their own, each behind its label, in order.
    """
    marks: list[re.Match[str]] = []
    end = len(text)
    # From the end: a passage above may have lines that look like options.
    for label in reversed(labels):
        own = list(re.finditer(rf"^[ \t]*[(（]?{re.escape(label)}[.．、:：)）][ \t]*", text[:end], re.MULTILINE))
        if not own:
            return [text]
        marks.insert(0, own[-1])
        end = own[-1].start()
    ends = [*(mark.start() for mark in marks[1:]), _end_of_line(text, marks[-1].end())]
    options = [piece for mark, end in zip(marks, ends, strict=True) for piece in (mark[0], text[mark.end() : end])]
    return [text[: marks[0].start()], *options, text[ends[-1] :]]


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def compress(data: Mapping[str, Any]) -> str:
    """Return data as base64 of zlib-compressed JSON, which holds nothing that HTML would read as its own."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 9)).decode("ascii")
