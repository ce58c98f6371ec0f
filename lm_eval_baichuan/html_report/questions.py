"""Packs all logged questions for the page: each text once, compressed, so that whole benchmarks stay small."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..published import PublishedTables
from ..results import Answer, Run, find_suite


def pack_questions(
    runs: Sequence[Run], logged: Sequence[Mapping[str, list[Answer]]], published: PublishedTables
) -> dict[str, Any]:
    """Return the questions of several runs in the form that ``page.js`` reads.

    Args:
        runs: The runs.
        logged: Each run's samples by task.
        published: For the titles of benchmarks.

    Returns:
        ``texts`` (each question once), ``subjects`` (their titles), ``labels``, and for each run ``rows`` of
        [subject, number of the question, text, right label, predicted label, margin in nats], the first, third, fourth
        and fifth of them indices.
    """
    texts: dict[str, int] = {}
    subjects: dict[str, int] = {}
    labels: dict[str, int] = {}
    packed = []
    for run, by_task in zip(runs, logged, strict=True):
        rows = []
        for task, answers in by_task.items():
            suite = find_suite(task)
            benchmark = published.benchmarks.get(suite.benchmark) if suite else None
            title = f"{benchmark.title if benchmark else suite.benchmark if suite else ''}: "
            title += (suite.subject(task) if suite else task).replace("_", " ")
            subject = subjects.setdefault(title, len(subjects))
            for answer in answers:
                rows.append(
                    [
                        subject,
                        answer.doc_id,
                        texts.setdefault(answer.question, len(texts)),
                        labels.setdefault(answer.labels[answer.target], len(labels)),
                        labels.setdefault(answer.labels[answer.predicted], len(labels)),
                        round(answer.margin, 3),
                    ]
                )
        packed.append({"name": run.name, "rows": rows})
    return {"texts": list(texts), "subjects": list(subjects), "labels": list(labels), "runs": packed}


def compress(data: Mapping[str, Any]) -> str:
    """Return data as base64 of zlib-compressed JSON, which holds nothing that HTML would read as its own."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 9)).decode("ascii")
