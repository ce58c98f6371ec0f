"""Which dtype the weights of a Baichuan take where nobody chose one."""

import torch


def auto_dtype(device: torch.device) -> torch.dtype:
    """The dtype that ``auto`` means: bfloat16 where the device has it, float16 on other GPUs, float32 on the CPU."""
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    try:
        torch.zeros(1, dtype=torch.bfloat16, device=device)
    except (RuntimeError, TypeError):
        return torch.float16
    return torch.bfloat16
