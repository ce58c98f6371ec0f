"""Says what a configuration holds that its model's code has no use for, so that nothing is dropped unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

# What says nothing of the arithmetic: of the files, the tokenizer, training, or who wrote them.
_ELSEWHERE = {
    "_attn_implementation", "_commit_hash", "_from_model_config", "_name_or_path", "attn_implementation", "auto_map",
    "experts_implementation", "gradient_checkpointing", "model_type", "name_or_path", "num_labels",
    "output_attentions", "quantization_config", "tokenizer_class", "torch_dtype", "transformers_weights",
    "use_return_dict", "z_loss_weight",
}  # fmt: skip


def useful_keys(config_class: type[PreTrainedConfig]) -> set[str]:
    """Keys that a model's code, or transformers' for every model, has a use for."""
    own = {field.name for field in fields(config_class)}
    if "rope_parameters" in own:  # which transformers makes of these
        own |= {"rope_theta", "rope_scaling", "partial_rotary_factor"}
    generation = GenerationConfig().to_dict()  # which it takes out of the configurations of before
    return {*own, *generation, *_ELSEWHERE}


def ignored_values(values: Mapping[str, Any], config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Picks what a configuration says that its model's code has no use for, though another's might.

    Args:
        values: By key.
        config_class: The class of the configuration.

    Returns:
        Those whose value says something: not null, false, zero or empty, and not what holds anyway.
    """
    useful = useful_keys(config_class)
    return {
        key: value
        for key, value in values.items()
        if key not in useful and value and not _holds_anyway(key, value, values)
    }


def ignored_config(config: Any) -> dict[str, Any]:
    """What a configuration says that changes nothing, by key, for a warning and for the results.

    Args:
        config: Baichuan's or Llama's, read by this package; of another nothing is known.
    """
    kept: dict[str, Any] = getattr(config, "ignored_config", {})
    return kept


def _holds_anyway(key: str, value: Any, values: Mapping[str, Any]) -> bool:
    heads, hidden = values.get("num_attention_heads"), values.get("hidden_size")
    if key == "num_key_value_heads":
        return bool(value == heads)
    if key == "head_dim":
        return bool(heads and hidden and value == hidden // heads)
    if key == "rope_parameters" and isinstance(value, Mapping):
        theta = values.get("rope_theta", 10000.0)
        return value.get("rope_type", "default") == "default" and value.get("rope_theta", theta) == theta
    # An export to Llama may keep the first, and the second is 1 where nothing was split.
    return (key, value) in (("position_embedding", "rope"), ("pretraining_tp", 1))
