"""Names of bitsandbytes that are not documented; nothing of it is imported until it is needed."""

from . import Lean, without_warnings_of

BLOCK = 64
"""How many weights of a row share a scale in 4 bits."""

ACTIVATION_LOGGER = "bitsandbytes.autograd._functions"
"""The logger that says once a layer and row that int8 rounds activations to float16."""


def packs_for_cpu() -> bool:
    """Whether on this CPU 4-bit weights are put into a layout of their own, which takes whole blocks and rows alone."""
    # Imported so, it doesn't ask for a library that would fetch a kernel, which is code, from the hub.
    with without_warnings_of("bitsandbytes.backends.cpu.ops"):
        from bitsandbytes.functional import has_avx512bf16

    return bool(has_avx512bf16())


LEANS = (
    Lean(f"{ACTIVATION_LOGGER}:logger", "baichuan.quantized silences it"),
    Lean("bitsandbytes.functional:has_avx512bf16", "baichuan.quantized asks it for the layout on the CPU"),
    Lean(
        "bitsandbytes.functional:_convert_weight_packed_for_cpu",
        "baichuan.quantized refuses widths that it can't pack",
        ("qweight", "quant_state", "block_n"),
    ),
)
