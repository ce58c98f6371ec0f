"""How many tokens of the trie to run at once, from the memory that is free."""

import psutil  # type: ignore[import-untyped]
import torch
from transformers import PreTrainedModel

from ..hosts.accelerate import should_reduce_batch_size

# Past these sizes a row is no faster: the matrix products are large enough to keep the device busy.
CPU_ENOUGH = 1024
ACCELERATOR_ENOUGH = 16384
SMALLEST = 128

# What a free-memory figure leaves to others: allocator blocks, libraries' scratch space, other processes.
_USABLE = 0.6


def automatic_token_budget(model: PreTrainedModel, max_length: int, device: torch.device) -> int:
    """The largest useful number of tokens in a row that free memory allows.

    A row needs, for each of its tokens, the activations of one layer, and besides them the path's keys and values of
    all layers, twice (the present path and the next one). Logits are taken in small chunks.

    Args:
        model: The model, for its sizes and dtype.
        max_length: The most tokens on a path.
        device: Where the model runs.

    Returns:
        Tokens, from SMALLEST to CPU_ENOUGH or ACCELERATOR_ENOUGH. Where even SMALLEST does not fit, the scorer's
        halving takes over.
    """
    config = model.config
    item = torch.finfo(model.dtype).bits // 8
    hidden = config.hidden_size
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    key_value = 2 * head_dim * (getattr(config, "num_key_value_heads", None) or heads)

    path = 2 * max_length * config.num_hidden_layers * key_value * item
    # Residual, norm, q k v and their rotated and float32 forms, attention's output: about ten times the hidden width;
    # gate, up and their product; the mask of a block, four bytes a key.
    per_token = 10 * hidden * max(item, 4) + 3 * config.intermediate_size * item + 4 * (max_length + SMALLEST)
    enough = CPU_ENOUGH if device.type == "cpu" else ACCELERATOR_ENOUGH
    fits = int((_USABLE * free_memory(device) - path) / per_token)
    return max(SMALLEST, min(enough, fits))


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on a device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a smaller row may help against this error, on any device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or should_reduce_batch_size(error)
