"""Downloads one file over HTTP and continues where an earlier attempt broke off.

Only for raw files of GitHub; files of the hub come through ``huggingface_hub``, which does the same by itself.
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

CHUNK = 1 << 16


def download(address: str, target: Path, timeout: float) -> None:
    """Download a file; what came before a failure stays in ``<target>.part``, and the next call asks for the rest.

    Args:
        address: The file's http(s) address.
        target: Where the complete file goes, by renaming.
        timeout: Seconds to wait for the server at each step.

    Raises:
        OSError: The server can't be reached, refuses (``urllib.error.HTTPError``), stalls or breaks off.
    """
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.exists() else 0
    if not address.startswith(("http://", "https://")):
        raise OSError(f"{address} is no http(s) address")
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310  # http(s), see above
            continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
            start, size = _extent(response) if continued else (0, _number(response.headers["Content-Length"]))
            if start != (done if continued else 0):
                part.unlink()
                raise OSError(f"{address}: asked for the rest from byte {done}, got it from byte {start}")
            with part.open("ab" if continued else "wb") as file:
                while chunk := response.read1(CHUNK):  # as it comes: what read() waits to fill is lost in a stall
                    file.write(chunk)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # longer than the file, so no part of it
        raise
    except http.client.HTTPException as error:
        raise OSError(f"{address}: the answer breaks off or is not HTTP ({error!r})") from error
    found = part.stat().st_size
    if size is not None and found != size:
        if found > size:
            part.unlink()
        raise OSError(f"{address}: broke off after {found} of {size} bytes")
    os.replace(part, target)


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte of a partial answer and the size of the whole file (None: not stated)."""
    stated = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated)
    if not match:
        raise OSError(f"{response.url}: Content-Range is {stated!r}, expected 'bytes FIRST-LAST/SIZE'")
    return int(match[1]), _number(match[2])


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
