"""Which models of the family vLLM can serve."""

from __future__ import annotations

from typing import Any

from ..baichuan import BaichuanConfig
from ..errors import CheckpointError, UnsupportedModelError


def check_servable(config: Any, checkpoint: str) -> None:
    """Stops at a configuration that asks for what this model does not compute.

    Raises:
        CheckpointError: It is of another kind.
        UnsupportedModelError: Its weights are quantized, or its activation is another one.
    """
    if not isinstance(config, BaichuanConfig):
        raise CheckpointError(
            f"{checkpoint}: its configuration is a {type(config).__name__}; expected this package's BaichuanConfig. "
            "Leave trust_remote_code out: no code of a checkpoint is needed."
        )
    if config.hidden_act != "silu":
        raise UnsupportedModelError(f"{checkpoint}: hidden_act is {config.hidden_act!r}; on vLLM only 'silu' is here.")
    if getattr(config, "quantization_config", None) is not None:
        raise quantized(checkpoint)


def quantized(checkpoint: str) -> UnsupportedModelError:
    """The error for a checkpoint of quantized weights."""
    return UnsupportedModelError(
        f"{checkpoint}: its weights are quantized, which was never run on vLLM. --model baichuan reads them."
    )
