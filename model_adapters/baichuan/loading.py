"""Loads a model so that all of it comes from its checkpoint: headers before, transformers' own report afterwards."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, EvaluationError, OptionError
from ..hosts.transformers import without_adapters
from .checkpoint import HUB_ARGUMENTS
from .config_values import read_generation_config
from .ignored_values import ignored_config
from .loading_options import check_options
from .stored_tensors import tensor_readers
from .tensor_check import check_loading_report, check_quantized_tensors, check_tensors
from .weight_files import Shape, weight_files

logger = logging.getLogger(__name__)

ROTARY_BUFFERS = r"rotary_emb\.inv_freq$"
"""Some checkpoints have these; they are recomputed from the configuration."""


def load_checked(
    load: Callable[..., Any], model_class: Callable[[Any], Any], folder: str, config: Any, options: dict[str, Any]
) -> Any:
    """Loads a checkpoint's model and accounts for every tensor.

    Args:
        load: Transformers' ``from_pretrained`` of the class.
        model_class: Builds the model of a configuration, to see which tensors it needs.
        folder: The checkpoint's folder.
        config: Its configuration, with ``quantization_config`` if its weights are quantized.
        options: Of `load`.

    Returns:
        What `load` gives.

    Raises:
        CheckpointError: A file or tensor is missing, damaged, unexpected or misshapen.
        OptionError: An option is unknown, or asks for what is never done.
    """
    # The folder is here already, and code from it is never run.
    options = {name: value for name, value in options.items() if name not in (*HUB_ARGUMENTS, "trust_remote_code")}
    check_options(options)
    read_generation_config(folder)
    if ignored := ignored_config(config):
        logger.warning(
            "%s/config.json says %s. The code of %s models has no use for that: it changes nothing.",
            folder, ", ".join(f"{key}={value!r}" for key, value in ignored.items()), config.model_type,
        )  # fmt: skip
    if (Path(folder) / "adapter_config.json").is_file():
        logger.warning("%s: the adapter there is left out. peft=%s puts it on the model.", folder, folder)
    quantized = getattr(config, "quantization_config", None) is not None
    if not options.get("gguf_file"):
        expected, tied = _expected_tensors(model_class, config, folder)
        check = check_quantized_tensors if quantized else check_tensors
        check(folder, expected, ignored=[ROTARY_BUFFERS], tied=tied)
    with_report = options.pop("output_loading_info", False)
    try:
        with without_adapters():
            model, report = load(folder, config=config, **{**options, "output_loading_info": True})
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise OptionError(f"An option is unknown to transformers and to the model: {error}.") from error
    except (AssertionError, AttributeError, KeyError, RuntimeError, ValueError) as error:
        if not quantized or isinstance(error, EvaluationError):
            raise
        raise CheckpointError(f"{folder}: the quantized weights cannot be loaded ({error}).") from error
    zero = _zero_biases(folder, report["unexpected_keys"]) if quantized else ()
    check_loading_report(folder, report, zero=zero)
    return (model, report) if with_report else model


def _expected_tensors(
    model_class: Callable[[Any], Any], config: Any, folder: str
) -> tuple[dict[str, Shape], dict[str, str]]:
    """Name and shape of every tensor that a model needs, and which two of them are one."""
    try:
        with torch.device("meta"):
            model = model_class(copy.deepcopy(config))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, EvaluationError):
            raise
        raise CheckpointError(f"{folder}/config.json: describes no model that can be built ({error}).") from error
    tied = {"lm_head.weight": "model.embed_tokens.weight"} if config.tie_word_embeddings else {}
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, tied


def _zero_biases(folder: str, names: Any) -> list[str]:
    """Those of the named tensors that are biases of zeros: AutoGPTQ gave every layer one."""
    read = tensor_readers(weight_files(folder))
    return [name for name in names if name.endswith(".bias") and name in read and not read[name]().any()]
