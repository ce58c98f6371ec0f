"""What ``--model_args`` may hold, checked before anything is downloaded or loaded.

lm-eval hands names that it doesn't know on to transformers, which looks at them once the weights are there; and a model
whose ``pretrained`` is misspelt is another model. Devices that aren't there are another device to lm-eval.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from ..errors import CheckpointError, OptionError
from ..hosts.transformers import LOADING_OPTIONS

DTYPES = {
    "auto": "auto",
    "float32": "float32",
    "fp32": "float32",
    "float": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
    "float64": "float64",
    "double": "float64",
}
"""The dtypes of weights by every name that they have."""

LM_EVAL_DEFAULT = "cuda:0"
"""The device that lm-eval's command names where its user names none."""

_OF_DTYPE = ("dtype", "softmax_dtype", "mixed_precision_dtype", "bnb_4bit_compute_dtype")
# Two names are alike from this ratio on. A configuration's own keys, which only the checkpoint tells, are less like any
# option than the second.
_ALIKE, _SURELY_MEANT = 0.6, 0.85


def option_names(adapter: type, host: type) -> set[str]:
    """The options of an adapter's class and of what it hands options on to.

    Args:
        adapter: A subclass of `host`.
        host: lm-eval's class.
    """
    classes = adapter.__mro__[: adapter.__mro__.index(host) + 1]
    names = {*LOADING_OPTIONS, *_parameters(BitsAndBytesConfig)}
    return names.union(*map(_parameters, classes))


def _parameters(cls: type) -> set[str]:
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {each.name for each in parameters if each.kind is not each.VAR_KEYWORD} - {"self"}


def check_names(given: Collection[str], known: Collection[str], *, others: bool = False) -> list[str]:
    """Refuses options that nobody knows.

    Args:
        given: The names in ``--model_args``.
        known: The names that mean something.
        others: Whether further names may mean something to the checkpoint's configuration, which isn't read yet:
            only those are refused that are nearly a known one.

    Returns:
        The names left to ask the configuration about.

    Raises:
        OptionError: Names the option, and the one that may have been meant.
    """
    if "torch_dtype" in given:  # transformers would pass over it, since lm-eval always gives it a dtype
        raise OptionError("--model_args: torch_dtype is called dtype here.")
    unknown = [name for name in given if name not in known]
    for name in unknown:
        meant = get_close_matches(name, known, 1, _SURELY_MEANT if others else _ALIKE)
        if meant or not others:
            hint = f" Did you mean {meant[0]}?" if meant else " Leave it out."
            raise OptionError(f"--model_args: there is no option {name}.{hint}")
    return unknown


def check_numbers(options: Mapping[str, Any]) -> None:
    """Refuses numbers of tokens and requests that are none.

    Raises:
        OptionError: Names the option and what it may be.
    """
    for name, auto in (
        ("max_length", None),
        ("max_batch_size", None),
        ("token_budget", "auto"),
        ("batch_size", "auto"),
    ):
        value = options.get(name)
        if value is None or (auto and str(value).partition(":")[0] == auto):
            continue
        if name == "batch_size" and isinstance(value, str) and value.isdigit():  # as lm-eval's command hands it over
            value = int(value)
        if type(value) is not int or value < 1:
            raise OptionError(f"{name} is {value!r}; expected a whole number above 0{f' or {auto}' if auto else ''}.")


def with_dtypes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the options with every dtype under the name that torch has for it.

    Raises:
        OptionError: One is none.
    """
    return {
        name: dtype_name(value, name) if name in _OF_DTYPE and isinstance(value, str) else value
        for name, value in options.items()
    }


def dtype_name(value: str, option: str = "dtype") -> str:
    """Torch's name of a dtype, or ``auto``.

    Raises:
        OptionError: It is none that weights can be in.
    """
    name = DTYPES.get(value.removeprefix("torch.").lower())
    if name is None:
        raise OptionError(
            f"{option} is {value!r}; expected auto, float32 (or fp32, float), bfloat16 (bf16), float16 (fp16, half) or "
            "float64 (double)."
        )
    return name


def check_device(device: Any, *, may_be_default: bool) -> None:
    """Refuses a device that isn't here.

    Args:
        device: What was asked for, if anything.
        may_be_default: Whether ``cuda:0`` may be what lm-eval's command says where the user says nothing.

    Raises:
        OptionError: Says which devices are here.
    """
    if device is None or isinstance(device, torch.device):
        return
    here = devices_here()
    if device in here or (may_be_default and device == LM_EVAL_DEFAULT and here == ["cpu"]):
        return
    raise OptionError(f"device is {device!r}, which is not here. Here are: {', '.join(here)}.")


def default_device() -> str:
    """The device that lm-eval's command takes where its user names none; from Python, `HFLM` would take CUDA unseen."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def devices_here() -> list[str]:
    """The names of the devices that a model can be on."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    numbered = [f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count())]
    return ["cpu", accelerator.type, *numbered]


def check_folder(pretrained: str) -> None:
    """Refuses a path that is written as one and leads nowhere; what may be a repository is left to the hub.

    Raises:
        CheckpointError: There is no such folder.
    """
    folder = Path(pretrained).expanduser()
    written_as_path = folder.is_absolute() or pretrained.startswith((".", "~")) or len(folder.parts) > 2
    if written_as_path and not folder.exists():
        raise CheckpointError(
            f"{pretrained}: no such folder. Pass the folder of a checkpoint, or a hub repository such as "
            "baichuan-inc/Baichuan-7B."
        )
