"""What reads the models that this family does not: other families, and Baichuan's own later ones."""

from __future__ import annotations

from typing import Any

from ..errors import CheckpointError

BAICHUAN_M1 = (
    "Baichuan-M1 mixes each token's keys and values with its neighbour's (a short convolution), and some of its layers "
    "have a sliding window and another number of heads. No code here or in transformers computes that, and a "
    "checkpoint's own Python is never run here. Baichuan-M2 and M3 are of Qwen's form: --model hf-trie reads them."
)


def other_model(found: str, model_type: Any) -> CheckpointError:
    """The error for a model of another family, which says what reads it.

    Args:
        found: Where which model type was found, the beginning of a sentence.
        model_type: As the configuration states it.
    """
    if model_type == "baichuan_m1":
        return CheckpointError(f"{found}. {BAICHUAN_M1}")
    return CheckpointError(
        f"{found}; --model baichuan reads 'baichuan', and 'llama' for fine-tunes saved in that form. Use --model "
        "hf-trie, which reads every other causal model (Baichuan-M2 and M3 too) with the same label tokens and trie."
    )
