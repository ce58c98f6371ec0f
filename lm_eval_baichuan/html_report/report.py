"""Writes the page of some results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..comparison.outcome import Outcome, find_outcome
from ..comparison.requirements import need_report_extra
from ..results import read_logged, read_runs


def write_report(
    results: Sequence[Path],
    output: Path,
    against: str | None,
    confidence: float,
    language: str = "en",
    x: Sequence[str] | None = None,
) -> Outcome:
    """Write the page of some results, and return what is on it.

    Args:
        results: Results files, or folders of them.
        output: The page.
        against: As `find_outcome` takes it.
        confidence: Coverage of the intervals, 0 to 1.
        language: Of the page, one of `LANGUAGES`.
        x: As `find_outcome` takes it.
    """
    need_report_extra("scipy", "tabulate", "vl_convert")
    from tqdm import tqdm

    from .page import build_page

    runs = read_runs(results)
    logged = [read_logged(one) for one in tqdm(runs, desc="reading samples", unit="run", disable=None)]
    outcome = find_outcome(runs, against, confidence, logged, x)
    output.write_text(build_page(runs, outcome, logged, language), encoding="utf-8", errors="surrogatepass")
    return outcome
