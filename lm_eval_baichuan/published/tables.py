"""Reads ``figures.json``: every published figure with its document, table, row, split and protocol."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ..model_adapters.errors import PublishedError

NOT_PRINTED = "-"


@dataclass(frozen=True)
class Benchmark:
    """What was published about how a benchmark was measured."""

    name: str
    title: str
    split: str | None
    """The split asked; None where the documents do not say which questions were."""
    shots: int
    label_tokens: str | None
    """Which ids of the label were ranked: ``isolated`` or ``bare``; None where not recorded."""
    max_prompt_tokens: int
    """The token limit of the published script, above which it drops shots; 0 where it has none."""
    averaged_over: str | None
    """``subjects`` or ``questions``; None where not recorded."""
    protocol: str


@dataclass(frozen=True)
class PublishedModel:
    """A row's name and what is known of the model behind it."""

    name: str
    kind: str
    """``base``, ``chat`` or ``peer`` (another maker's model in the same tables)."""
    quantization: str | None = None
    context_length: int | None = None
    """The tokens its context holds; None where not recorded."""


@dataclass(frozen=True)
class Figure:
    """One published accuracy."""

    model: str
    benchmark: str
    part: str
    """``average``, or a category such as ``stem``."""
    printed: str
    """The figure as printed, in percent: its digits say how far it was rounded."""
    document: str
    table: str
    row: str
    split: str | None
    shots: int
    protocol: str

    @property
    def value(self) -> float:
        """The figure in percent."""
        return float(self.printed)

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit, in percentage points: what rounding may hide."""
        decimals = len(self.printed.partition(".")[2])
        return 0.5 * 10.0**-decimals

    @property
    def source(self) -> str:
        """Where the figure stands, in words."""
        return f"{self.document}, {self.table}, row {self.row}"


@dataclass(frozen=True)
class PublishedTables:
    """All published figures."""

    benchmarks: Mapping[str, Benchmark]
    models: Mapping[str, PublishedModel]
    figures: tuple[Figure, ...]

    def of(self, model: str, benchmark: str | None = None, part: str | None = None) -> list[Figure]:
        """Return a model's figures, in the order of the tables, narrowed to a benchmark and one of its parts."""
        return [
            figure
            for figure in self.figures
            if figure.model == model and benchmark in (None, figure.benchmark) and part in (None, figure.part)
        ]

    def model(self, name: str) -> PublishedModel:
        """Return the row called ``name``, however its letters are cased and joined.

        Raises:
            PublishedError: there is none.
        """
        found = self.find(name)
        if found is None:
            raise PublishedError(f"No published row is called {name!r}. The rows are: {', '.join(self.models)}.")
        return found

    def find(self, name: str) -> PublishedModel | None:
        """Return the row that a hub name or folder is called after, or None.

        Only the last component counts and it must be the whole name: a fine-tune of Baichuan-7B is not Baichuan-7B.
        """
        wanted = _plain(name.replace("\\", "/").rstrip("/").rpartition("/")[2])
        return next((model for model in self.models.values() if _plain(model.name) == wanted), None)


@functools.cache
def load_published() -> PublishedTables:
    """Read the published tables that ship with the package."""
    text = resources.files(__package__).joinpath("figures.json").read_text(encoding="utf-8")
    return parse_published(json.loads(text))


def parse_published(data: Mapping[str, Any]) -> PublishedTables:
    """Build the tables from the parsed ``figures.json``.

    Raises:
        ValueError: a row has another length than its table has columns, or names a model or benchmark not described.
    """
    benchmarks = {name: Benchmark(name=name, **facts) for name, facts in data["benchmarks"].items()}
    models = {name: PublishedModel(name=name, **facts) for name, facts in data["models"].items()}
    figures = []
    for table in data["tables"]:
        where = f"{table['document']}, {table['table']}"
        columns = [column.split("/") for column in table["columns"]]
        splits = table.get("splits", {})
        for row, cells in table["rows"].items():
            if row not in models:
                raise ValueError(f"{where}: the row {row!r} is not among the models described.")
            for (benchmark, part), printed in zip(columns, cells, strict=True):
                if printed == NOT_PRINTED:
                    continue
                facts = benchmarks[benchmark]
                figures.append(
                    Figure(
                        model=row,
                        benchmark=benchmark,
                        part=part,
                        printed=printed,
                        document=table["document"],
                        table=table["table"],
                        row=row,
                        split=splits.get(benchmark, facts.split),
                        shots=facts.shots,
                        protocol=facts.protocol,
                    )
                )
    return PublishedTables(benchmarks=benchmarks, models=models, figures=tuple(figures))


def _plain(name: str) -> str:
    """Return a name without its case and punctuation, so that ``baichuan_7b`` is ``Baichuan-7B``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
