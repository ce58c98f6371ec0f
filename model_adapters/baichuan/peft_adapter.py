"""Puts a LoRA or QLoRA adapter on a loaded Baichuan, and makes sure that all of it arrived.

peft warns, or says nothing, where an adapter's tensors find no place in the model; the scores are then those of the
bare model under the fine-tune's name. Here every tensor of the adapter must be in the model afterwards.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, MissingExtraError
from ..hosts.peft import MISSING_KEYS, TRAINED_WHOLE, WHOLE_LAYER_NAMES, adapter_places, adapter_tensors
from ..outside.limits import OverLimitError, limits
from .checkpoint import hub_arguments
from .json_files import read_object
from .weight_files import tensor_headers

_FILES = ("adapter_model.safetensors", "adapter_model.bin")
PATTERN_SECONDS, LOADING_SECONDS = 5.0, 600.0
"""How long one text of an adapter may take as a regular expression, and how long peft may take for the adapter."""
# Adapters that are at work behind these tokens only (activated LoRA), which a log-likelihood request does not have.
_INVOKED = ("alora_invocation_tokens", "invocation_tokens", "invocation_string", "alora_invocation_string")
# What scales an adapter's product of matrices, or turns it.
_FLAGS = ("use_rslora", "use_dora", "fan_in_fan_out", "lora_bias")
_NUMBERS = ("r", "lora_alpha")
_PATTERNS_OF_NUMBERS = ("rank_pattern", "alpha_pattern")
# Embedding and head that were trained whole, in the several names that peft gives them.
_TRAINED_ROWS = re.compile(rf"\b(embed_tokens|lm_head)(\.({'|'.join(WHOLE_LAYER_NAMES)}))*\.weight$")


def with_adapter(model: Any, name: str, **hub: Any) -> Any:
    """Wraps `model` with a peft adapter.

    Args:
        model: A loaded causal language model, quantized or not.
        name: The adapter's folder, or a hub repository.
        hub: Where on the hub, as for `huggingface_hub.snapshot_download`.

    Returns:
        The peft model, in evaluation mode.

    Raises:
        MissingExtraError: peft is not installed.
        CheckpointError: The folder is no adapter, is damaged, or does not fit the model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError(
            f"peft={name} needs the peft library ({error}). Install it: pip install 'lm-eval-baichuan[peft]'"
        ) from error
    folder = _local(name, hub)
    _check_config(folder, [name for name, _ in model.named_modules()])
    stored = _stored_tensors(folder)
    _resize_to(model, stored, folder)
    try:
        with warnings.catch_warnings(), limits(LOADING_SECONDS, memory=None):
            # Missing tensors are checked below, and the base model's name in the adapter need not be reachable.
            warnings.filterwarnings("ignore", message=MISSING_KEYS)
            wrapped = PeftModel.from_pretrained(model, str(folder))
    except Exception as error:  # peft raises whatever its many kinds of adapters come upon
        raise CheckpointError(
            f"{folder}: this adapter does not fit the model ({error or type(error).__name__}). Use the base model that "
            "its adapter_config.json names (base_model_name_or_path)."
        ) from error
    _check_arrived(wrapped, stored, folder)
    return wrapped.eval()


def _local(name: str, hub: dict[str, Any]) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(name, allow_patterns=["adapter_*"], **hub_arguments(hub)))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise CheckpointError(
                f"peft={name}: neither a folder here nor a hub repository that could be downloaded ({error})."
            ) from error
    if not (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder}: no adapter_config.json there, so this is no peft adapter. A merged fine-tune goes into "
            "pretrained=."
        )
    return folder


def _check_config(folder: Path, modules: Sequence[str]) -> None:
    file = folder / "adapter_config.json"
    config = read_object(file)
    if config.get("megatron_config") is not None:
        raise CheckpointError(
            f"{file}: megatron_config is set, for which peft would import what megatron_core names "
            f"({config.get('megatron_core')!r:.80}); no code is run on a file's word. Save it without Megatron."
        )
    _check_scaling(file, config)
    _check_patterns(file, config, modules)
    if type(config.get("peft_type")) is not str:
        raise CheckpointError(
            f"{file}: peft_type is {config.get('peft_type')!r}; expected a name such as 'LORA'. The file is damaged."
        )
    for key in _INVOKED:
        if config.get(key) is not None:
            raise CheckpointError(
                f"{file}: {key} is {config[key]!r:.80}. Such an adapter (activated LoRA) works behind these "
                "tokens only, which prompts of an evaluation do not hold: the scores would be the bare model's. Leave "
                "peft= out to score the model without it."
            )


def _check_scaling(file: Path, config: dict[str, Any]) -> None:
    """Refuses values of another type where peft would compute with what it takes them for: the text "false" is true."""
    for key in _FLAGS:
        if config.get(key) is not None and type(config[key]) is not bool:
            raise CheckpointError(f"{file}: {key} is {config[key]!r:.80}; expected true or false. Correct the file.")
    numbers = {key: config[key] for key in _NUMBERS if config.get(key) is not None}
    for key in _PATTERNS_OF_NUMBERS:
        given = config.get(key) or {}
        if not isinstance(given, dict):
            raise CheckpointError(f"{file}: {key} is {given!r:.80}; expected an object of numbers. Correct the file.")
        numbers |= {f"{key}, {name!r:.40}": value for name, value in given.items()}
    for key, value in numbers.items():
        if type(value) not in (int, float) or not 0 <= value < 2**31:
            raise CheckpointError(f"{file}: {key} is {value!r:.80}; expected a number, 0 or more. Correct the file.")


def _check_patterns(file: Path, config: dict[str, Any], modules: Sequence[str]) -> None:
    """Refuses a regular expression that takes for ever: peft matches many of the texts with the names of modules."""
    for text in set(_texts(config)):
        try:
            with limits(PATTERN_SECONDS, memory=None):
                pattern = re.compile(rf"(.*\.)?({text})$")
                for name in modules:
                    pattern.match(name)
        except re.error:
            continue  # no pattern; peft says so if it takes it for one
        except OverLimitError as error:
            raise CheckpointError(
                f"{file}: {text!r:.80}, as a regular expression on the names of the model's modules: {error}. Write "
                "the modules' names instead."
            ) from error


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in chain(value, value.values() if isinstance(value, dict) else ()):
            yield from _texts(part)


def _stored_tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the adapter; its pickles are read as tensors only."""
    for file in _FILES:
        if (folder / file).is_file():
            return {name: shape for name, (shape, _) in tensor_headers(folder / file).items()}
    raise CheckpointError(f"{folder}: no adapter weights there. Expected {' or '.join(_FILES)}.")


def _resize_to(model: Any, stored: dict[str, tuple[int, ...]], folder: Path) -> None:
    """Gives embedding and head the rows that the adapter brings for them, if it was trained with added tokens."""
    rows = {shape[0] for name, shape in stored.items() if _TRAINED_ROWS.search(name)}
    if len(rows) > 1:
        raise CheckpointError(f"{folder}: its embedding and its head have different numbers of rows: {sorted(rows)}.")
    if rows and rows != {model.get_input_embeddings().weight.shape[0]}:
        # The adapter overwrites these rows, so what they hold until then does not matter.
        model.resize_token_embeddings(rows.pop(), mean_resizing=False)


def _check_arrived(wrapped: Any, stored: dict[str, tuple[int, ...]], folder: Path) -> None:
    if wrapped.active_peft_config.is_prompt_learning:  # nothing inside the model to compare with
        return
    places = {name for name in adapter_places(wrapped) if not _TRAINED_ROWS.search(name)}
    brought = {name for name in stored if not _TRAINED_ROWS.search(name)}
    extra, empty = sorted(brought - places), sorted(places - brought)
    if extra or empty:
        raise CheckpointError(
            f"{folder}: the adapter's tensors and the places for them in this model are not the same. "
            f"{len(extra)} have no place here: {', '.join(extra[:6]) or '-'}; {len(empty)} places stayed empty: "
            f"{', '.join(empty[:6]) or '-'}. Was it trained on another model, or is the file cut off?"
        )
    values = adapter_tensors(folder)
    if not all(torch.isfinite(tensor).all() for tensor in values.values()):
        raise CheckpointError(f"{folder}: the adapter holds NaN or infinite numbers.")
    for layer, module in (
        ("embed_tokens", wrapped.get_input_embeddings()),
        ("lm_head", wrapped.get_output_embeddings()),
    ):
        names = [name for name in values if name.endswith((f"{layer}.{TRAINED_WHOLE}.weight", f"{layer}.weight"))]
        if names and not torch.equal(module.weight.cpu(), values[names[0]].to(module.weight.dtype)):
            raise CheckpointError(f"{folder}: its trained {layer} did not reach the model. Please report this.")
