"""Stops a run whose model returns NaN or infinite logits, and says where they begin.

Official Baichuan-7B code returns NaN without an error on current transformers; a score read from NaN looks like any
other number, so every call of the model is checked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from ..errors import NonFiniteLogitsError


def watch_logits(model: torch.nn.Module) -> None:
    """Makes every forward call of a causal language model raise if its logits are not finite."""
    model.register_forward_hook(_check, with_kwargs=True)


def _check(model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    if bool(torch.isfinite(output.logits).all()):
        return
    input_ids = args[0] if args else kwargs.get("input_ids")
    raise non_finite_error(model, input_ids)


def non_finite_error(model: torch.nn.Module, input_ids: torch.Tensor | None) -> NonFiniteLogitsError:
    """Builds the error, naming the first module whose output is not finite where a second run shows it.

    Args:
        model: The causal language model.
        input_ids: What it was run on, shape [batch, query], or None where that is not known.
    """
    where = None if input_ids is None else first_bad_module(model, input_ids)
    place = f"first in {where}" if where else "the layer could not be told"
    return NonFiniteLogitsError(
        f"The model returned NaN or infinite logits ({place}), so no score may be read from them. "
        "Try dtype=float32 or bfloat16 (float16 overflows easily), and check the checkpoint's weights."
    )


@torch.no_grad()
def first_bad_module(model: torch.nn.Module, input_ids: torch.Tensor) -> str | None:
    """Runs the model again and returns the name of the first module whose output is not finite, if that shows it.

    Args:
        model: The causal language model.
        input_ids: Shape [batch, query].
    """
    bad: list[str] = []
    handles = []
    for name, module in model.named_modules():
        if name and not list(module.children()):

            def look(_module: Any, _args: Any, output: Any, name: str = name) -> None:
                tensor = output[0] if isinstance(output, tuple) else output
                if not bad and isinstance(tensor, torch.Tensor) and not bool(torch.isfinite(tensor).all()):
                    bad.append(name)

            handles.append(module.register_forward_hook(look))
    decoder = getattr(model, "base_model", model)
    try:
        # The run only adds a place to an error that is raised anyway. An encoder, say, asks for more than token ids.
        with suppress(Exception):
            hidden = decoder(input_ids=input_ids, use_cache=False).last_hidden_state
            if not bad:
                model.get_output_embeddings()(hidden)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return bad[0] if bad else None
