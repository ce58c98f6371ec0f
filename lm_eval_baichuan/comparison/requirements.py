"""The libraries of the extra ``report``, asked for by name before they are used."""

from __future__ import annotations

import importlib.util

from ..model_adapters.errors import MissingExtraError


def need_report_extra(*modules: str) -> None:
    """Check that some libraries of the extra ``report`` are installed.

    Raises:
        MissingExtraError: one is not.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} not installed. Tables and charts need the extra report: "
            "pip install 'lm-eval-baichuan[report]'"
        )
