"""Tells which of the four Baichuan architectures a checkpoint has, from what the checkpoint says.

Never from its name. In this order: explicit keys (``position_embedding``, ``norm_head``); the fields of the official
configurations; the checkpoint's modelling file, read as text and never run. Where fields and modelling file disagree,
or nothing says, loading stops and asks.

Facts (official configurations and modelling code, huggingface.co/baichuan-inc): RoPE checkpoints carry
``max_position_embeddings``, ALiBi checkpoints only ``model_max_length``; generation 1 has 64 000 pieces and a plain
head, generation 2 has 125 696 pieces and NormHead.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from ..errors import CheckpointError

if TYPE_CHECKING:
    from .configuration import BaichuanConfig

T = TypeVar("T")

PIECES_PLAIN_HEAD = 64000
PIECES_NORM_HEAD = 125696


def positions_from_fields(max_position_embeddings: int | None, model_max_length: int | None) -> str | None:
    """Returns ``"rope"``, ``"alibi"``, or None where neither length is given."""
    if max_position_embeddings is not None:
        return "rope"
    return "alibi" if model_max_length is not None else None


def head_from_fields(vocab_size: int) -> bool | None:
    """Returns whether the head is a NormHead by the number of pieces, or None for any other number."""
    return {PIECES_PLAIN_HEAD: False, PIECES_NORM_HEAD: True}.get(vocab_size)


def head_from_source(source: str) -> bool:
    """Returns whether a modelling file's text defines NormHead."""
    return re.search(r"^class NormHead\b", source, re.MULTILINE) is not None


def positions_from_source(source: str) -> str | None:
    """Returns the kind of positions a modelling file's text computes, or None where it shows both or neither."""
    rotary = re.search(r"^class RotaryEmbedding\b", source, re.MULTILINE) is not None
    alibi = re.search(r"^def _?gen_alibi_mask\b|^def _get_interleave\b", source, re.MULTILINE) is not None
    if rotary == alibi:
        return None
    return "rope" if rotary else "alibi"


def settle_family(config: BaichuanConfig, *, where: str, source: str | None = None) -> None:
    """Fills ``config.position_embedding`` and ``config.norm_head`` where they are still None, or stops.

    Args:
        config: The configuration; a value that is already there was stated outright and settles the question.
        where: The checkpoint, for messages.
        source: The text of the checkpoint's modelling file, if it has one.

    Raises:
        CheckpointError: The evidence is contradictory, or there is none.
    """
    config.norm_head = _settle(
        key="norm_head",
        options="norm_head=true or norm_head=false",
        explicit=config.norm_head,
        by_fields=head_from_fields(config.vocab_size),
        fields=f"{config.vocab_size} pieces (64000 mean a plain head, 125696 mean NormHead)",
        by_source=None if source is None else head_from_source(source),
        where=where,
    )
    config.position_embedding = _settle(
        key="position_embedding",
        options="position_embedding=rope or position_embedding=alibi",
        explicit=config.position_embedding,
        by_fields=positions_from_fields(config.max_position_embeddings, config.model_max_length),
        fields=f"max_position_embeddings={config.max_position_embeddings}, model_max_length={config.model_max_length}",
        by_source=None if source is None else positions_from_source(source),
        where=where,
    )
    if config.position_embedding not in ("rope", "alibi"):
        raise CheckpointError(
            f"{where}: position_embedding is {config.position_embedding!r}; expected 'rope' or 'alibi'."
        )
    if config.position_embedding == "rope" and config.head_dim % 2:
        raise CheckpointError(
            f"{where}: hidden_size {config.hidden_size} over num_attention_heads {config.num_attention_heads} gives "
            f"heads {config.head_dim} wide; expected an even width, since RoPE turns pairs of numbers."
        )


def _settle(
    *, key: str, options: str, explicit: T | None, by_fields: T | None, fields: str, by_source: T | None, where: str
) -> T:
    if explicit is not None:
        return explicit
    if by_fields is not None and by_source is not None and by_fields != by_source:
        raise CheckpointError(
            f"{where}: the checkpoint contradicts itself about {key}: its configuration has {fields}, which says "
            f"{by_fields}, but its modelling file (read as text) says {by_source}. "
            f"State it: --model_args pretrained=...,{options}"
        )
    found = by_fields if by_fields is not None else by_source
    if found is None:
        raise CheckpointError(
            f"{where}: nothing in the checkpoint says whether {key} applies: its configuration has {fields}, no "
            f"explicit key {key!r}, and there is no modelling file that shows it. "
            f"State it: --model_args pretrained=...,{options}"
        )
    return found
