"""Names of accelerate that are not documented."""

from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]

from . import Lean

__all__ = ["FORCE_CPU", "LEANS", "input_device", "should_reduce_batch_size"]

FORCE_CPU = "ACCELERATE_USE_CPU"
"""The environment variable by which accelerate forms a group of processes without a GPU."""


def input_device(model: Any) -> torch.device:
    """Where a model takes token ids: the device of its embedding, or the one it is brought to where it is off-loaded.

    Args:
        model: A transformers model, or a peft model around one.
    """
    embedding = model.get_input_embeddings()
    device: torch.device = embedding.weight.device
    if device.type != "meta":
        return device
    return torch.device(embedding._hf_hook.execution_device)


LEANS = (
    Lean(
        "accelerate.utils.memory:should_reduce_batch_size",
        "trie_scorer.budget asks it whether an error is an out-of-memory of any device",
        ("exception",),
    ),
    Lean(
        "accelerate.hooks:AlignDevicesHook.execution_device", "trie_scorer sends token ids to an off-loaded model by it"
    ),
    Lean("accelerate.state:PartialState.process_index", "lm.processes shares the questions by it"),
    Lean("accelerate.state:PartialState.num_processes", "lm.processes shares the questions by it"),
)
