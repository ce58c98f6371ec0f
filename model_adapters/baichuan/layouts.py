"""Reads the two layouts that a Baichuan may be saved in, its own and Llama's, both with the same care."""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

from ..errors import CheckpointError
from .config_values import read_config
from .configuration import BaichuanConfig
from .ignored_values import ignored_values, useful_keys
from .loading import load_checked
from .modeling import BaichuanForCausalLM
from .other_models import other_model
from .quantized import read_quantization

MODEL_TYPES = (BaichuanConfig.model_type, LlamaConfig.model_type)


def checkpoint_config(folder: str, **options: Any) -> Any:
    """Reads the configuration of a checkpoint in either layout, its quantization included.

    What the model's code has no use for is set aside, as ``ignored_config``: transformers would cut a Llama's KV cache
    to a ``sliding_window``, though its mask has none.

    Args:
        folder: The checkpoint.
        options: Of `AutoConfig.from_pretrained`.

    Raises:
        CheckpointError: The file is damaged, a value is missing, of a wrong type or out of range, or the model is of
            another type.
        QuantizationError: The weights are quantized in a form that cannot be read here.
    """
    values = read_config(folder)
    if values["model_type"] not in MODEL_TYPES:
        raise other_model(f"{folder}: config.json says model_type {values['model_type']!r}", values["model_type"])
    try:
        if values["model_type"] == LlamaConfig.model_type and not options.get("gguf_file"):
            useful = {key: value for key, value in values.items() if key in useful_keys(LlamaConfig)}
            config = LlamaConfig.from_dict(useful, name_or_path=folder)
            config.ignored_config = ignored_values(values, LlamaConfig)
        else:
            config = AutoConfig.from_pretrained(folder, **options)
    except CheckpointError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
        raise CheckpointError(f"{folder}/config.json: transformers cannot read it ({error}).") from error
    read_quantization(folder, config)
    return config


class CheckedCausalLM:
    """Stands where lm-eval has `AutoModelForCausalLM`: reads the two layouts, and accounts for every tensor."""

    @classmethod
    def from_pretrained(cls, folder: str, *, config: BaichuanConfig | LlamaConfig, **options: Any) -> Any:
        """Loads a checkpoint.

        Args:
            folder: Its folder.
            config: Its configuration; for a Llama, with ``quantization_config`` if its weights are quantized.
            options: As for transformers.

        Raises:
            CheckpointError: A file or tensor is missing, damaged, unexpected or misshapen.
            OptionError: An option is unknown, or asks for what is never done.
        """
        if isinstance(config, BaichuanConfig):
            return BaichuanForCausalLM.from_pretrained(folder, config=config, **options)
        model = load_checked(LlamaForCausalLM.from_pretrained, LlamaForCausalLM, folder, config, options)
        head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        if config.tie_word_embeddings and head is not embedding and not torch.equal(head, embedding):
            raise CheckpointError(
                f"{folder}: config.json says tie_word_embeddings, but lm_head.weight and model.embed_tokens.weight "
                "hold different numbers. Write false there if the head is one of its own, or remove it from the file."
            )
        return model


def check_model_object(model: Any) -> None:
    """Refuses a loaded model whose arithmetic is not the family's.

    Args:
        model: A model, with or without a peft adapter around it.

    Raises:
        CheckpointError: It is another family's.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    model_type = getattr(getattr(inner, "config", None), "model_type", None)
    if not isinstance(inner, (BaichuanForCausalLM, LlamaForCausalLM)) or model_type not in MODEL_TYPES:
        raise CheckpointError(
            f"pretrained is a {type(inner).__name__} (model_type {model_type!r}); --model baichuan takes a "
            "BaichuanForCausalLM of this package or a LlamaForCausalLM. Use --model hf-trie for other models."
        )
