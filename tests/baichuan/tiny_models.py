"""Tiny random models of all four architectures."""

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig

FAMILIES = {
    "baichuan1-7b": {"max_position_embeddings": 64, "norm_head": False},
    "baichuan1-13b": {"model_max_length": 64, "norm_head": False, "num_attention_heads": 5, "hidden_size": 40},
    "baichuan2-7b": {"max_position_embeddings": 64, "model_max_length": 64, "norm_head": True},
    "baichuan2-13b": {"model_max_length": 64, "norm_head": True},
}


def tiny_config(family: str, **overrides: object) -> BaichuanConfig:
    sizes = {
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.2,
    }
    return BaichuanConfig(**{**sizes, **FAMILIES[family], **overrides})  # type: ignore[arg-type]
