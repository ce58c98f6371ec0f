"""What the trie cannot serve, told from a model's class and configuration before anything is run.

The other nets are in the run itself (an unknown keyword to the attention, a finished mask, keys that are not the row's,
no attention at all), which a few tokens show, and in `certificate`, which compares scores.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ..errors import UnsupportedModelError
from ..hosts.transformers import attention_configs, is_stateful, takes_attention

# Layers that mix tokens by attention over their own keys, and names that say what feed-forward a layer has.
_SERVED_LAYERS = {"full_attention", "sliding_attention", "chunked_attention", "attention", "sparse", "dense"}


def plain_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside peft's wrapper, with its adapters in place.

    Raises:
        UnsupportedModelError: The trie cannot run it; why, and the way round.
    """
    plain = without_wrapper(model)
    reason = next(_reasons(plain), None)
    if reason:
        raise UnsupportedModelError(f"{type(plain).__name__} {reason}. Use trie=False.")
    return plain


def without_wrapper(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside peft's wrapper, with its adapters in place, whether the trie can run it or not.

    Raises:
        UnsupportedModelError: There is none, or its adapter puts tokens before every request.
    """
    wrapped: Any = model
    if hasattr(wrapped, "get_base_model"):
        if wrapped.active_peft_config.is_prompt_learning:
            raise UnsupportedModelError(
                "Prompt-learning adapters put virtual tokens before every request. Use trie=False."
            )
        model = wrapped.get_base_model()
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(f"Expected a transformers model, found {type(model).__name__}. Use trie=False.")
    return model


def _reasons(model: PreTrainedModel) -> Iterator[str]:
    """Why the trie cannot run a model, as the rest of a sentence about it."""
    if model.config.is_encoder_decoder:
        yield "is an encoder-decoder: what it attends to is not among the tokens of the trie"
    models = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    if any(is_stateful(module) for module in models):
        yield "carries a recurrent state from token to token, which the branches of the trie cannot share"
    configs = attention_configs(model)
    layers = {name for config in configs for name in getattr(config, "layer_types", None) or ()}
    if layers - _SERVED_LAYERS:
        kinds = ", ".join(sorted(layers - _SERVED_LAYERS))
        yield f"has layers of the kind {kinds}; the trie serves full, sliding and chunked attention"
    if any(getattr(config, "attn_temperature_tuning", False) for config in configs):
        yield "scales attention by a token's place in its batch (attn_temperature_tuning), not by its position"
    decoder = decoder_of(model)
    if not takes_attention(decoder):
        yield "does not ask transformers' attention interface, so its attention cannot follow the trie"
    if "position_ids" not in inspect.signature(decoder.forward).parameters:
        yield "takes no position_ids, so the depths of the trie cannot be its positions"
    for name, module in decoder.named_modules():
        if "position" in name and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            yield "counts its positions from the id of its padding token on, not from 0"


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The module inside a causal language model whose hidden states its head reads.

    Raises:
        UnsupportedModelError: There is none that can be told.
    """
    decoder = model.get_decoder()
    if isinstance(decoder, PreTrainedModel) and decoder is not model:
        return decoder
    inside = [child for child in model.children() if isinstance(child, PreTrainedModel)]
    if len(inside) != 1:
        raise UnsupportedModelError(f"{type(model).__name__} has {len(inside)} decoders, expected one. Use trie=False.")
    return inside[0]


def same_rope_up_to(model: PreTrainedModel) -> int | None:
    """The most tokens for which the rotary frequencies do not depend on a request's length; None where they never do.

    Beyond it a request's first tokens are rotated otherwise than a shorter request's, so the two cannot share them.
    """
    windows = []
    for config in attention_configs(model):
        for rope in _ropes(getattr(config, "rope_parameters", None)):
            kind = rope["rope_type"]
            if "dynamic" in kind:
                windows.append(int(config.max_position_embeddings))
            elif kind == "longrope":
                windows.append(int(rope["original_max_position_embeddings"]))
    return min(windows, default=None)


def _ropes(parameters: Any) -> Iterator[dict[str, Any]]:
    """The parameters of each RoPE: of the one that all layers have, or of each kind of layer's."""
    if not isinstance(parameters, dict):
        return
    if "rope_type" in parameters:
        yield parameters
    for nested in parameters.values():
        yield from _ropes(nested)
