"""How the family is split over several devices that each hold a part of every layer (tensor parallelism).

Queries, keys and values of a head stay on one device: ``W_pack`` has rows [Q; K; V], so each device takes its share of
each third, through transformers' style for packed projections with three parts. A device then has a slice of the heads,
and for ALiBi the same slice of the slopes.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..hosts.transformers import packed_projection_style

W_PACK_STYLE = "baichuan_w_pack"

PLAN = {
    "layers.*.self_attn.W_pack": W_PACK_STYLE,
    "layers.*.self_attn.o_proj": "rowwise",
    "layers.*.mlp.gate_proj": "colwise",
    "layers.*.mlp.up_proj": "colwise",
    "layers.*.mlp.down_proj": "rowwise",
}
HEAD_PLAN = {"lm_head": "colwise_gather_output"}


def available_plan(plan: dict[str, str]) -> dict[str, str] | None:
    """Returns `plan` where the installed torch can work on several devices, else None."""
    return plan if packed_projection_style(W_PACK_STYLE, parts=3) else None


def heads_here(w_pack: nn.Module, num_heads: int) -> slice:
    """Which of a layer's heads this device has, by how the weight of its ``W_pack`` is split; all of them as a rule.

    Args:
        w_pack: The projection. Where it is quantized it may have no weight, and then it is not split.
        num_heads: The number of heads of the whole layer, divisible by the number of devices.
    """
    mesh: Any = getattr(getattr(w_pack, "weight", None), "device_mesh", None)
    if mesh is None:
        return slice(0, num_heads)
    share = num_heads // mesh.size()
    return slice(mesh.get_local_rank() * share, (mesh.get_local_rank() + 1) * share)
