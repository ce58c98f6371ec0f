"""A tiny random model of every causal family that the installed transformers knows, and ragged requests for it."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

Request = tuple[list[int], list[int]]

VOCABULARY = 97
WINDOW = 16
LONGEST = 128

# Whatever a configuration calls its sizes: small, different where they may be, windows shorter than the requests.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "d_model": 64,
    "n_embd": 64,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "num_hidden_layers": 4,
    "n_layer": 4,
    "n_layers": 4,
    "num_layers": 4,
    "depth": 2,
    "num_attention_heads": 4,
    "num_heads": 4,
    "n_head": 4,
    "decoder_layers": 2,
    "encoder_layers": 2,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48,
    "max_target_positions": LONGEST,
    "n_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rotary_dim": 8,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "max_position_embeddings": LONGEST,
    "n_positions": LONGEST,
    "max_seq_len": LONGEST,
    "sliding_window": WINDOW,
    "attention_chunk_size": WINDOW,
    "window_size": WINDOW,
    "moe_intermediate_size": 24,
    "expert_ffn_hidden_size": 24,
    "ffn_hidden_size": 48,
    "shared_expert_intermediate_size": 24,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "zero_expert_num": 2,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "n_group": 1,
    "topk_group": 1,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "image_size": 32,
    "mm_tokens_per_image": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
FULL_WINDOW = {"layer_types": ["full_attention", "sliding_attention"] * 2}
INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_compress_ratio": 4,
    "indexer_budget": 16,
}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
LATENT = {"num_key_value_heads": 4, "head_dim": 8}  # multi-head latent attention: every head has keys of its own

SPECIAL: dict[str, dict[str, Any]] = {
    "axk1": LATENT,
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "minicpm3": LATENT,
    "sarvam_mla": LATENT,
    "youtu": LATENT,
    "longcat_flash": LATENT,
    "glm4_moe_lite": LATENT,
    "dots3_note_text": {"num_key_value_heads": 4},
    "dots3_note": {"text_config": {"num_key_value_heads": 4}},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "gemma3n_text": FULL_WINDOW | {"num_kv_shared_layers": 2},
    "gemma4_text": FULL_WINDOW | {"num_kv_shared_layers": 2},
    "gemma4_assistant": {"text_config": {"hidden_size_per_layer_input": 0}},
    "cohere_compass_text": FULL_WINDOW | {"rope_parameters": dict.fromkeys(FULL_WINDOW["layer_types"], ROPE)},
    "blt": {"encoder_hash_byte_group_vocab": 50},
    "reformer": {"is_decoder": True, "axial_pos_embds": False, "attention_head_size": 16, "feed_forward_size": 48},
    "zaya": {"num_experts_per_tok": 1},
    "qwen4_exp_text": INDEXER,
    "qwen4_exp": {"text_config": INDEXER},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 2},
    "qwen3": {"use_sliding_window": True, "max_window_layers": 2},
    "gemma2": {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0},
    "laguna": FULL_WINDOW,
    "mellum": FULL_WINDOW,
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "minimax_m3_vl_text": {"layer_types": ["full_attention", "minimax_m3_sparse"] * 2},
}


# Where so large weights amplify the rounding of float32 beyond what tells a mistake: both run their layers many times.
STRENGTH = {"hrm_text": 0.12, "dory": 0.12}


def variant(name: str, family: str, **special: Any) -> None:
    VARIANTS[name] = family
    SPECIAL[name] = SPECIAL.get(family, {}) | special


VARIANTS: dict[str, str] = {}
variant("qwen2, no window", "qwen2", use_sliding_window=False)
variant("granite, published scales", "granite", logits_scaling=6.0, attention_multiplier=0.1, residual_multiplier=0.22)
variant("llama4_text, no temperature", "llama4_text", attn_temperature_tuning=False)
variant("llama, yarn", "llama", rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4})
variant("llama, dynamic", "llama", rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4})
variant(
    "llama, dynamic beyond its window",
    "llama",
    rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
    max_position_embeddings=48,
)
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [3.0] * 8}
variant("phi3, longrope", "phi3", rope_parameters=LONGROPE, original_max_position_embeddings=LONGEST - 1)
variant("phi3, longrope beyond its window", "phi3", rope_parameters=LONGROPE, original_max_position_embeddings=48)
for bert in ("bert", "bert-generation", "roberta", "xlm-roberta", "data2vec-text", "electra", "ernie", "xmod"):
    variant(f"{bert}, is_decoder", bert, is_decoder=True)
variant("falcon, alibi", "falcon", alibi=True)

FAMILIES = [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *VARIANTS]


def tiny_config(family: str) -> PreTrainedConfig:
    """The configuration of a family or of one of VARIANTS."""
    return _config(CONFIG_MAPPING[VARIANTS.get(family, family)], SPECIAL.get(family, {}))


def _config(cls: type[PreTrainedConfig], special: dict[str, Any]) -> PreTrainedConfig:
    known = {field.name for field in dataclasses.fields(cls)}
    sizes = {name: value for name, value in SIZES.items() if name in known}
    default = cls() if cls.sub_configs else None
    for name in cls.sub_configs:
        if (inner := getattr(default, name, None)) is not None:
            sizes[name] = _config(type(inner), special.get(name, {})).to_dict()
    sizes |= {name: value for name, value in special.items() if name not in cls.sub_configs}
    config = cls(**sizes)
    kinds = getattr(config, "layer_types", None)
    if kinds and set(kinds) == {"sliding_attention"} and "layer_types" in known and len(kinds) == 4:
        config = cls(**sizes, **FULL_WINDOW)
    return config


def tiny_model(family: str) -> PreTrainedModel:
    """A small random model."""
    model = AutoModelForCausalLM.from_config(tiny_config(family))
    if getattr(model.config, "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # sdpa of older transformers left the softcap out without a word
    return _randomised(model)


def weightless_model(family: str) -> PreTrainedModel:
    """The tiny model without its weights; of the default sizes where the sizes here do not fit together."""
    with torch.device("meta"):
        try:
            return AutoModelForCausalLM.from_config(tiny_config(family)).eval()
        except Exception:
            return AutoModelForCausalLM.from_config(CONFIG_MAPPING[VARIANTS.get(family, family)]()).eval()


def _randomised(model: PreTrainedModel) -> PreTrainedModel:
    """Weights so large that attention matters, and nothing left at the 0 or 1 that it begins with."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(STRENGTH.get(model.config.model_type, 0.25) * noise)
            else:
                parameter.add_(0.1 * noise)
    return model.float().eval()


def ragged_requests() -> list[Request]:
    """40 requests of 60 to 100 tokens: two prefixes, questions behind them, continuations of one to five tokens."""
    chance = random.Random(0)  # noqa: S311 - not cryptography

    def tokens(count: int) -> list[int]:
        return [chance.randrange(3, VOCABULARY) for _ in range(count)]

    requests: list[Request] = []
    for prefix in (tokens(55), tokens(63)):
        for length in (5, 7, 18, 19, 30):
            context = prefix + tokens(length)
            requests += [(context, tokens(count)) for count in (1, 1, 2, 5)]
    return requests
