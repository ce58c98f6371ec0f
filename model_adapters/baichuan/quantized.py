"""Quantized weights: what was asked for, what a checkpoint brings along, and whether the head stayed whole.

Three routes, all of them transformers' own: bitsandbytes (int8, 4-bit) and torchao (int8, int4) while loading, and
checkpoints that were quantized before (GPTQ, or saved by one of the two). The output head is never quantized: NormHead
divides by the norms of its rows, and a quantizer that takes its place would leave them out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import MissingExtraError, QuantizationError
from ..hosts.bitsandbytes import ACTIVATION_LOGGER, BLOCK, packs_for_cpu
from ..hosts.torchao import int4, int4_on_cpu, int8
from .json_files import read_object
from .weight_files import AUTO_GPTQ_SETTINGS, WEIGHT_FILES, find_weights, tensor_headers

logger = logging.getLogger(__name__)

# The largest of torchao's group sizes that divides every width of the family: 4096, 5120, 11 008 and 13 696 are
# multiples of 128; a smaller model may need less.
_GROUP_SIZES = (128, 64, 32)
SERVED = ("bitsandbytes", "torchao", "gptq")
"""Forms in which a checkpoint may bring quantized weights."""


@dataclass(frozen=True)
class Quantization:
    """A quantization asked for in ``--model_args``.

    Attributes:
        library: ``"bitsandbytes"`` or ``"torchao"``, or ``"given"`` for a finished configuration object.
        bits: 8 or 4; None for an object that does not say.
        options: What goes to the library's configuration; for ``"given"`` the object itself, under ``config``.
    """

    library: str
    bits: int | None
    options: Mapping[str, Any]

    def config(self, model_config: Any, dtype: torch.dtype, device: torch.device) -> Any:
        """The configuration object that transformers takes.

        Args:
            model_config: The model's configuration, for its widths.
            dtype: What the unquantized tensors and the arithmetic are in.
            device: Where the model will run.

        Raises:
            QuantizationError: The library is missing, or has no way of doing it on this device.
        """
        if self.library == "given":
            return self.options["config"]
        require_packages(self.library, f"quantizing to {self.bits} bits")
        if self.library == "torchao":
            return _torchao_config(int(self.bits or 8), model_config, device)
        from transformers import BitsAndBytesConfig

        packed = packs_for_cpu()
        if self.bits == 4 and device.type == "cpu" and packed:
            _check_packing(model_config)
        # nf4 is what Baichuan's own 4-bit checkpoints use; transformers would take fp4 and compute in float32.
        defaults = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype} if self.bits == 4 else {}
        if self.bits == 8:
            # It logs once per layer and row that activations are rounded to float16; said once, here, is enough.
            logging.getLogger(ACTIVATION_LOGGER).setLevel(logging.ERROR)
            logger.info("bitsandbytes int8: activations are quantized from float16.")
        return BitsAndBytesConfig(**{**defaults, **self.options})


def take_quantization(options: dict[str, Any]) -> Quantization | None:
    """Takes what concerns quantization out of the adapter's options.

    Args:
        options: ``load_in_8bit``, ``load_in_4bit`` with ``bnb_…`` and ``llm_int8_…``, ``torchao`` (``int8`` or
            ``int4``), or ``quantization_config`` (an object) are removed from it.

    Raises:
        QuantizationError: More than one was asked for, or an unknown kind.
    """
    details = {name: options.pop(name) for name in list(options) if name.startswith(("bnb_", "llm_int8_"))}
    given = options.pop("quantization_config", None)
    loads = {name: options.pop(name, None) for name in ("load_in_8bit", "load_in_4bit")}
    torchao = options.pop("torchao", None)
    asked = [name for name, value in {**loads, "torchao": torchao, "quantization_config": given}.items() if value]
    if len(asked) > 1:
        raise QuantizationError(f"{' and '.join(asked)} were asked for; expected one of them.")
    if details and not any(loads.values()):
        raise QuantizationError(
            f"{', '.join(details)}: set without load_in_8bit=true or load_in_4bit=true, so it would do nothing."
        )
    if not asked:
        return None
    if given is not None:
        return Quantization("given", bits_of(given), {"config": given})
    if torchao:
        if torchao not in ("int8", "int4"):
            raise QuantizationError(f"torchao is {torchao!r}; expected int8 or int4.")
        return Quantization("torchao", int(torchao[3:]), {})
    return Quantization("bitsandbytes", 8 if loads["load_in_8bit"] else 4, {asked[0]: True, **details})


def bits_of(config: Any) -> int | None:
    """Bits of a quantized weight by a quantization configuration (object or dict), or None where it does not say."""
    values = config if isinstance(config, Mapping) else vars(config)
    if values.get("load_in_8bit") or values.get("_load_in_8bit"):
        return 8
    if values.get("load_in_4bit") or values.get("_load_in_4bit"):
        return 4
    if isinstance(values.get("bits"), int):
        return int(values["bits"])
    kind = values.get("quant_type")
    found = re.search(r"[Ii]nt(\d)", kind if isinstance(kind, str) else type(kind).__name__ if kind else "")
    return int(found[1]) if found else None


def describe_quantization(config: Any) -> str | None:
    """How a loaded model's weights are quantized, for the results: ``"8 bits, bitsandbytes"``; None if they are not.

    Args:
        config: The model's configuration.
    """
    details = getattr(config, "quantization_config", None)
    if details is None:
        return None
    return f"{bits_of(details) or 'unknown'} bits, {_method(details)}"


def _method(details: Any) -> str:
    """Which library's form a quantization configuration (object or dict) describes: ``gptq``, ``torchao``, ..."""
    method = details.get("quant_method") if isinstance(details, Mapping) else details.quant_method
    if method is None and bits_of(details) in (8, 4) and {"load_in_8bit", "load_in_4bit"} & {*details}:
        return "bitsandbytes"  # which did not write its name in its first releases
    return str(getattr(method, "value", method))


def _widths(model_config: Any) -> dict[str, int]:
    """The numbers of inputs of a model's layers, by their names in the configuration, of those that it states."""
    named = {name: getattr(model_config, name, None) for name in ("hidden_size", "intermediate_size")}
    return {name: width for name, width in named.items() if isinstance(width, int)}


def _check_packing(model_config: Any) -> None:
    """Refuses widths that bitsandbytes can't pack on this CPU, where it would end in the middle of the first layer."""
    for name, width in _widths(model_config).items():
        if width % BLOCK:
            raise QuantizationError(
                f"load_in_4bit=true: on this CPU bitsandbytes packs weights in whole blocks of {BLOCK} inputs, and "
                f"{name} {width} is no multiple of {BLOCK}. Use load_in_8bit=true or torchao=int8."
            )


def _torchao_config(bits: int, model_config: Any, device: torch.device) -> Any:
    from transformers import TorchAoConfig

    if bits == 8:
        return TorchAoConfig(int8())
    widths = _widths(model_config)
    fitting = [size for size in _GROUP_SIZES if all(width % size == 0 for width in widths.values())]
    if not fitting:
        raise QuantizationError(
            f"torchao=int4 quantizes in groups of {', '.join(map(str, _GROUP_SIZES))} inputs, and "
            f"{' or '.join(f'{name} {width}' for name, width in widths.items())} is no multiple of any. "
            "Use torchao=int8 or load_in_4bit=true."
        )
    return TorchAoConfig(int4_on_cpu(fitting[0]) if device.type == "cpu" else int4(fitting[0]))


def require_packages(library: str, purpose: str) -> None:
    """Stops with what to install where a quantization's packages are missing.

    Raises:
        MissingExtraError: Names them.
    """
    packages = {"gptq": ("optimum", "gptqmodel")}.get(library, (library,))
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"{purpose[:1].upper()}{purpose[1:]} needs {' and '.join(missing)}, not installed here. "
            f"Run: pip install {' '.join(missing)}"
        )


def read_quantization(folder: str | Path, config: Any) -> bool:
    """Finds out whether a checkpoint's weights are quantized, and completes its configuration for transformers.

    Args:
        folder: The checkpoint.
        config: Its configuration; for GPTQ in AutoGPTQ's layout, ``quantization_config`` and the name of the weight
            file are added.

    Returns:
        Whether they are.

    Raises:
        QuantizationError: They are, in a form that cannot be read, or that needs a package which is not there.
    """
    folder = Path(folder)
    details = getattr(config, "quantization_config", None)
    if details is None and (folder / AUTO_GPTQ_SETTINGS).is_file():
        details = _auto_gptq(folder, config)
    if details is None:
        return False
    if (method := _method(details)) not in SERVED:
        raise QuantizationError(
            f"{folder}/config.json: quantization_config has quant_method {method!r}; expected one of "
            f"{', '.join(SERVED)}. Use the checkpoint that was quantized, and load_in_4bit=true, load_in_8bit=true or "
            "torchao=int8 to quantize it while loading."
        )
    if bits_of(details) == 4 and _is_official_4bits(folder):
        raise QuantizationError(
            f"{folder}: these are Baichuan's own -4bits weights, pickled for bitsandbytes 0.41 by code inside the "
            "checkpoint, which is never run. Use the checkpoint of the same name without -4bits and pass "
            "load_in_4bit=true,bnb_4bit_use_double_quant=true: that is the same quantization (nf4, its scales "
            "quantized too), done while loading."
        )
    if method == "gptq":
        require_packages("gptq", f"{folder} is quantized with GPTQ; reading it")
    return True


def _auto_gptq(folder: Path, config: Any) -> dict[str, Any]:
    """GPTQ as AutoGPTQ 0.2 wrote it (TheBloke/baichuan-7B-GPTQ): settings and weights under names of their own."""
    details: dict[str, Any] = {**read_object(folder / AUTO_GPTQ_SETTINGS), "quant_method": "gptq"}
    files = find_weights(folder)
    if len(files) == 1 and files[0].name not in WEIGHT_FILES:
        config.transformers_weights = files[0].name
    config.quantization_config = details
    return details


def _is_official_4bits(folder: Path) -> bool:
    """Whether a pickle holds ``….weight.quant_state``, a list of bitsandbytes' internals, beside ``….weight.data``."""
    pickles = [file for file in find_weights(folder) if file.suffix != ".safetensors"]
    return any(name.endswith(".weight.quant_state") for file in pickles for name in tensor_headers(file))


def check_quantized(model: Any) -> None:
    """Looks at what a quantizer made of a model.

    Raises:
        QuantizationError: The head lost its normalisation.
    """
    head = model.get_output_embeddings()
    if model.config.norm_head and not (_is_plain(head.weight) and type(head).__name__ == "NormHead"):
        raise QuantizationError(
            f"The output head was quantized ({type(head).__name__} with {type(head.weight.data).__name__}), which "
            "loses the normalisation of its rows. Leave it out: modules_to_not_convert=['lm_head'] (torchao), "
            "llm_int8_skip_modules=['lm_head'] (bitsandbytes), include_input_output_embeddings=False."
        )
    linear = {name: module for name, module in model.model.layers.named_modules() if isinstance(module, nn.Linear)}
    left = [name for name, module in linear.items() if type(module) is nn.Linear and _is_plain(module.weight)]
    if left:
        logger.warning(
            "%d of %d linear layers stay unquantized, layers.%s among them.", len(left), len(linear), left[0]
        )


def _is_plain(weight: torch.Tensor) -> bool:
    return type(weight.data) is torch.Tensor and weight.is_floating_point()
