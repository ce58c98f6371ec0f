"""Files of GitHub repositories."""

from __future__ import annotations

import os

import huggingface_hub
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or requests', by release

from .data_files import DATA_VARIABLE, DataFile


GITHUB_VARIABLE = "LM_EVAL_BAICHUAN_GITHUB"  # a mirror of raw.githubusercontent.com


def github_file(file: DataFile, *, fresh: bool = False) -> tuple[bytes, str]:
    """Return a file's content at its commit, and its address; the hub library's folder for assets keeps a copy."""
    home = os.environ.get(GITHUB_VARIABLE, "https://raw.githubusercontent.com").rstrip(
        "/"
    )
    address = f"{home}/{file.repository}/{file.revision}/{file.at_home}"
    kept = (
        huggingface_hub.cached_assets_path("lm_eval", file.repository, file.revision)
        / file.at_home
    )
    if kept.is_file() and not fresh:
        return kept.read_bytes(), address
    try:
        timeout = huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
        response = huggingface_hub.get_session().get(address, timeout=timeout)
        response.raise_for_status()
    except (OSError, HTTPError) as error:
        raise ConnectionError(
            f"{address} could not be downloaded ({type(error).__name__}: {error}). Name a mirror in the environment "
            f"variable {GITHUB_VARIABLE}, or fill a folder elsewhere (lm-eval-baichuan data fetch PATH) and name it: "
            f"--metadata data_dir=PATH, or the environment variable {DATA_VARIABLE}."
        ) from error
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    part.write_bytes(response.content)
    part.replace(kept)
    return response.content, address
