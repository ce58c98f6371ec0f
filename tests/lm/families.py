"""What `write_checkpoint` is given for each of the four architectures."""

from typing import Any

FAMILIES: dict[str, dict[str, Any]] = {
    "7b": {},
    "13b": {"model_max_length": 512},
    "2-7b": {"norm_head": True},
    "2-13b": {"model_max_length": 512, "norm_head": True},
}
