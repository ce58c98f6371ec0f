"""How much memory a run needs, from the configuration alone; and how many tokens it may run at once.

Three parts a device: the weights; the keys and values of the path that one row of the token trie hands to the next; and
the working set, which is what one layer, or the output head, holds while it computes on a row. Sizes are bytes, GB are
10^9 bytes. The formulas follow this package's model and scorer; tests hold them against measured peaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .attention import BLOCK
from .read_out import HEAD_ROWS

GB = 1e9

# Bytes of one weight of a block. bitsandbytes keeps a float32 scale a row (int8, negligible) or for every 64 weights
# (4-bit); torchao's int4 has two scales for every 128 weights, which is less.
_QUANTIZED = {8: 1.0, 4: 0.5 + 4 / 64}


@dataclass(frozen=True)
class ModelSizes:
    """The numbers of a configuration that decide about memory.

    Attributes:
        layers: Number of blocks.
        hidden: Width of the hidden states.
        intermediate: Width inside the feed-forward layer.
        heads: Attention heads.
        key_value: Width of the keys, and of the values, of one token.
        vocabulary: Rows of embedding and head.
        alibi: Whether positions are a bias on the scores, which are computed in float32 then.
        norm_head: Whether the head divides its logits by norms, in float32.
        tied: Whether embedding and head share their weights.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value: int
    vocabulary: int
    alibi: bool = False
    norm_head: bool = False
    tied: bool = False

    @classmethod
    def of(cls, config: Any) -> ModelSizes:
        """Reads a model's configuration; what it leaves open counts as the larger.

        A configuration says by ``may_have_alibi`` and ``may_have_norm_head`` what has no field of transformers' own.
        """
        config = config.get_text_config()
        heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
            heads=heads,
            key_value=head_dim * (getattr(config, "num_key_value_heads", None) or heads),
            vocabulary=config.vocab_size,
            alibi=getattr(config, "may_have_alibi", False),
            norm_head=getattr(config, "may_have_norm_head", False),
            tied=bool(config.tie_word_embeddings),
        )

    @property
    def block_weights(self) -> int:
        """Weights of the matrices of one block."""
        attention = (self.hidden + 2 * self.key_value) * self.hidden + self.hidden * self.hidden
        return attention + 3 * self.hidden * self.intermediate


@dataclass(frozen=True)
class Run:
    """How the model is run.

    Attributes:
        dtype: Of everything that is not quantized, and of the arithmetic.
        bits: Of a quantized weight, 8 or 4; None for weights in `dtype`.
        max_length: The context length, in tokens.
        tokens: Tokens run at once: the token budget of the trie; without the trie, batch size times `max_length`.
        trie: Whether the token trie scores.
    """

    dtype: torch.dtype
    bits: int | None
    max_length: int
    tokens: int
    trie: bool = True


@dataclass(frozen=True)
class Need:
    """Bytes needed on one device."""

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        """All three parts."""
        return self.weights + self.cache + self.working


def estimate(sizes: ModelSizes, run: Run, devices: int = 1) -> list[Need]:
    """What each device needs when the blocks are spread evenly over several, none of them split.

    Args:
        sizes: The model.
        run: How it is run.
        devices: How many devices.

    Returns:
        One `Need` a device, the embedding on the first and the head on the last.
    """
    item = run.dtype.itemsize
    block = round(sizes.block_weights * (_QUANTIZED[run.bits] if run.bits else item)) + 2 * sizes.hidden * item
    embedding = sizes.vocabulary * sizes.hidden * item
    head = sizes.hidden * item + (0 if sizes.tied and devices == 1 else embedding)
    # The path with room for an eighth more, and what a row adds to it, kept apart while it runs (see `path_cache`);
    # without the trie one cache.
    path, added = run.max_length + run.max_length // 8, min(run.tokens, run.max_length)
    cached_tokens = path + added if run.trie else run.tokens
    cache = 2 * cached_tokens * sizes.key_value * item
    blocks = _spread(sizes.layers, block + cache, embedding, head, devices)
    last = len(blocks) - 1
    return [
        Need(
            weights=count * block + (embedding if i == 0 else 0) + (head if i == last else 0),
            cache=count * cache,
            working=working_set(sizes, run, with_head=i == last),
        )
        for i, count in enumerate(blocks)
    ]


def _spread(layers: int, block: int, first: int, last: int, devices: int) -> list[int]:
    """Blocks on each device, in order, so that the fullest device is as empty as can be."""
    extra = [0] * devices
    extra[0] += first
    extra[-1] += last
    counts = [0] * devices
    for _ in range(layers):
        least = min(range(devices), key=lambda i: counts[i] * block + extra[i])
        counts[least] += 1
    return counts


def working_set(sizes: ModelSizes, run: Run, *, with_head: bool = True) -> int:
    """The most that a forward pass holds besides weights and cache, on the device of the head or another."""
    item, tokens = run.dtype.itemsize, run.tokens
    hidden = tokens * sizes.hidden
    residual = 2 * hidden * item  # the residual, and its normed form
    keys = run.max_length + (BLOCK if run.trie else 0)
    masks = tokens * keys * (4 if sizes.alibi else 1)

    # Queries, keys and values in one piece, then queries and keys rotated, then path and row together.
    attention = (hidden + 2 * tokens * sizes.key_value) * item + hidden * item
    if not sizes.alibi:
        attention += (hidden + tokens * sizes.key_value) * item
    if run.trie:
        attention += 2 * (run.max_length + tokens) * sizes.key_value * item
        queries = min(BLOCK, tokens)
        attention += 2 * keys * sizes.key_value * item  # the keys and values that one block of queries sees
    else:
        queries = tokens
    if sizes.alibi:
        attention += sizes.heads * queries * keys * 4
        if item != 4:
            attention += (2 * keys * sizes.key_value + 2 * queries * sizes.hidden) * 4
    feed_forward = 3 * tokens * sizes.intermediate * item
    norm = hidden * (12 + item)
    layer = residual + masks + max(attention, feed_forward, norm)
    if run.bits:  # the largest matrix, unpacked for the product
        layer += sizes.hidden * max(sizes.intermediate, sizes.hidden + 2 * sizes.key_value) * item

    rows = min(HEAD_ROWS, tokens) if run.trie else tokens
    copies = 8 + item if sizes.norm_head else 8 if item == 4 else 8 + item
    head = (hidden + rows * sizes.hidden) * item + rows * sizes.vocabulary * copies
    return max(layer, head) if with_head else layer


def tokens_that_fit(sizes: ModelSizes, run: Run, free: int, most: int) -> int:
    """The largest number of tokens at once, up to `most`, whose cache and working set fit beside the loaded weights.

    Args:
        sizes: The model.
        run: How it is run; its `tokens` are the fewest to be answered.
        free: Bytes free on the device.
        most: The most to be answered.
    """
    fewest = run.tokens
    while fewest < most:
        middle = (fewest + most + 1) // 2
        [need] = estimate(sizes, replace(run, tokens=middle))
        if need.cache + need.working <= free:
            fewest = middle
        else:
            most = middle - 1
    return fewest


def describe(needs: Sequence[Need]) -> str:
    """The need of the fullest device, in words."""
    fullest = max(needs, key=lambda need: need.total)
    return (
        f"{fullest.total / GB:.1f} GB (weights {fullest.weights / GB:.1f}, key/value cache {fullest.cache / GB:.1f}, "
        f"working set {fullest.working / GB:.1f})"
    )
