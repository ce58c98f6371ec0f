"""A comparison that shows itself: as text where it is printed, as tables in a notebook, as a data frame."""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..model_adapters.errors import MissingExtraError
from ..printable import printable
from .outcome import Outcome
from .records import figure_records
from .table import Table
from .tables import SHOWN_CHANGES

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]


class Compared:
    """Results beside the published tables, and two runs beside each other; print it, or let a notebook show it."""

    def __init__(self, outcome: Outcome) -> None:
        """Holds what ``compare`` found."""
        self._outcome = outcome

    def __repr__(self) -> str:
        """The tables as text."""
        return printable("\n\n".join(_text(table) for table in self._outcome.tables(SHOWN_CHANGES)))

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return "\n".join(_html(table) for table in self._outcome.tables(SHOWN_CHANGES))

    def to_dataframe(self) -> pandas.DataFrame:
        """One row for each figure of each run, with the columns of ``compare --format csv``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise MissingExtraError("pandas is not installed, and data frames are its own: pip install pandas")
        import pandas

        return pandas.DataFrame(figure_records(self._outcome))


def _text(table: Table) -> str:
    from tabulate import tabulate

    drawn = tabulate(table.rows, headers=table.headers, tablefmt="simple", disable_numparse=True)
    return "\n".join([table.title, "", drawn, *(f"  {footnote}" for footnote in table.footnotes)])


def _html(table: Table) -> str:
    from tabulate import tabulate

    drawn = tabulate(table.rows, headers=table.headers, tablefmt="html", disable_numparse=True)
    footnotes = "".join(f"<li>{escape(footnote)}</li>" for footnote in table.footnotes)
    return f"<h4>{escape(table.title)}</h4>\n{drawn}\n<ul>{footnotes}</ul>"
