"""Configuration of the four Baichuan architectures.

Baichuan-7B, Baichuan-13B, Baichuan2-7B and Baichuan2-13B share one model type (``baichuan``) and differ in two things
only: how positions enter (RoPE or ALiBi) and what the output head is (plain, or with normalised rows). The official
configurations name neither; ``family.py`` tells how they are told apart.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from .tensor_parallel import PLAN, available_plan


class BaichuanConfig(PreTrainedConfig):
    """One configuration for the whole family; the sizes default to those of Baichuan-7B.

    ``position_embedding`` and ``norm_head`` stay None until a model is built or loaded (``family.settle_family``).

    Attributes:
        position_embedding: ``"rope"``, ``"alibi"``, or None where the checkpoint's configuration leaves it open.
        norm_head: Whether the rows of the output head are L2-normalised, or None where it is left open.
        max_position_embeddings: Context length in tokens of a RoPE checkpoint; None for ALiBi.
        model_max_length: Context length in tokens as ALiBi checkpoints state it; may be None for RoPE.
        rope_theta: Base of the rotary frequencies (10 000 in every published checkpoint).
    """

    model_type = "baichuan"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]
    base_model_tp_plan = available_plan(PLAN)

    vocab_size: int = 64000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    hidden_act: str = "silu"
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    max_position_embeddings: int | None = None
    model_max_length: int | None = None
    position_embedding: str | None = None
    norm_head: bool | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Drops what points at the checkpoint's own Python, which is never run."""
        kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def may_have_alibi(self) -> bool:
        """Whether positions are ALiBi, as far as is known; for who estimates memory."""
        return self.position_embedding == "alibi" or (
            self.position_embedding is None and self.max_position_embeddings is None
        )

    @property
    def may_have_norm_head(self) -> bool:
        """Whether the head is a NormHead, as far as is known; for who estimates memory."""
        return self.norm_head is not False

    @property
    def context_length(self) -> int | None:
        """The number of tokens that the checkpoint was trained to see, or None where it does not say."""
        return self.max_position_embeddings or self.model_max_length
