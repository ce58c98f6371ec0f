"""What is settled before a checkpoint is loaded: its quantization, and whether the run will fit in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ..baichuan.quantized import Quantization, bits_of, take_quantization
from ..errors import DoesNotFitError, QuantizationError
from ..trie_scorer.budget import SMALLEST, free_memory
from ..trie_scorer.memory_plan import GB, ModelSizes, Run, describe, estimate

logger = logging.getLogger(__name__)

# Context lengths that an option may suggest: a few shots, and single questions.
_SHORTER = (2048, 1024, 512)


@dataclass(frozen=True)
class BeforeLoading:
    """The adapter's options that matter before loading.

    Attributes:
        quantization: What was asked for, if anything.
        max_length: The context length that was asked for, or None for the checkpoint's own.
        token_budget: Of the trie, in tokens, or ``"auto"``: the run fits if the smallest budget does.
        trie: Whether the token trie scores.
        check: Whether to stop a run that by the estimate doesn't fit.
    """

    quantization: Quantization | None
    max_length: int | None
    token_budget: int | Literal["auto"]
    trie: bool
    check: bool

    @classmethod
    def take(
        cls, options: dict[str, Any], *, trie: bool, token_budget: int | Literal["auto"], check: bool
    ) -> BeforeLoading:
        """Reads the options of the adapter, and takes those out that only concern quantization.

        Raises:
            QuantizationError: They contradict each other.
        """
        length = options.get("max_length")
        return cls(take_quantization(options), int(length) if length else None, token_budget, trie, check)

    def settle(
        self, options: dict[str, Any], *, config: Any, dtype: str | torch.dtype, device: torch.device
    ) -> dict[str, Any]:
        """Returns the options for `HFLM._create_model`, with the quantization in them.

        Args:
            options: What `HFLM` passes on.
            config: The model's configuration.
            dtype: Of the weights.
            device: Where they go, or the first of several devices.

        Raises:
            DoesNotFitError: By the estimate the run needs more memory than there is.
            QuantizationError: The quantization cannot be run here, or not placed as asked.
        """
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        brought = getattr(config, "quantization_config", None)
        if self.quantization is not None:
            if brought is not None:
                raise QuantizationError(
                    f"{config.name_or_path}: its weights are quantized already ({bits_of(brought) or '?'} bits). "
                    "Leave the option that quantizes while loading out, or use the original checkpoint."
                )
            options = {**options, "quantization_config": self.quantization.config(config, dtype, device)}
        elif brought is not None:  # transformers finds it in the configuration
            options = {name: value for name, value in options.items() if name != "quantization_config"}
        if self.quantization is not None or brought is not None:
            _check_placement(options)
        if self.check and not options.get("gguf_file"):
            self._check_memory(options, config, dtype, device)
        return options

    def _check_memory(self, options: dict[str, Any], config: Any, dtype: torch.dtype, device: torch.device) -> None:
        sizes = ModelSizes.of(config)
        run = self._run(config, dtype, options.get("quantization_config"))
        placement = options.get("device_map")
        if run is None or isinstance(placement, Mapping) and len(set(placement.values())) > 1:
            logger.info("Memory isn't estimated: the context length, the bits a weight or the devices are open.")
            return
        spread = bool(options.get("parallelize")) or placement is not None
        devices = _all_devices(device) if spread else [device]
        free = [free_memory(each) for each in devices]
        if device.type == "cpu":  # several processes of one launch share it
            free = [each // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) for each in free]
        parts = int(os.environ.get("WORLD_SIZE", "1")) if options.get("tp_plan") else len(devices)
        needs = estimate(sizes, run, parts)
        logger.info("Estimated memory on %s: %s; free: %.1f GB.", device, describe(needs), min(free) / GB)
        if spread:  # whoever places the blocks need not spread them evenly
            fits = sum(need.total for need in needs) <= sum(free)
        else:
            fits = max(need.total for need in needs) <= min(free)
        if not fits:
            raise DoesNotFitError(
                f"{config.name_or_path or 'This model'} in {_name(run)} with a context of {run.max_length} tokens "
                f"needs about {describe(needs)} on {'each of ' if len(devices) > 1 else ''}"
                f"{', '.join(map(str, devices))}, where {', '.join(f'{each / GB:.1f} GB' for each in free)} are free."
                f"\n{_options(sizes, run, min(free), device)}\ncheck_memory=false loads it all the same."
            )

    def _run(self, config: Any, dtype: torch.dtype, quantization: Any) -> Run | None:
        length = self.max_length or getattr(config, "context_length", None) or config.max_position_embeddings
        bits = None
        quantization = quantization or getattr(config, "quantization_config", None)
        if quantization is not None:
            bits = self.quantization.bits if self.quantization else bits_of(quantization)
            if bits not in (8, 4):
                return None
        if not length:
            return None
        tokens = SMALLEST if self.token_budget == "auto" else self.token_budget
        return Run(dtype, bits, int(length), tokens if self.trie else int(length), self.trie)


def _check_placement(options: Mapping[str, Any]) -> None:
    """Refuses placements that no quantization library carries out, or that would give other scores."""
    if options.get("tp_plan") is not None:
        raise QuantizationError(
            "tp_plan does not split quantized weights: bitsandbytes cannot, and torchao's scores would change. "
            "Use parallelize=True, which puts whole blocks on each device, or several processes with a model each."
        )
    placement = options.get("device_map")
    if isinstance(placement, Mapping) and "disk" in placement.values():
        raise QuantizationError(
            "device_map puts quantized weights on the disk, where they cannot be computed with. Keep every block on a "
            "device, or leave the quantization out."
        )


def _all_devices(device: torch.device) -> list[torch.device]:
    if device.type == "cpu":
        return [device]
    return [torch.device(device.type, i) for i in range(torch.accelerator.device_count())]


def _name(run: Run) -> str:
    return {8: "int8", 4: "4-bit"}.get(run.bits or 0, str(run.dtype).removeprefix("torch."))


def _options(sizes: ModelSizes, run: Run, free: int, device: torch.device) -> str:
    """What would fit on a device with so many bytes free, or what comes nearest."""
    half = torch.bfloat16 if run.dtype == torch.float32 else run.dtype
    ways: list[tuple[str, Run, int]] = []
    if run.bits is None and run.dtype == torch.float32:
        ways.append(("dtype=bfloat16", replace(run, dtype=half), 1))
    if run.bits is None:
        ways.append(("load_in_8bit=true", replace(run, bits=8), 1))
    if run.bits != 4:
        ways.append(("load_in_4bit=true", replace(run, bits=4), 1))
    if run.trie and run.tokens > SMALLEST:
        ways.append(("token_budget=auto", replace(run, tokens=SMALLEST), 1))
    for length in (each for each in _SHORTER if each < run.max_length):
        shorter = replace(run, max_length=length, tokens=run.tokens if run.trie else length)
        ways.append((f"max_length={length} (longer prompts lose shots)", shorter, 1))
    if device.type != "cpu":
        ways += [(f"parallelize=True on {n} such devices", run, n) for n in (2, 4)]
    needed = [(max(need.total for need in estimate(sizes, way, n)), text) for text, way, n in ways]
    fitting = [f"{text} ({total / GB:.1f} GB)" for total, text in needed if total <= free]
    if fitting:
        return f"What would fit: {'; '.join(fitting)}."
    total, text = min(needed)
    return f"No single option fits; {text} comes nearest with {total / GB:.1f} GB. Combine them, or use another device."
