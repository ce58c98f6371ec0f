"""A run's suites in the order of the published tables, and under their titles."""

from __future__ import annotations

from ..published import PublishedTables
from .runs import Run
from .suites import Suite


def suites_of(run: Run, published: PublishedTables) -> list[Suite]:
    """Return a run's suites in the order of the published tables; those of no published benchmark come last."""
    order = list(published.benchmarks)
    return sorted(run.suites(), key=lambda s: order.index(s.benchmark) if s.benchmark in order else len(order))


def suite_title(suite: Suite, published: PublishedTables) -> str:
    """Return a suite's title: ``C-Eval (val)``."""
    benchmark = published.benchmarks.get(suite.benchmark)
    title = benchmark.title if benchmark else suite.benchmark
    return f"{title} ({suite.variant.replace('_', ' ')})" if suite.variant else title
