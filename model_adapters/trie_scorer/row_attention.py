"""The attention function that transformers calls, and what a row's forward pass carries to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface

from ..errors import UnsupportedModelError
from .attention import Attend, ScoreRule
from .masks import LayerMask, layer_mask
from .path_cache import KeyValue, PathCache
from .trie import Row, TokenTrie

ATTENTION_NAME = "token_trie"
"""The name under which transformers finds `trie_attention` and `masks.layer_mask`."""

# What layers pass besides, and what no kernel but flash attention's reads: a window is in the mask as well, and
# positions are in the rotated queries and keys.
_WITHOUT_EFFECT = {"sliding_window", "position_ids", "use_cache", "logits_to_keep", "deterministic"}

_PLAIN = LayerMask()


class RowAttention:
    """What one row's forward pass carries to every attention layer: how to attend, and the path's keys and values.

    The layers' keys and values are told apart by the number of the attention call within the row: a layer may attend
    twice, and layers may share a number or be run more than once.

    Attributes:
        calls: How often the model has attended in this row.
    """

    def __init__(
        self, kind: Callable[..., Attend], trie: TokenTrie, row: Row, cache: PathCache, *, alibi: bool
    ) -> None:
        """Prepares a row.

        Args:
            kind: Makes the attention of a row for a mask on a device: `merged_attention.MergedAttention` or another.
            trie: The trie.
            row: The row.
            cache: Where the path's keys and values are.
            alibi: Whether the model's positions are ALiBi.
        """
        self._kind, self._trie, self._row, self._cache, self._alibi = kind, trie, row, cache, alibi
        # Layers may lie on several devices and be of several kinds; each device has its own copy of masks and indices.
        self._attend: dict[tuple[torch.device, LayerMask], Attend] = {}
        # The next path is the first tokens of this one, and some of the row's nodes.
        self._stay = int((row.keep < len(row.path)).sum())
        self._added: dict[torch.device, torch.Tensor] = {}
        self.calls = 0

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: LayerMask, rule: ScoreRule
    ) -> torch.Tensor:
        """One attention call; shapes as in `Attend`, with key and value of the row's own nodes only."""
        if (rule.slopes is not None) != self._alibi:
            raise UnsupportedModelError("The layers disagree on whether positions are ALiBi. Use trie=False.")
        nodes = (1, len(self._row))
        if any((tensor.shape[0], tensor.shape[2]) != nodes for tensor in (query, key, value)):
            raise UnsupportedModelError(
                f"A layer attends from {query.shape[2]} queries to {key.shape[2]} keys in a row of {nodes[1]} tokens; "
                "the trie needs each token's own query, key and value. Use trie=False."
            )
        device = query.device
        kind = device, _PLAIN if mask.plain else mask
        if kind not in self._attend:
            self._attend[kind] = self._kind(self._trie, self._row, kind[1], alibi=self._alibi, device=device)
        if device not in self._added:
            self._added[device] = torch.from_numpy(self._row.keep[self._stay :] - len(self._row.path)).to(device)
        path = self._cache.extend(self.calls, KeyValue(key, value), self._stay, self._added[device])
        self.calls += 1
        return self._attend[kind](query, path, KeyValue(key, value), rule)


_running: ContextVar[RowAttention] = ContextVar("row of the token trie")


@contextmanager
def running(row: RowAttention) -> Iterator[None]:
    """Every attention layer that runs inside this block attends by this row.

    Not a keyword of the model's forward: some models hand no keywords on to their layers, and none should swallow one.
    """
    token = _running.set(row)
    try:
        yield
    finally:
        _running.reset(token)


def trie_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: LayerMask | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function registered with transformers; called by every attention layer of the model.

    Args:
        module: The attention layer; an attribute `alibi_slopes` that is not None makes it ALiBi.
        query: Rotated queries of the row's nodes, `[1, heads, nodes, head_dim]`.
        key: Rotated keys, `[1, kv_heads, nodes, head_dim]`.
        value: Values, `[1, kv_heads, nodes, value_dim]`.
        attention_mask: What the layer sees; None for all earlier tokens.
        scaling: Factor on the scores; None for head_dim ** -0.5.
        dropout: Must be 0, as it is in eval mode.
        softcap: Softcap of the scores, or None.
        s_aux: Sinks, `[heads]`, or None.
        is_causal: Whether the layer is causal; None to ask the module.
        kwargs: Whatever else the model passes; None and False ask for nothing.

    Returns:
        Attended values, `[1, nodes, heads, value_dim]`, and None for the weights.

    Raises:
        UnsupportedModelError: The layer asks for an attention that the trie does not compute.
    """
    wanted = (name for name, what in kwargs.items() if not (what is None or what is False))
    asked = sorted(set(wanted) - _WITHOUT_EFFECT)
    if dropout:
        asked.append("dropout")
    if attention_mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        attention_mask = _PLAIN
        if not causal:
            asked.append("attention to later tokens")
    elif not isinstance(attention_mask, LayerMask):
        asked.append("a finished mask")
    if asked:
        raise UnsupportedModelError(
            f"{type(module).__name__} asks for {', '.join(asked)}, which the token trie does not compute. "
            "Use trie=False."
        )
    slopes = getattr(module, "alibi_slopes", None)
    rule = ScoreRule(
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        slopes=None if slopes is None else slopes.to(query.device),  # an off-loaded layer computes elsewhere
        softcap=softcap,
        sinks=s_aux,
    )
    return _running.get().attend(query, key, value, attention_mask, rule), None


AttentionInterface.register(ATTENTION_NAME, trie_attention)
AttentionMaskInterface.register(ATTENTION_NAME, layer_mask)
