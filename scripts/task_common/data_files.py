"""Files of questions: in a data folder, or at their public home."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


DATA_VARIABLE = "LM_EVAL_BAICHUAN_DATA"
# The largest file has a few megabytes; a broken home may send without end.
MAX_DOWNLOAD_BYTES = 1 << 26


class DataFile(NamedTuple):
    """One file of questions: where it lies in a data folder, and how its content comes from its public home."""

    path: str
    """In a data folder, with forward slashes."""
    part: str
    """What of a subject it holds: a split, or ``all``."""
    repository: str
    revision: str
    at_home: str
    """Its path in the repository, or the path of what it is made from."""
    download: Callable[..., tuple[bytes, str]]
    """``download(file, fresh=False)`` gives its content, and where that came from; ``fresh``: pass over caches."""


def find_data_dir(data_dir: str | None) -> Path | None:
    """Return the folder with the data: ``data_dir``, else what the environment names, else None (the public home)."""
    named = data_dir or os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        origin = (
            "--metadata data_dir"
            if data_dir
            else f"the environment variable {DATA_VARIABLE}"
        )
        raise FileNotFoundError(
            f"{folder}, named by {origin}, is not a folder. Name the folder that holds the data, or fill it: "
            f"lm-eval-baichuan data fetch {folder}"
        )
    return folder


def questions_from(file: DataFile, data_dir: str | None) -> str:
    """Return where a file of questions is taken from, for the results: a folder, or its home at a revision."""
    if not file.repository:
        return "the task's own folder"
    folder = find_data_dir(data_dir)
    if folder is not None:
        return str(folder.resolve())
    return f"{file.repository} at revision {file.revision}"


def file_content(file: DataFile, data_dir: str | None) -> tuple[bytes, str]:
    """Return a file's content and where it comes from: the data folder where one is named, else its public home."""
    folder = find_data_dir(data_dir)
    if folder is None:
        return file.download(file)
    path = folder / file.path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Fill the folder (lm-eval-baichuan data fetch {folder}), name another (--metadata "
            f"data_dir=PATH, or the environment variable {DATA_VARIABLE}), or name none: then the data comes from its "
            "public home."
        )
    return path.read_bytes(), str(path)


def decode(content: bytes, source: str) -> str:
    """Return the text of a UTF-8 file, without a byte order mark at its start."""
    encoding = other_unicode(content)
    if encoding:
        raise ValueError(
            f"{source}: the file is {encoding.upper()}, UTF-8 was expected. Convert it, for example with: "
            f"iconv -f {encoding} -t utf-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{source}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Convert the file to UTF-8, "
            f"for example with: iconv -f gb18030 -t utf-8"
        ) from error


def other_unicode(content: bytes) -> str | None:
    """Return UTF-16 or UTF-32, if a file's byte order mark or many zero bytes give it away, else None."""
    marks = {
        b"\xff\xfe\0\0": "utf-32",
        b"\0\0\xfe\xff": "utf-32",
        b"\xff\xfe": "utf-16",
        b"\xfe\xff": "utf-16",
    }
    for mark, encoding in marks.items():
        if content.startswith(mark):
            return encoding
    zeros = content.count(0)
    if not zeros or zeros * 20 < len(
        content
    ):  # in UTF-16 every comma and line end has one
        return None
    return "utf-16le" if content[1::2].count(0) * 2 > zeros else "utf-16be"
