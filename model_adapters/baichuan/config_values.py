"""Checks what config.json says: every value of its own type and in range.

Transformers takes most values as they come: a wrong one ends in a traceback that names no file, or counts as something
else (the string "false" is true).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from ..errors import CheckpointError
from ..hosts.transformers import ACT2FN
from .json_files import read_object
from .loading_options import ATTENTION_KEYS, check_attention, show


class _Kind(NamedTuple):
    expected: str
    fits: Callable[[Any], bool]


def _is_int(value: Any, low: int = 1, high: int = 2**31 - 1) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _or_null(kind: _Kind) -> _Kind:
    return _Kind(f"{kind.expected}, or null", lambda value: value is None or kind.fits(value))


def _one_of(*values: Any) -> _Kind:
    names = " or ".join("null" if value is None else repr(value).lower() for value in values)
    return _Kind(names, lambda given: any(given is value or type(given) is str and given == value for value in values))


_SIZE = _Kind("a whole number above 0", _is_int)
_LAYERS = _Kind("a whole number from 1 to 1000", lambda value: _is_int(value, high=1000))
_TOKEN = _Kind("a token id", lambda value: _is_int(value, low=-1))
_TOKENS = _Kind(
    "a token id or a list of them",
    lambda value: _TOKEN.fits(value) or (isinstance(value, list) and all(map(_TOKEN.fits, value))),
)
_POSITIVE = _Kind("a number above 0", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE = _Kind("a number, 0 or more", lambda value: _is_number(value) and value >= 0)
_BOOL = _Kind("true or false", lambda value: type(value) is bool)
_OBJECT = _Kind("an object", lambda value: isinstance(value, Mapping))
_TEXTS = _Kind("a list of names", lambda value: isinstance(value, list) and all(type(each) is str for each in value))
_ACTIVATION = _Kind("the name of an activation, such as 'silu'", lambda value: type(value) is str and value in ACT2FN)
_DTYPES = ("float32", "float16", "bfloat16", "float64", "auto")
_DTYPE = _Kind(
    f"one of {', '.join(_DTYPES)}",
    lambda value: isinstance(value, (str, torch.dtype)) and str(value).removeprefix("torch.") in _DTYPES,
)

_BOTH: dict[str, _Kind] = {
    "vocab_size": _SIZE,
    "hidden_size": _SIZE,
    "intermediate_size": _SIZE,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _SIZE,
    "hidden_act": _ACTIVATION,
    "rms_norm_eps": _POSITIVE,
    "initializer_range": _NOT_NEGATIVE,
    "use_cache": _BOOL,
    "pad_token_id": _or_null(_TOKEN),
    "bos_token_id": _or_null(_TOKEN),
    "eos_token_id": _or_null(_TOKENS),
    "dtype": _or_null(_DTYPE),
    "torch_dtype": _or_null(_DTYPE),
    "architectures": _or_null(_TEXTS),
    "quantization_config": _or_null(_OBJECT),
    "id2label": _or_null(_OBJECT),
    "label2id": _or_null(_OBJECT),
    "num_labels": _or_null(_Kind("a number of classes", lambda value: _is_int(value, low=0, high=10**5))),
    # These change what a forward pass returns, or which files are read; no checkpoint needs them.
    "return_dict": _one_of(True),
    "use_return_dict": _one_of(True, None),
    "output_hidden_states": _one_of(False, None),
    "output_attentions": _one_of(False, None),
    "is_encoder_decoder": _one_of(False, None),
    "chunk_size_feed_forward": _Kind("0", lambda value: type(value) is int and value == 0),
    "transformers_weights": _one_of(None),
    "configuration_files": _one_of(None),
    "per_layer_config": _one_of(None),
    "fusion_config": _one_of(None),
}
_BAICHUAN = {
    **_BOTH,
    "tie_word_embeddings": _one_of(False),
    "max_position_embeddings": _or_null(_SIZE),
    "model_max_length": _or_null(_SIZE),
    "rope_theta": _POSITIVE,
    "position_embedding": _one_of("rope", "alibi", None),
    "norm_head": _or_null(_BOOL),
}
_LLAMA = {
    **_BOTH,
    "tie_word_embeddings": _BOOL,
    "max_position_embeddings": _SIZE,
    "rope_theta": _or_null(_POSITIVE),
    "rope_scaling": _or_null(_OBJECT),
    "rope_parameters": _or_null(_OBJECT),
    "partial_rotary_factor": _or_null(
        _Kind("a number above 0, at most 1", lambda value: _is_number(value) and 0 < value <= 1)
    ),
    "num_key_value_heads": _or_null(_SIZE),
    "head_dim": _or_null(_SIZE),
    "attention_bias": _BOOL,
    "mlp_bias": _BOOL,
    "attention_dropout": _or_null(_NOT_NEGATIVE),
    "pretraining_tp": _or_null(_SIZE),
    # A Llama has rotary positions and a plain head: `lm-eval-baichuan export` folds a NormHead into the weights.
    "position_embedding": _one_of("rope", None),
    "norm_head": _one_of(False, None),
}
KINDS: dict[str, dict[str, _Kind]] = {"baichuan": _BAICHUAN, "llama": _LLAMA}
# Transformers would take Baichuan-7B's or Llama-7B's for them, and no tensor's shape tells the number of heads.
_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def read_config(folder: str | Path) -> dict[str, Any]:
    """Reads config.json and checks every value that the layout it names has a use for.

    Args:
        folder: The checkpoint.

    Returns:
        Its values by key. Of a model type other than Baichuan's and Llama's only the type was checked.

    Raises:
        CheckpointError: The file is damaged, or a value is missing, of a wrong type or out of range.
    """
    file = Path(folder) / "config.json"
    values = read_object(file)
    model_type = values.get("model_type")
    if type(model_type) is not str:
        raise CheckpointError(f"{file}: model_type is {show(model_type)}; expected 'baichuan' or 'llama'.")
    if model_type in KINDS:
        check_values(values, model_type, where=str(file), whole=True)
    return values


def check_values(values: Mapping[str, Any], model_type: str, *, where: str, whole: bool = False) -> None:
    """Checks values of a configuration.

    Args:
        values: By key; keys without a meaning here are passed over.
        model_type: ``baichuan`` or ``llama``.
        where: What they stand in, for messages.
        whole: Whether the sizes of the model must all be there.

    Raises:
        CheckpointError: One is missing, of a wrong type or out of range.
    """
    kinds = KINDS[model_type]
    for key in _NEEDED if whole else ():
        if key not in values:
            raise CheckpointError(f"{where}: {key} is missing; expected {kinds[key].expected}.")
    for key, value in values.items():
        if key in kinds and not kinds[key].fits(value):
            raise CheckpointError(f"{where}: {key} is {show(value)}; expected {kinds[key].expected}.")
    for key in ATTENTION_KEYS:
        check_attention(values.get(key), where=f"{where}: {key}", error=CheckpointError)
    if not whole:
        return
    hidden, heads = values["hidden_size"], values["num_attention_heads"]
    if hidden % heads:
        raise CheckpointError(
            f"{where}: hidden_size is {hidden}, which num_attention_heads = {heads} does not divide; expected a "
            "multiple, since every head has the same width."
        )
    kv_heads = values.get("num_key_value_heads") if model_type == "llama" else None
    if kv_heads is not None and heads % kv_heads:
        raise CheckpointError(
            f"{where}: num_attention_heads is {heads}, which num_key_value_heads = {kv_heads} does not divide; "
            "expected a multiple."
        )


def override_config(config: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Puts those options into a configuration that are its keys.

    Args:
        config: Baichuan's or Llama's; changed in place.
        options: Of `from_pretrained`.

    Returns:
        The other options.

    Raises:
        CheckpointError: One is of a wrong type or out of range.
    """
    keys = KINDS[config.model_type].keys() - {"dtype", "torch_dtype", "quantization_config"}
    overrides = {key: value for key, value in options.items() if key in keys}
    check_values(overrides, config.model_type, where="--model_args")
    for key, value in overrides.items():
        setattr(config, key, value)
    return {key: value for key, value in options.items() if key not in keys}


def read_generation_config(folder: str | Path) -> None:
    """Checks generation_config.json where there is one; transformers passes over a damaged one without a word.

    Raises:
        CheckpointError: It is damaged, or holds values that generation cannot take.
    """
    file = Path(folder) / "generation_config.json"
    if not file.is_file():
        return
    values = read_object(file)
    try:
        GenerationConfig.from_dict(values)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{file}: not readable as a generation configuration ({error}).") from error
