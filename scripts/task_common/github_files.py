"""Files of GitHub repositories."""

from __future__ import annotations

import contextlib
import errno
import os

import huggingface_hub
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or requests', by release

from .data_files import DATA_VARIABLE, MAX_DOWNLOAD_BYTES, DataFile


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
    content = bytearray()
    try:
        timeout = huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
        session = huggingface_hub.get_session()
        with session.stream("GET", address, timeout=timeout) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_DOWNLOAD_BYTES:
                    raise OSError(
                        errno.EFBIG, f"more than {MAX_DOWNLOAD_BYTES} bytes came"
                    )
    except (OSError, HTTPError) as error:
        raise ConnectionError(
            f"{address} could not be downloaded ({type(error).__name__}: {error}). Name a mirror in the environment "
            f"variable {GITHUB_VARIABLE}, or fill a folder elsewhere (lm-eval-baichuan data fetch PATH) and name it: "
            f"--metadata data_dir=PATH, or the environment variable {DATA_VARIABLE}."
        ) from error
    part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    with contextlib.suppress(
        OSError
    ):  # without a copy here, the next run downloads it again
        kept.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(kept)
    return bytes(content), address
