"""Says which files of a checkpoint hold its weights, and reads what their headers say.

A folder may hold much that looks like weights: a trainer's state, an adapter, an original in another form. What counts
is what transformers would load, and here alone it is decided; downloads fetch nothing else. Nothing is ever executed.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import torch
from safetensors import safe_open

from ..errors import CheckpointError
from .json_files import read_object

Shape = tuple[int, ...]
Fetch = Callable[[list[str]], object]

# In the order in which transformers looks for them.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What AutoGPTQ calls its file, which it describes in another one.
AUTO_GPTQ_SETTINGS = "quantize_config.json"
_AUTO_GPTQ_FILES = ("*gptq*.safetensors", "*-[0-9]*bit*.safetensors")
_SHOWN = 12


DTYPE_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""What safetensors calls each dtype."""


def find_weights(folder: str | Path, fetch: Fetch = lambda patterns: None) -> list[Path]:
    """Finds the files that hold a checkpoint's weights; everything else in the folder is none.

    Args:
        folder: The checkpoint.
        fetch: Called with file names, or patterns, before they are looked for; a download brings them.

    Returns:
        The files, empty where there are none.

    Raises:
        CheckpointError: The index is damaged, a shard that it names is not there, or several files might be meant.
    """
    folder = Path(folder)
    for name in WEIGHT_FILES:
        if name == "pytorch_model.bin" and (gptq := _auto_gptq_file(folder, fetch)):
            return [gptq]
        fetch([name])
        if (folder / name).is_file():
            return _shards(folder, name, fetch) if name.endswith(".json") else [folder / name]
    return []


def weight_files(folder: str | Path) -> list[Path]:
    """Returns the files that hold the weights, by the rule of `find_weights`.

    Raises:
        CheckpointError: As `find_weights`, or there are none.
    """
    found = find_weights(folder)
    if not found:
        raise CheckpointError(f"{folder}: no weights there. Expected one of {', '.join(WEIGHT_FILES)}.")
    return found


def _auto_gptq_file(folder: Path, fetch: Fetch) -> Path | None:
    if not (folder / AUTO_GPTQ_SETTINGS).is_file():
        return None
    fetch(list(_AUTO_GPTQ_FILES))
    files = sorted(
        file for file in folder.iterdir() if any(fnmatch(file.name, pattern) for pattern in _AUTO_GPTQ_FILES)
    )
    if len(files) > 1:
        raise CheckpointError(
            f"{folder}: {', '.join(file.name for file in files)} might each be the quantized weights that "
            f"{AUTO_GPTQ_SETTINGS} describes; expected one of them. Remove the others."
        )
    return files[0] if files else None


def _shards(folder: Path, index: str, fetch: Fetch) -> list[Path]:
    """The files that an index names."""
    content = read_object(folder / index)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{folder / index}: not an index of shards: 'weight_map' is {weight_map!r:.80}; expected an object that "
            "gives each tensor's file. Download the file again."
        )
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not shard or ".." in PurePosixPath(shard).parts or shard.startswith("/"):
            raise CheckpointError(
                f"{folder / index}: not an index of shards: it puts {tensor} into {shard!r:.80}; expected the name of "
                "a file in this folder. Download the index again."
            )
    shards = sorted(set(weight_map.values()))
    fetch(shards)
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: {len(missing)} of the {len(shards)} shards that {index} names are not there: "
            f"{', '.join(missing[:_SHOWN])}. Download them, or remove {index} if it is left over from another model."
        )
    if not isinstance(content.get("metadata"), dict):  # transformers writes into it
        raise CheckpointError(
            f"{folder / index}: not an index of shards: 'metadata' is {content.get('metadata')!r:.80}; expected an "
            "object, which may be empty. Download the file again."
        )
    return [folder / shard for shard in shards]


def tensor_headers(file: Path) -> dict[str, tuple[Shape, str]]:
    """Returns shape and dtype of every tensor of a weight file by name, without reading the numbers.

    Dtypes are as torch names them (``bfloat16``).

    Raises:
        CheckpointError: The file is truncated or damaged, holds no tensors by name, or is a pickle that would run code.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
                return {
                    name: (tuple(part.get_shape()), _NAMES.get(part.get_dtype(), part.get_dtype()))
                    for name, part in slices.items()
                }
        # Older files are plain pickles, which cannot be memory-mapped.
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: refused. It is not a plain file of tensors: loading it would run code, or it is damaged "
            f"({_reason(error)}). Use a safetensors version, or download it again."
        ) from error
    except Exception as error:  # the reader of pickles raises whatever a damaged one leads it to
        raise CheckpointError(
            f"{file}: cannot be read as a weight file of {file.stat().st_size} bytes ({_reason(error)}). "
            "It is probably truncated; download it again."
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file}: holds a {type(state).__name__}; expected tensors by name.")
    # What is no tensor (quantizers pickle lists of their internals) has no shape and fits no model.
    return {
        str(name): (tuple(value.shape), _name(value.dtype))
        if isinstance(value, torch.Tensor)
        else ((), type(value).__name__)
        for name, value in state.items()
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


_NAMES = {code: _name(dtype) for dtype, code in DTYPE_CODES.items()}


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
