"""Configuration of the four Baichuan architectures.

Baichuan-7B, Baichuan-13B, Baichuan2-7B and Baichuan2-13B share one model type (``baichuan``) and differ in two things
only: how positions enter (RoPE or ALiBi) and what the output head is (plain, or with normalised rows). The official
configurations name neither; ``family.py`` tells how they are told apart.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transformers import PreTrainedConfig

from ..errors import CheckpointError
from .config_values import check_values
from .ignored_values import ignored_values, useful_keys
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
        ignored_config: What config.json says beside all this, by key: it changes nothing.
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
        """Sets aside what the family's code has no use for: left on the configuration, transformers' own code reads it.

        It would cut a KV cache to a ``sliding_window``, say. What points at the checkpoint's own Python is dropped.
        """
        stated = {field.name: getattr(self, field.name) for field in fields(self)}
        self.ignored_config: dict[str, Any] = ignored_values({**stated, **kwargs}, type(self))
        useful = useful_keys(type(self)) - {"auto_map"}
        super().__post_init__(**{key: value for key, value in kwargs.items() if key in useful})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Makes a configuration of what a config.json says, and of keyword arguments that override it.

        The file's own values are checked when a model is loaded by them: `AutoTokenizer` comes here too, and takes a
        tokenizer of another class where this stops.

        Raises:
            CheckpointError: Transformers cannot make one of the values, or an argument is of a wrong type or range.
        """
        check_values(kwargs, cls.model_type, where="the options (--model_args)")
        if kwargs.get("quantization_config", cls) is None:  # not given; transformers would take the stored one away
            del kwargs["quantization_config"]
        try:
            return super().from_dict(config_dict, **kwargs)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            where = kwargs.get("name_or_path") or config_dict.get("_name_or_path") or "a checkpoint"
            raise CheckpointError(f"config.json of {where}: transformers cannot read it ({error}).") from error

    def to_dict(self) -> dict[str, Any]:
        """All values by key, as config.json has them; those that are ignored stay in it."""
        values: dict[str, Any] = super().to_dict()
        return {**values.pop("ignored_config", {}), **values}

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
