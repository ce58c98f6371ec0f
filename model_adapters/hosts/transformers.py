"""Names of transformers that its releases have moved or keep private; what it exports at its top level is not here."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, cache_utils, modeling_utils
from transformers.activations import ACT2FN
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from . import Lean

__all__ = [
    "ACT2FN",
    "ALL_ATTENTION_FUNCTIONS",
    "CACHE_KEYWORD",
    "LEANS",
    "LOADING_OPTIONS",
    "BaseModelOutputWithPast",
    "CausalLMOutputWithPast",
    "DummyLayer",
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "LinearAttentionAndFullAttentionLayer",
    "LinearAttentionAndSlidingWindowAttentionLayer",
    "LinearAttentionLayer",
    "attending_by",
    "attention_configs",
    "attention_name",
    "causal_mask_function",
    "create_causal_mask",
    "is_stateful",
    "never_warn_of_length",
    "packed_projection_style",
    "sdpa_attention_forward",
    "takes_attention",
    "tensor_parallel_size",
    "without_adapters",
]

CACHE_KEYWORD = "cache" if "cache" in inspect.signature(create_causal_mask).parameters else "past_key_values"
"""How models, masks and outputs name the KV cache: ``cache`` since 5.24, ``past_key_values`` before."""


DummyLayer: type | None = getattr(cache_utils, "DummyLayer", None)
"""What a cache has for a layer that keeps nothing, in releases that name it."""


LOADING_OPTIONS = frozenset(inspect.signature(PreTrainedModel.from_pretrained).parameters) - {
    "pretrained_model_name_or_path",
    "model_args",
    "kwargs",
} | {
    "adapter_kwargs",
    "adapter_name",
    "allow_all_kernels",
    "attn_implementation",
    "device_map",
    "device_mesh",
    "distributed_config",
    "dtype",
    "experts_implementation",
    "generation_config",
    "gguf_file",
    "kernel_config",
    "key_mapping",
    "low_cpu_mem_usage",
    "max_memory",
    "offload_buffers",
    "offload_folder",
    "output_loading_info",
    "proxies",
    "quantization_config",
    "state_dict",
    "subfolder",
    "tp_plan",
    "tp_size",
    "tqdm_class",
    "trust_remote_code",
    "use_kernels",
    "variant",
}
"""What `from_pretrained` takes beside the keys of a configuration; most of it is in no signature."""


def attention_name(model: Any) -> str:
    """The name of the attention function that a model, or one of its layers, uses."""
    name: str = model.config._attn_implementation
    return name


def attention_configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """The configurations by which a model and the models inside it choose their attention, each once."""
    configs = [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    return list({id(config): config for config in configs}.values())


@contextmanager
def attending_by(model: PreTrainedModel, name: str) -> Iterator[None]:
    """A model and the models inside it use another attention function inside this block, and their own after it.

    The public way also reaches the models around it, and gives all of them back one name.
    """
    before = [(config, config._attn_implementation) for config in attention_configs(model)]
    try:
        for config, _ in before:
            config._attn_implementation_internal = name
        yield
    finally:
        for config, own in before:
            config._attn_implementation_internal = own


@contextmanager
def without_adapters() -> Iterator[None]:
    """`from_pretrained` puts no adapter on the model whose configuration lies by its weights.

    There is no switch: before 5.23 it looks in the folder itself whatever ``adapter_kwargs`` name.
    """
    before = modeling_utils.maybe_load_adapters
    modeling_utils.maybe_load_adapters = lambda path, _download, **kwargs: (None, path, kwargs)
    try:
        yield
    finally:
        modeling_utils.maybe_load_adapters = before


def never_warn_of_length(tokenizer: Any) -> None:
    """Lets a tokenizer encode texts longer than the model's window without a warning; whoever asks looks after it."""
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True


def takes_attention(model: PreTrainedModel) -> bool:
    """Whether a model and the models inside it take whatever attention is registered with transformers."""
    models = (module for module in model.modules() if isinstance(module, PreTrainedModel))
    return all(module._can_set_attn_implementation() for module in models)


def is_stateful(model: PreTrainedModel) -> bool:
    """Whether a model carries a state from token to token besides its keys and values."""
    return bool(model._is_stateful)


def tensor_parallel_size(model: Any) -> int:
    """How many devices share every layer of a model; 1 as a rule."""
    return getattr(model, "_tp_size", None) or 1


def packed_projection_style(name: str, parts: int) -> bool:
    """Registers a style for projections that pack several in one, each part to be split over the devices.

    Args:
        name: The style's name in a plan.
        parts: How many projections are packed.

    Returns:
        Whether it could be done: not every build of torch can work on several devices.
    """
    if not torch.distributed.is_available():
        return False
    from transformers.distributed.tensor_parallel import ALL_PARALLEL_STYLES, PackedColwiseParallel

    if name not in ALL_PARALLEL_STYLES:
        style: Any = PackedColwiseParallel(split_factor=parts)
        ALL_PARALLEL_STYLES.register(name, style)
    return True


_MODEL = "transformers.modeling_utils:PreTrainedModel"
_TOKENIZER = "transformers.tokenization_utils_sentencepiece:SentencePieceBackend"
_PARALLEL = "transformers.distributed.tensor_parallel"
_LOADS = "baichuan.pretrained states it for the loader"

LEANS = (
    Lean(
        "transformers.masking_utils:create_causal_mask",
        "baichuan.modeling builds its mask by it",
        ("config", "inputs_embeds", "attention_mask", CACHE_KEYWORD, "allow_is_causal_skip"),
    ),
    Lean(
        "transformers.cache_utils:DynamicLayer",
        "trie_scorer.shared_prefix looks whether a cache keeps every token's keys and values, and roomy_cache is one",
    ),
    Lean(
        "transformers.cache_utils:DynamicLayer.update",
        "trie_scorer.roomy_cache adds tokens in its place",
        ("key_states", "value_states"),
    ),
    *(
        Lean(f"transformers.cache_utils:{kind.__name__}", "trie_scorer.joined_cache joins what its rows keep")
        for kind in (
            DynamicSlidingWindowLayer,
            LinearAttentionLayer,
            LinearAttentionAndFullAttentionLayer,
            LinearAttentionAndSlidingWindowAttentionLayer,
        )
    ),
    Lean(
        "transformers.integrations.sdpa_attention:sdpa_attention_forward",
        "baichuan.modeling attends by it where no other function is chosen",
        ("module", "query", "key", "value", "attention_mask", "dropout", "scaling"),
    ),
    Lean(
        "transformers.modeling_utils:AttentionInterface.get_interface",
        "baichuan.modeling asks it for the attention function",
        ("attn_implementation", "default"),
    ),
    Lean(
        f"{_MODEL}._can_set_attn_implementation",
        "trie_scorer.refusals asks it whether a model's attention can be ours: it looks for a call of "
        "ALL_ATTENTION_FUNCTIONS.get_interface in the text of its module, baichuan.modeling among them",
    ),
    Lean(f"{_MODEL}._is_stateful", "trie_scorer.refusals refuses recurrent models by it"),
    Lean(
        "transformers.masking_utils:causal_mask_function",
        "trie_scorer.masks tells plain causal layers by it",
        ("batch_idx", "head_idx", "q_idx", "kv_idx"),
    ),
    Lean(
        "transformers.configuration_utils:PreTrainedConfig._attn_implementation_internal",
        "attending_by sets the attention of one configuration by it",
    ),
    Lean(
        "transformers.configuration_utils:PreTrainedConfig._attn_implementation",
        "baichuan.modeling and attending_by read which attention is set",
    ),
    Lean(f"{_MODEL}._tp_size", "trie_scorer and lm read over how many devices the layers are split"),
    Lean(f"{_MODEL}._tp_plan", "baichuan.modeling states how the head is split"),
    Lean(f"{_PARALLEL}:PackedColwiseParallel", "baichuan.tensor_parallel splits W_pack by it", ("split_factor",)),
    Lean(
        f"{_PARALLEL}:ALL_PARALLEL_STYLES.register",
        "baichuan.tensor_parallel adds W_pack's style",
        ("key", "value"),
    ),
    Lean(
        "transformers.modeling_utils:maybe_load_adapters",
        "baichuan.loading has it find none, by without_adapters",
        ("pretrained_model_name_or_path", "download_kwargs", "adapter_kwargs"),
    ),
    Lean(
        f"{_MODEL}._get_resized_lm_head",
        "baichuan.modeling overrides it, so that a NormHead with more rows stays one",
        ("old_lm_head",),
    ),
    Lean(f"{_MODEL}._no_split_modules", _LOADS),
    Lean(f"{_MODEL}._skip_keys_device_placement", _LOADS),
    Lean(f"{_MODEL}._supports_sdpa", _LOADS),
    Lean(f"{_MODEL}._supports_attention_backend", _LOADS),
    Lean(f"{_MODEL}._keys_to_ignore_on_load_unexpected", _LOADS),
    Lean(
        f"{_TOKENIZER}._update_trie",
        "baichuan.tokenization overrides it, to notice added tokens",
        ("unique_no_split_tokens",),
    ),
    Lean(
        f"{_TOKENIZER}._encode_plus",
        "baichuan.tokenization overrides it: text without special tokens goes to sentencepiece whole",
        ("text", "text_pair"),
    ),
    Lean(
        f"{_TOKENIZER}._decode",
        "baichuan.tokenization overrides it, to decode bytes across tokens",
        ("token_ids", "skip_special_tokens", "clean_up_tokenization_spaces", "spaces_between_special_tokens"),
    ),
    Lean(f"{_TOKENIZER}._added_tokens_encoder", "baichuan.tokenization looks for added tokens in text"),
    Lean(f"{_TOKENIZER}._added_tokens_decoder", "baichuan.tokenization decodes added tokens apart"),
    Lean(f"{_TOKENIZER}.sp_model", "baichuan.tokenization encodes and decodes with it"),
    Lean(
        "transformers.tokenization_utils_base:PreTrainedTokenizerBase.deprecation_warnings",
        "never_warn_of_length notes there that a warning was given",
    ),
    Lean(
        "transformers.utils.quantization_config:BitsAndBytesConfig._load_in_8bit",
        "baichuan.quantized reads the bits of a finished configuration",
    ),
    Lean(
        "transformers.utils.quantization_config:BitsAndBytesConfig._load_in_4bit",
        "baichuan.quantized reads the bits of a finished configuration",
    ),
)
