"""Tiny random models of many families, none of them Baichuan's, with weights strong enough that attention matters."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

PIECES = 400
WINDOW = 16
LENGTH = 1024

_SIZES: dict[str, Any] = {
    "vocab_size": PIECES,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2, "head_dim": 8}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}

# A name for the test, the model type, and its configuration; every window is shorter than the prompts.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _GROUPED),
    "qwen2": ("qwen2", _GROUPED),
    "qwen3": ("qwen3", _GROUPED),
    "mistral with a window": ("mistral", {**_GROUPED, "sliding_window": WINDOW}),
    "gemma2": ("gemma2", {**_GROUPED, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "gemma3": ("gemma3_text", {**_GROUPED, "sliding_window": WINDOW, "sliding_window_pattern": 2}),
    "gpt_neox": ("gpt_neox", {**_SIZES, "rotary_pct": 0.5}),
    "gpt2": (
        "gpt2",
        {"vocab_size": PIECES, "n_positions": LENGTH, "n_embd": 32, "n_layer": 2, "n_head": 4}
        | {"initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 0},
    ),
    "opt": ("opt", {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2, "pad_token_id": 1}),
    "mixtral": ("mixtral", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": ("qwen2_moe", {**_GROUPED, **_EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 24}),
    "deepseek_v3": (
        "deepseek_v3",
        {**_SIZES, **_EXPERTS, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 2, "topk_group": 1}
        | {"first_k_dense_replace": 1, "kv_lora_rank": 16, "q_lora_rank": 16}
        | {"qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 10},
    ),
    "cohere": ("cohere", {**_GROUPED, "logit_scale": 0.0625}),
    "granite": (
        "granite",  # with the scales of granite-3.1-2b
        {**_GROUPED, "embedding_multiplier": 12.0, "attention_multiplier": 0.015625}
        | {"residual_multiplier": 0.22, "logits_scaling": 8.0},
    ),
    "gpt_oss": ("gpt_oss", {**_GROUPED, "sliding_window": WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2}),
}

# The same for models whose layers carry states: no trie, but generated answers may share what is before them.
STATEFUL: dict[str, tuple[str, dict[str, Any]]] = {
    "lfm2": ("lfm2", {**_GROUPED, "layer_types": ["conv", "full_attention"]}),
    "qwen3_5": (
        "qwen3_5_text",
        {**_GROUPED, "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4}
        | {"linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    ),
    "falcon_h1": ("falcon_h1", {**_GROUPED, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8}),
    "mamba": ("mamba", {"vocab_size": PIECES, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 1}),
}


def tiny_model(family: str) -> PreTrainedModel:
    """A random float32 model of one of FAMILIES or STATEFUL."""
    model_type, options = (FAMILIES | STATEFUL)[family]
    torch.manual_seed(5)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **options))
    if getattr(model.config, "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # sdpa of older transformers left the softcap out without a word
    return model.float().eval()
