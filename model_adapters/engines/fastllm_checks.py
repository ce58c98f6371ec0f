"""What is known of a run on ftllm before anything is loaded: whether it is here, and whether it serves the model."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers import LlamaForCausalLM

from ..baichuan import BaichuanConfig, BaichuanForCausalLM
from ..baichuan.checkpoint import modelling_source
from ..baichuan.config_values import override_config
from ..baichuan.family import settle_family
from ..baichuan.layouts import checkpoint_config
from ..baichuan.loading import ROTARY_BUFFERS
from ..baichuan.tensor_check import check_tensors
from ..errors import CheckpointError, MissingExtraError, OptionError
from ..hosts.ftllm import RUN, installed_version
from ..lm.model_args import LM_EVAL_DEFAULT, dtype_name
from .family_options import refuse, stated
from .fastllm_folder import llama_values

DTYPES = ("float32", "float16")
NOT_HERE = {
    **dict.fromkeys(("peft", "delta"), "Merge the adapter into the weights, or use --model baichuan."),
    **dict.fromkeys(
        ("load_in_8bit", "load_in_4bit", "torchao", "quantization_config", "gguf_file", "gptqmodel", "autogptq"),
        "ftllm was run with unquantized weights alone; --model baichuan quantizes.",
    ),
    **dict.fromkeys(("parallelize", "device_map", "tp_plan"), "ftllm was run on one CPU."),
    "enable_thinking": "No model that ftllm serves here thinks first.",
}
"""Options of ``--model baichuan`` that ftllm was not run with, and what to do instead."""


def found_ftllm() -> str:
    """The version of ftllm that is installed, one that was run.

    Raises:
        MissingExtraError: There is none, or it is another release.
    """
    version = installed_version()
    if version is None or importlib.util.find_spec("ftllm") is None:
        raise MissingExtraError(
            "--model baichuan-fastllm needs ftllm, which is not installed. Run: pip install "
            "'lm-eval-baichuan[fastllm]' (docs/engines.md says for which systems there is one)."
        )
    if not f"{version}.".startswith(f"{RUN}."):
        raise MissingExtraError(
            f"ftllm {version} is installed; --model baichuan-fastllm was run with {RUN}, and calls native functions "
            f"that may be others in any other release. Run: pip install 'ftllm=={RUN}.*'"
        )
    return version


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options that ask for what ftllm was not run with.

    Raises:
        OptionError: Says which, and what to do instead.
    """
    refuse(options, NOT_HERE, "baichuan-fastllm")
    dtype = options.get("dtype", "auto")
    if own_dtype(dtype) not in DTYPES:
        raise OptionError(f"dtype is {dtype!r}; --model baichuan-fastllm was run in {' and '.join(DTYPES)} alone.")
    if str(options.get("device") or "cpu") not in ("cpu", LM_EVAL_DEFAULT):
        raise OptionError(f"device is {options['device']!r}; ftllm was run on the CPU alone, and runs there.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError("--model baichuan-fastllm runs in one process, which has ftllm in another; start one alone.")
    threads, timeout = options.get("threads"), options.get("timeout", 600)
    if threads is not None and (type(threads) is not int or threads < 1):
        raise OptionError(f"threads is {threads!r}; expected a whole number above 0.")
    if type(timeout) not in (int, float) or not 0 < timeout < float("inf"):
        raise OptionError(f"timeout is {timeout!r}; expected seconds, a number above 0.")


def own_dtype(asked: Any) -> str:
    """The dtype by torch's name; ``auto`` is float32, as it is on every CPU here.

    Raises:
        OptionError: It is none.
    """
    name = dtype_name(str(asked))
    return "float32" if name == "auto" else name


def servable_config(folder: str, options: Mapping[str, Any]) -> Any:
    """The settled configuration of a checkpoint folder that ftllm can serve, every tensor accounted for.

    Args:
        folder: The checkpoint, in Baichuan's or Llama's layout.
        options: Of ``--model_args``; those of `FAMILY_OPTIONS` are obeyed.

    Raises:
        CheckpointError: A file or tensor is missing, damaged, unexpected or misshapen, or the architecture is open.
        OptionError: An option has a value that it does not take.
        UnsupportedModelError: ftllm cannot serve the model.
    """
    config = checkpoint_config(folder)
    override_config(config, stated(options))
    if isinstance(config, BaichuanConfig):
        settle_family(config, where=folder, source=modelling_source(folder))
    llama_values(config, window(config, options), own_dtype(options.get("dtype", "auto")), folder)
    expected = {name: tuple(tensor.shape) for name, tensor in without_weights(config).state_dict().items()}
    check_tensors(folder, expected, ignored=[ROTARY_BUFFERS])
    return config


def without_weights(config: Any) -> Any:
    """The model of a configuration, its weights on the meta device."""
    with torch.device("meta"):
        return (BaichuanForCausalLM if isinstance(config, BaichuanConfig) else LlamaForCausalLM)(config)


def window(config: Any, options: Mapping[str, Any]) -> int:
    """The context length in tokens: what was asked for, else what the checkpoint states.

    Raises:
        CheckpointError: Neither says.
        OptionError: More was asked for than the checkpoint states: ftllm refuses longer prompts.
    """
    asked = options.get("max_length")
    stated = getattr(config, "context_length", None) or config.max_position_embeddings
    if not asked and not stated:
        raise CheckpointError("config.json states no max_position_embeddings. Pass max_length=N.")
    if asked and stated and int(asked) > int(stated):
        raise OptionError(
            f"max_length is {asked}, but the checkpoint states {stated} tokens, and ftllm takes no longer prompts."
        )
    return int(asked or stated)
