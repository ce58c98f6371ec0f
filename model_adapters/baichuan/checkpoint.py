"""Finds, reads and checks the files of a checkpoint, before any of its numbers are used.

Transformers warns about missing tensors and fills them with random numbers; here every difference stops the run, with
the tensor, the file, what was found and what was expected. Nothing in a checkpoint is ever executed.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError

Shape = tuple[int, ...]

# In the order in which transformers looks for them.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_HUB_ARGUMENTS = ("revision", "subfolder", "token", "cache_dir", "local_files_only", "force_download")
_SHOWN = 12


def hub_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Picks the arguments that say where on the hub a checkpoint is."""
    return {name: kwargs[name] for name in _HUB_ARGUMENTS if kwargs.get(name) is not None}


def local_checkpoint(name: str | Path, *, subfolder: str = "", **hub: Any) -> str:
    """Returns the folder that holds a checkpoint's files, downloading them from the hub where needed.

    Only data is downloaded (JSON, tokenizer, weights, the modelling file as text).

    Args:
        name: A folder, or a hub repository such as ``baichuan-inc/Baichuan-7B``.
        subfolder: Folder inside a hub repository, or inside the folder.
        hub: ``revision``, ``token``, ``cache_dir``, ... as for `huggingface_hub.snapshot_download`.

    Raises:
        CheckpointError: There is no such folder, or no config.json in it.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or str(name).startswith((".", "~")) or len(folder.parts) > 2 or folder.exists():
            raise CheckpointError(
                f"{name}: no such folder. Pass a folder in the official layout (config.json, weights, tokenizer.model) "
                "or a hub repository such as baichuan-inc/Baichuan-7B."
            )
        folder = Path(_download(str(name), subfolder, hub))
    folder = folder / subfolder
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: no config.json there. A checkpoint folder holds config.json, the weights "
            f"({' or '.join(WEIGHT_FILES[::2])}, or shards with an index) and tokenizer.model."
        )
    return str(folder)


def _download(repository: str, subfolder: str, hub: dict[str, Any]) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    prefix = f"{subfolder}/" if subfolder else ""
    try:
        patterns = ["*.json", "tokenizer.model", "modeling_*.py", "*.safetensors"]
        folder = snapshot_download(repository, allow_patterns=[prefix + pattern for pattern in patterns], **hub)
        # Many repositories have the weights in both forms, tens of gigabytes each: one is enough.
        if not any((Path(folder) / subfolder).glob("*.safetensors")):
            folder = snapshot_download(repository, allow_patterns=[f"{prefix}*.bin"], **hub)
    except (HFValidationError, OSError) as error:  # every failure of a download is an OSError
        raise CheckpointError(
            f"{repository}: neither a folder here nor a hub repository that could be downloaded ({error}). "
            "Check the name, the network, HF_ENDPOINT, or pass a local folder."
        ) from error
    return str(folder)


def modelling_source(folder: str | Path) -> str | None:
    """Returns the text of the checkpoint's modelling file, which is only ever read, or None where there is none."""
    files = sorted(Path(folder).glob("modeling_*.py"))
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files) if files else None


def weight_files(folder: str | Path) -> list[Path]:
    """Returns the files that hold the weights.

    Raises:
        CheckpointError: There are none, the index is damaged, or a shard that the index names is not there.
    """
    folder = Path(folder)
    for name in WEIGHT_FILES:
        path = folder / name
        if not path.is_file():
            continue
        if not name.endswith(".json"):
            return [path]
        try:
            shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(
                f"{path}: not a readable index of shards ({error!r}); expected JSON with a 'weight_map'. "
                "Download the file again."
            ) from error
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder}: {len(missing)} of the {len(shards)} shards that {name} names are not there: "
                f"{', '.join(missing[:_SHOWN])}. Download them, or remove {name} if it is left over from another model."
            )
        return [folder / shard for shard in shards]
    raise CheckpointError(f"{folder}: no weights there. Expected one of {', '.join(WEIGHT_FILES)}.")


def tensor_headers(file: Path) -> dict[str, tuple[Shape, str]]:
    """Returns shape and dtype of every tensor of a weight file by name, without reading the numbers.

    Dtypes are as torch names them in pickles (``bfloat16``) and safetensors in its files (``BF16``).

    Raises:
        CheckpointError: The file is truncated or damaged, or is a pickle that would run code.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
                return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
        # Older files are plain pickles, which cannot be memory-mapped.
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
        # What is no tensor (quantizers pickle lists of their internals) has no shape and fits no model.
        return {
            name: (tuple(getattr(tensor, "shape", ())), str(getattr(tensor, "dtype", "")).removeprefix("torch."))
            for name, tensor in state.items()
        }
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: refused. It is not a plain file of tensors: loading it would run code, or it is damaged "
            f"({_reason(error)}). Use a safetensors version, or download it again."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{file}: cannot be read as a weight file of {file.stat().st_size} bytes ({_reason(error)}). "
            "It is probably truncated; download it again."
        ) from error


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def check_tensors(folder: str | Path, expected: Mapping[str, Shape], *, ignored: Iterable[str] = ()) -> None:
    """Compares the tensors of a checkpoint with those the model needs.

    Args:
        folder: The checkpoint.
        expected: Name and shape of every tensor of the model.
        ignored: Patterns of tensors that a checkpoint may have in addition.

    Raises:
        CheckpointError: Names every missing, extra, misshapen and doubled tensor with its file (the first dozen), and
            shards that differ in dtype.
    """
    found: dict[str, tuple[Shape, str]] = {}
    dtypes: dict[str, dict[str, tuple[str, str]]] = {}  # kind of tensor -> dtype -> (tensor, file)
    doubled = []
    for file in weight_files(folder):
        for name, (shape, dtype) in tensor_headers(file).items():
            if name in found:
                doubled.append(f"{name}: in {found[name][1]} and again in {file.name}")
            found[name] = shape, file.name
            kind = re.sub(r"\.layers\.\d+\.", ".layers.N.", name)
            dtypes.setdefault(kind, {}).setdefault(dtype, (name, file.name))
    problems = doubled + [
        f"{name}: missing, expected shape {list(shape)}" for name, shape in expected.items() if name not in found
    ]
    for name, (shape, file_name) in found.items():
        if name in expected:
            if shape != expected[name]:
                problems.append(
                    f"{name}: has shape {list(shape)} in {file_name}, but config.json describes {list(expected[name])}"
                )
        elif not any(re.search(pattern, name) for pattern in ignored):
            problems.append(f"{name}: unexpected, shape {list(shape)} in {file_name}")
    for seen in dtypes.values():
        if len({file for _, file in seen.values()}) > 1:
            tensors = ", ".join(f"{name} is {dtype} in {file}" for dtype, (name, file) in seen.items())
            problems.append(f"the shards differ in dtype: {tensors}")
            break  # all tensors of a foreign shard differ, and one says it
    if problems:
        more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json ({len(problems)} differences):\n  "
            + "\n  ".join(problems[:_SHOWN])
            + more
            + "\nCheck that config.json and every shard belong to the same model."
        )
