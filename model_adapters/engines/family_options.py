"""Options of ``--model_args`` that the engines share: what they take of the family, and how they refuse the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import OptionError

FAMILY_OPTIONS = ("norm_head", "position_embedding", "rope_theta")
"""Keys of the model's configuration that ``--model_args`` may state."""


def stated(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `FAMILY_OPTIONS` that were given."""
    return {name: options[name] for name in FAMILY_OPTIONS if options.get(name) is not None}


def refuse(options: Mapping[str, Any], not_here: Mapping[str, str], model: str) -> None:
    """Refuses options that an engine does not take.

    Args:
        options: Of ``--model_args``.
        not_here: What to do instead, by the option.
        model: The model's name for ``--model``.

    Raises:
        OptionError: Says which option, and what to do instead.
    """
    for name, instead in not_here.items():
        if options.get(name) not in (None, False):
            raise OptionError(f"--model_args: {name} is not for --model {model}. {instead}")
