"""How many tokens of the trie to run at once, from the memory that is free."""

import psutil  # type: ignore[import-untyped]
import torch
from transformers import PreTrainedModel

from ..hosts.accelerate import should_reduce_batch_size
from .memory_plan import ModelSizes, Run, tokens_that_fit

# Past these sizes a row is no faster: the matrix products are large enough to keep the device busy.
CPU_ENOUGH = 1024
ACCELERATOR_ENOUGH = 16384
SMALLEST = 128

# What a free-memory figure leaves to others: allocator blocks, libraries' scratch space, other processes.
_USABLE = 0.6


def automatic_token_budget(model: PreTrainedModel, max_length: int, device: torch.device) -> int:
    """The largest useful number of tokens in a row that free memory allows, by the estimate of `memory_plan`.

    Args:
        model: The loaded model.
        max_length: The most tokens on a path.
        device: Where the model runs.

    Returns:
        Tokens, from SMALLEST to CPU_ENOUGH or ACCELERATOR_ENOUGH. Where even SMALLEST does not fit, the scorer's
        halving takes over.
    """
    enough = CPU_ENOUGH if device.type == "cpu" else ACCELERATOR_ENOUGH
    quantized = getattr(model.config, "quantization_config", None) is not None
    run = Run(model.dtype, 8 if quantized else None, max_length, SMALLEST)  # 4 bits are unpacked to the same size
    return tokens_that_fit(ModelSizes.of(model.config), run, int(_USABLE * free_memory(device)), enough)


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on a device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a smaller row may help against this error, on any device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or should_reduce_batch_size(error)
