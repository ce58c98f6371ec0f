"""Evaluate Baichuan models, and any other causal model, with lm-evaluation-harness.

The Python API is what ``__all__`` names (see `lm_eval_baichuan.api`). Everything else is private: it may change in any
release. Importing this package imports nothing else, because the start-up bridge does so in every Python process.
"""

__version__ = "0.2.0"

__all__ = ["TrieScorer", "__version__", "compare", "load", "report", "score"]

TYPE_CHECKING = False  # the typing module would take longer to import than all the rest here
if TYPE_CHECKING:
    from typing import Any

    from .api import TrieScorer, compare, load, report, score


def __getattr__(name: str) -> "Any":
    """Import the API when one of its names is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """The API's names, whether or not it was imported yet."""
    return sorted({*globals(), *__all__})
