"""Memory that evaluating a checkpoint needs, from its configuration alone: no weights are read or downloaded.

Prints what the fullest device needs for weights in float32, bfloat16, int8 and 4 bits, on one, two and four devices
with whole blocks spread evenly. The last column repeats the one-device figure in its parts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

DEVICES = (1, 2, 4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model_args",
        metavar="pretrained=NAME[,max_length=N][,token_budget=N]",
        help="as for lm_eval --model_args: a folder or hub repository, the context length, tokens run at once",
    )


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    import torch

    from .model_adapters.trie_scorer.budget import free_memory
    from .model_adapters.trie_scorer.memory_plan import GB, describe

    settings = _settings(args.model_args)
    config = _configuration(settings["pretrained"])
    length = int(settings.get("max_length", 0)) or _context_length(config)
    budget = int(settings.get("token_budget", 1024))
    rows = table(config, length, budget)
    print(f"{settings['pretrained']}: GB per device, context of {length} tokens, {budget} tokens at once\n")
    print("| weights | " + " | ".join(f"{n} device{'s' if n > 1 else ''}" for n in DEVICES) + " | parts on 1 device |")
    print("|---|" + "---:|" * len(DEVICES) + "---|")
    for name, needs in rows:
        totals = [max(need.total for need in each) / GB for each in needs]
        print(f"| {name} | " + " | ".join(f"{total:.1f}" for total in totals) + f" | {describe(needs[0])} |")
    count = torch.accelerator.device_count()
    here = [torch.device(torch.accelerator.current_accelerator().type, i) for i in range(count)] if count else []  # type: ignore[union-attr]
    for device in [*here, torch.device("cpu")]:
        print(f"\nFree here on {device}: {free_memory(device) / GB:.1f} GB", end="")
    print()
    return 0


def table(config: Any, max_length: int, token_budget: int) -> list[tuple[str, list[Sequence[Any]]]]:
    """Estimates for each kind of weights and number of devices.

    Args:
        config: A model's configuration.
        max_length: The context length in tokens.
        token_budget: Tokens run at once.

    Returns:
        (kind of weights, one list of needs for each of `DEVICES`).
    """
    import torch

    from .model_adapters.trie_scorer.memory_plan import ModelSizes, Run, estimate

    sizes = ModelSizes.of(config)
    kinds = [
        ("float32", torch.float32, None),
        ("bfloat16", torch.bfloat16, None),
        ("int8", torch.bfloat16, 8),
        ("4-bit", torch.bfloat16, 4),
    ]
    return [
        (name, [estimate(sizes, Run(dtype, bits, max_length, token_budget), n) for n in DEVICES])
        for name, dtype, bits in kinds
    ]


def _settings(text: str) -> dict[str, str]:
    from .model_adapters.errors import RequestError

    known = ("pretrained", "max_length", "token_budget")
    settings = dict(part.partition("=")[::2] for part in text.split(","))
    unknown = [name for name in settings if name not in known]
    numbers = [settings[name] for name in known[1:] if name in settings]
    if unknown or not settings.get("pretrained") or not all(number.isdigit() and int(number) for number in numbers):
        raise RequestError(f"{text!r}: expected pretrained=NAME and, if need be, max_length=N and token_budget=N.")
    return settings


def _configuration(name: str) -> Any:
    """Reads config.json, of a hub repository without any other file."""
    from transformers import AutoConfig

    from .model_adapters import baichuan  # noqa: F401 - registers the model type
    from .model_adapters.demo import demo_folder
    from .model_adapters.errors import CheckpointError

    try:
        return AutoConfig.from_pretrained(demo_folder(name) or name)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: no config.json could be read there ({str(error).splitlines()[0]}).") from error


def _context_length(config: Any) -> int:
    from .model_adapters.errors import CheckpointError

    length = getattr(config, "context_length", None) or getattr(config, "max_position_embeddings", None)
    if not length:
        raise CheckpointError("config.json states no context length. Add max_length=N.")
    return int(length)
