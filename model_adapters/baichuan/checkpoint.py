"""Finds the folder of a checkpoint, downloading what is needed of it. Nothing in a checkpoint is ever executed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..outside.files import read_text
from .tokenizer_files import TOKENIZER_FILES
from .weight_files import AUTO_GPTQ_SETTINGS, WEIGHT_FILES, find_weights

HUB_ARGUMENTS = ("revision", "subfolder", "token", "cache_dir", "local_files_only", "force_download")

# What is read of a checkpoint beside its weights; the modelling file only as text.
_SETTINGS = (
    "config.json",
    "generation_config.json",
    AUTO_GPTQ_SETTINGS,
    *TOKENIZER_FILES,
    "modeling_*.py",
)


def hub_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Picks the arguments that say where on the hub a checkpoint is."""
    return {name: kwargs[name] for name in HUB_ARGUMENTS if kwargs.get(name) is not None}


def local_checkpoint(name: str | Path, *, subfolder: str = "", weights: bool = True, **hub: Any) -> str:
    """Returns the folder that holds a checkpoint's files, downloading them from the hub where needed.

    Only configuration, tokenizer and weights are downloaded (see `weight_files.find_weights`), and the modelling file
    as text.

    Args:
        name: A folder, or a hub repository such as ``baichuan-inc/Baichuan-7B``.
        subfolder: Folder inside a hub repository, or inside the folder.
        weights: Whether a download brings the weights too, or only configuration and tokenizer.
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
        folder = Path(_download(str(name), subfolder, hub, weights=weights))
    folder = folder / subfolder
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: no config.json there. A checkpoint folder holds config.json, the weights "
            f"({' or '.join(WEIGHT_FILES[::2])}, or shards with an index) and tokenizer.model."
        )
    return str(folder)


def _download(repository: str, subfolder: str, hub: dict[str, Any], *, weights: bool) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    prefix = f"{subfolder}/" if subfolder else ""

    def fetch(names: Iterable[str], **where: Any) -> str:
        return str(snapshot_download(repository, allow_patterns=[prefix + name for name in names], **where))

    try:
        folder = fetch(_SETTINGS, **hub)
        # The weights come from the same commit, whose name the folder bears, also if the branch moves meanwhile.
        # Many repositories have them in several forms, tens of gigabytes each: the first that is there is enough.
        commit = {**hub, "revision": Path(folder).name}
        if weights:
            find_weights(Path(folder) / subfolder, lambda names: fetch(names, **commit))
    except (HFValidationError, OSError) as error:  # every failure of a download is an OSError
        raise CheckpointError(
            f"{repository}: neither a folder here nor a hub repository that could be downloaded ({error}). "
            "Check the name, the network, HF_ENDPOINT, or pass a local folder."
        ) from error
    return folder


def modelling_source(folder: str | Path) -> str | None:
    """Returns the text of the checkpoint's modelling file, which is only ever read, or None where there is none.

    Raises:
        CheckpointError: It is there, but no regular file.
    """
    files = sorted(Path(folder).glob("modeling_*.py"))
    try:
        return "\n".join(read_text(file, errors="replace") for file in files) if files else None
    except OSError as error:
        raise CheckpointError(
            f"{folder}: one of {', '.join(file.name for file in files)} cannot be read ({error.strerror}). Remove it, "
            "or download it again."
        ) from error
