"""Names of torchao that are prototypes or settings of a layout; nothing of torchao is imported until it is needed."""

from __future__ import annotations

from typing import Any

from . import Lean

TOLD_AT_IMPORT = ("torchao", "torch.utils._pytree")
"""Who logs, when torchao is imported, that extensions for other Pythons and GPUs don't load here, and how it registers
its own classes; transformers imports it whether or not anything is quantized."""


def int4_on_cpu(group_size: int) -> Any:
    """The configuration of int4 weights for the CPU: the layouts outside torchao's prototypes have no kernel there."""
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

    return PrototypeInt4WeightOnlyConfig(group_size=group_size)


def int4(group_size: int) -> Any:
    """The configuration of int4 weights for GPUs."""
    from torchao.quantization import Int4WeightOnlyConfig

    return Int4WeightOnlyConfig(group_size=group_size, int4_packing_format="tile_packed_to_4d")


def int8() -> Any:
    """The configuration of int8 weights."""
    from torchao.quantization import Int8WeightOnlyConfig

    return Int8WeightOnlyConfig()


LEANS = (
    Lean(
        "torchao.prototype.quantization.int4:PrototypeInt4WeightOnlyConfig",
        "baichuan.quantized: torchao=int4 on the CPU",
        ("group_size",),
    ),
    Lean(
        "torchao.quantization:Int4WeightOnlyConfig",
        "baichuan.quantized: torchao=int4 on GPUs",
        ("group_size", "int4_packing_format"),
    ),
    Lean("torchao.quantization:Int8WeightOnlyConfig", "baichuan.quantized: torchao=int8"),
)
