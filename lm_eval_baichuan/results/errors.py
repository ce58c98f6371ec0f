"""The error of results that cannot be read."""

from __future__ import annotations

from ..model_adapters.errors import BaichuanError


class ResultsError(BaichuanError):
    """A results file or a file of logged samples is missing, damaged, contradictory or of a form not known here."""
