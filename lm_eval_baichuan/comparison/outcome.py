"""Everything that ``compare`` found, which each format and the page draw in their own way."""

from __future__ import annotations

from dataclasses import dataclass

from ..published import PublishedTables
from .pairing import Pairing
from .spread import Spread
from .tables import Table, certificate_table, comparison_table, pairing_tables, paper_row, spread_table
from .verdicts import Comparison


@dataclass(frozen=True)
class Outcome:
    """Everything that ``compare`` found."""

    comparisons: tuple[Comparison, ...]
    spreads: tuple[Spread, ...]
    pairing: Pairing | None
    published: PublishedTables
    confidence: float

    def tables(self, shown_changes: int | None) -> list[Table]:
        """All of it as tables, the paper's row last."""
        tables = [comparison_table(comparison, self.confidence) for comparison in self.comparisons]
        if len(self.comparisons) > 1:
            tables.append(certificate_table(self.comparisons))
        if self.spreads:
            tables.append(spread_table(self.spreads))
        if self.pairing:
            tables += pairing_tables(self.pairing, shown_changes)
        return [*tables, paper_row(self.comparisons, self.published)]
