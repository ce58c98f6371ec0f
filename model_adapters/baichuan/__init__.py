"""The Baichuan model family for current transformers: configuration, model, tokenizer, chat format, checkpoints.

Importing this package registers the family with `AutoConfig`, `AutoModelForCausalLM` and `AutoTokenizer`, so that
``AutoModelForCausalLM.from_pretrained`` reads the official layout without running the checkpoint's Python.
"""

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from .configuration import BaichuanConfig
from .modeling import BaichuanForCausalLM, BaichuanModel, alibi_slopes
from .tokenization import BaiChuanTokenizer, BaichuanTokenizer

AutoConfig.register(BaichuanConfig.model_type, BaichuanConfig, exist_ok=True)
AutoModelForCausalLM.register(BaichuanConfig, BaichuanForCausalLM, exist_ok=True)
# Both class names, since tokenizer_config.json of Baichuan-7B spells it with a capital C.
AutoTokenizer.register(
    BaichuanConfig, tokenizer_class=BaichuanTokenizer, slow_tokenizer_class=BaiChuanTokenizer, exist_ok=True
)

__all__ = [
    "BaiChuanTokenizer",
    "BaichuanConfig",
    "BaichuanForCausalLM",
    "BaichuanModel",
    "BaichuanTokenizer",
    "alibi_slopes",
]
