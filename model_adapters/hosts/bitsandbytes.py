"""Names of bitsandbytes that are not documented; nothing of it is imported until it is needed."""

import importlib
from typing import Any

from . import Lean, without_warnings_of

KERNEL_LOGGER = "bitsandbytes.backends.cpu.ops"
"""The logger that asks, at the import, for a library that would fetch a kernel, which is code, from the hub."""

BLOCK = 64
"""How many weights of a row share a scale in 4 bits."""

ACTIVATION_LOGGER = "bitsandbytes.autograd._functions"
"""The logger that says once a layer and row that int8 rounds activations to float16."""


def packs_for_cpu() -> bool:
    """Whether on this CPU 4-bit weights are put into a layout of their own, which takes whole blocks and rows alone."""
    with without_warnings_of(KERNEL_LOGGER):
        functional: Any = importlib.import_module("bitsandbytes.functional")
    return bool(functional.has_avx512bf16())


LEANS = (
    Lean(f"{ACTIVATION_LOGGER}:logger", "baichuan.quantized silences it"),
    Lean("bitsandbytes.functional:has_avx512bf16", "baichuan.quantized asks it for the layout on the CPU"),
    Lean(
        "bitsandbytes.functional:_convert_weight_packed_for_cpu",
        "baichuan.quantized refuses widths that it can't pack",
        ("qweight", "quant_state", "block_n"),
    ),
)
