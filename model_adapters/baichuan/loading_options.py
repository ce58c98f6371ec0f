"""Says which options of loading are not for a checkpoint whose code is never run and whose files are all checked."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from ..errors import OptionError

ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
_ATTENTION = ("eager", "sdpa", "flex_attention")
_KERNEL_OPTIONS = ("use_kernels", "kernel_config", "allow_all_kernels")


def check_attention(name: Any, *, where: str, error: type[Exception] = OptionError) -> None:
    """Refuses attention functions that transformers would fetch from the hub and run.

    Args:
        name: An attention function's name, or None.
        where: Who asks for it, for messages.
        error: What to raise.
    """
    if name is None or name in _ATTENTION:
        return
    # Where the library is missing, transformers fetches a kernel of that name.
    if name == "flash_attention_2" and find_spec("flash_attn"):
        return
    raise error(
        f"{where} is {show(name)}; expected one of {', '.join(_ATTENTION)}, or flash_attention_2 with flash_attn "
        "installed. Kernels from the hub are code, which is never fetched and run."
    )


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options of `from_pretrained` that run code from the hub, or read other files than those checked here.

    Raises:
        OptionError: Names the option.
    """
    check_attention(options.get("attn_implementation"), where="attn_implementation")
    for name in _KERNEL_OPTIONS:
        if options.get(name):
            raise OptionError(f"{name} is {show(options[name])}: kernels from the hub are code, which is never run.")
    for name in ("variant", "key_mapping", "ignore_mismatched_sizes"):
        if options.get(name):
            raise OptionError(
                f"{name} is {show(options[name])}: every tensor is accounted for under its own name, in the files "
                "that transformers takes by default. Leave the option out, and rename files or tensors if need be."
            )
    if options.get("use_safetensors") is False:
        raise OptionError("use_safetensors=false: move the safetensors files away to have the pickles read.")


def show(value: Any) -> str:
    """A value as a message quotes it: not more than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
