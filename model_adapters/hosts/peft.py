"""Names of peft that its releases may move; nothing of peft is imported until it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from . import Lean

TRAINED_WHOLE = "modules_to_save"
"""What peft puts between the name of a layer that was trained whole and ``weight``."""

WHOLE_LAYER_NAMES = (TRAINED_WHOLE, "original_module", "base_layer")
"""All that peft puts there, for layers that it trained whole, keeps beside, or wraps."""

MISSING_KEYS = ".*missing adapter keys.*"
"""The warning of `PeftModel.from_pretrained` about tensors that the adapter does not bring, as a pattern."""


def adapter_places(model: Any) -> set[str]:
    """Names of the adapter's tensors in a model that peft wrapped, as an adapter file has them."""
    from peft import get_peft_model_state_dict

    return set(get_peft_model_state_dict(model, save_embedding_layers=False))


def adapter_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter's file, on the CPU."""
    from peft.utils import load_peft_weights

    tensors: dict[str, torch.Tensor] = load_peft_weights(str(folder), device="cpu")
    return tensors


LEANS = (
    Lean(
        "peft:get_peft_model_state_dict",
        "baichuan.peft_adapter compares an adapter's file with the model",
        ("model", "save_embedding_layers"),
    ),
    Lean("peft.utils:load_peft_weights", "baichuan.peft_adapter reads an adapter's file", ("model_id", "device")),
    Lean("peft:PeftModel.active_peft_config", "baichuan.peft_adapter and trie_scorer.scorer look for virtual tokens"),
    Lean("peft:PeftModel.get_base_model", "trie_scorer.scorer scores through the model inside"),
)
