"""The Baichuan family for vLLM, which removed its own in 0.24.

vLLM finds `register` by the entry point (group ``vllm.general_plugins``) and calls it in each of its processes; nothing
here imports vLLM before that.
"""

ARCHITECTURES = ("BaichuanForCausalLM", "BaiChuanForCausalLM")
"""As configurations name the model; Baichuan-7B's spells it with a capital C."""


def register() -> None:
    """Makes the family known to vLLM, and its configuration and tokenizer to transformers.

    A vLLM that has the architectures itself keeps its own.
    """
    from vllm import ModelRegistry

    from .. import baichuan  # noqa: F401  # its import registers configuration and tokenizer

    here = __name__
    known = ModelRegistry.get_supported_archs()
    for name in ARCHITECTURES:
        if name not in known:
            # As text: the class is imported by the process that builds it, and by no other.
            ModelRegistry.register_model(name, f"{here}.model:BaichuanForVLLM")
