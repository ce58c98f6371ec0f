"""Names of bitsandbytes that are not documented."""

from . import Lean

ACTIVATION_LOGGER = "bitsandbytes.autograd._functions"
"""The logger that says once a layer and row that int8 rounds activations to float16."""

LEANS = (Lean(f"{ACTIVATION_LOGGER}:logger", "baichuan.quantized silences it"),)
