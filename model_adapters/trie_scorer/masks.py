"""Which earlier tokens each layer sees, asked of the model itself.

Transformers builds the masks of a model from one function for each kind of layer: causal, sliding, chunked. Under the
trie's name that function is handed to the layers as it is, in place of a tensor. The trie evaluates it at depths, which
are the positions that the tokens have in their own requests, and lets a token see what both it and the rule of the
trie allow. So no family needs code of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UnsupportedModelError
from ..hosts.transformers import causal_mask_function

# Pairs of depths evaluated at once, and depths evaluated at least, so that a few tokens show what kind of mask it is.
_PAIRS = 2**22
_AT_LEAST = 64


class LayerMask:
    """What layers of one kind see: each token the tokens before it from some depth on.

    Two masks are equal when they are made alike, so that what is laid out for one serves the other: some models make a
    new one for each layer, and all do for each forward.

    Attributes:
        plain: Whether a token sees all tokens before it, so that the rule of the trie says everything.
    """

    def __init__(self, function: Callable[..., Any] = causal_mask_function, device: Any = "cpu") -> None:
        """Takes transformers' mask function.

        Args:
            function: From (batch, head, query position, key position) to whether the query may see the key.
            device: Where it computes.

        Raises:
            UnsupportedModelError: It goes by something other than positions.
        """
        self.plain = function is causal_mask_function
        self._function, self._device = function, device
        self._made_of = tuple(_parts(function))

    def __eq__(self, other: object) -> bool:
        """Whether both are made of the same functions and numbers."""
        return isinstance(other, LayerMask) and self._made_of == other._made_of

    def __hash__(self) -> int:
        """See `__eq__`."""
        return hash(self._made_of)

    def first_seen(self, depths: int) -> NDArray[np.int64]:
        """The depth of the first token that a token at each depth sees, `[depths]`.

        Raises:
            UnsupportedModelError: A token sees later ones, not itself, or not all from the first on.
        """
        return np.zeros(depths, dtype=np.int64) if self.plain else _first_seen(self, max(depths, _AT_LEAST))[:depths]

    def sees(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Whether queries at depths `[q]` may see keys at depths `[k]`, `[q, k]`, bool, on the device of the mask."""
        zero = torch.zeros((), dtype=torch.int64, device=self._device)
        seen: torch.Tensor = self._function(zero, zero, query.to(self._device)[:, None], key.to(self._device))
        return seen.expand(len(query), len(key))


@functools.lru_cache(maxsize=16)
def _first_seen(mask: LayerMask, depths: int) -> NDArray[np.int64]:
    every = torch.arange(depths)
    parts = []
    for queries in every.split(max(1, _PAIRS // depths)):
        seen = mask.sees(queries, every).cpu()
        first = seen.int().argmax(dim=1)
        expected = (every >= first[:, None]) & (every <= queries[:, None])
        if not torch.equal(seen, expected):
            what = "later tokens" if bool((seen & (every > queries[:, None])).any()) else "earlier tokens with gaps"
            raise UnsupportedModelError(
                f"A layer attends to {what}; the trie serves causal, sliding and chunked attention. Use trie=False."
            )
        parts.append(first)
    return torch.cat(parts).numpy()


def layer_mask(
    *, mask_function: Callable[..., Any], attention_mask: torch.Tensor | None, device: Any = "cpu", **_: Any
) -> LayerMask:
    """The function registered with transformers' `AttentionMaskInterface`; called for each kind of layer in a forward.

    Args:
        mask_function: What the layers of this kind see.
        attention_mask: The padding that the model was told of, `[1, nodes]`: none.
        device: Where the mask function computes.

    Returns:
        The mask that the layers hand to `row_attention.trie_attention`.

    Raises:
        UnsupportedModelError: The mask goes by something other than positions.
    """
    if attention_mask is None:
        # Restarting positions are then taken for packed sequences, and the mask goes by the row's indices.
        raise UnsupportedModelError("The model builds its masks without the padding it is told of. Use trie=False.")
    return LayerMask(mask_function, device)


def _parts(value: Any) -> Iterator[Any]:
    """What a mask function is made of: its code, and what it and the functions inside it have closed over."""
    if callable(value) and hasattr(value, "__code__"):
        yield value.__code__
        for cell in value.__closure__ or ():
            yield from _parts(cell.cell_contents)
    elif isinstance(value, tuple | list):
        yield len(value)
        for item in value:
            yield from _parts(item)
    elif isinstance(value, torch.Tensor) and value.numel() == 1:
        yield value.item()
    elif value is None or isinstance(value, int | float | str | torch.device):
        yield value
    else:
        raise UnsupportedModelError(
            f"A layer's mask depends on a {type(value).__name__}, not only on positions: "
            "it may differ with the place of a token in its batch. Use trie=False."
        )
