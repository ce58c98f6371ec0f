"""The hub and GitHub's raw files on loopback, with Range requests, and with faults on order."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class FaultyHomes:
    """Serves files by ``<repository>/<path>``; ``faults[name]`` lists what befalls the next GETs of a file.

    A fault is ``break`` (the connection ends halfway), ``stall`` (half, then nothing), ``no_range`` (ignores Range),
    ``endless`` (a body without end), ``trickle`` (a body without end, a byte at a time), a number (that status), or
    bytes (a whole, other file).
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.faults: dict[str, list[str | int | bytes]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []
        """(file, Range header) of each GET of a file."""
        self.revisions: set[str] = set()
        self.listings = 0
        self.sent_without_end = 0
        self.released = threading.Event()

    def __enter__(self) -> FaultyHomes:
        homes = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each small answer waits 40 ms

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:  # noqa: N802  # the name http.server calls
                homes.answer(self)

            do_HEAD = do_GET  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, request: Any) -> None:
        match urlsplit(request.path).path.strip("/").split("/"):
            case ["api", "datasets", owner, name, *_]:
                self.listings += 1
                paths = [path.split("/", 2)[2] for path in self.files if path.startswith(f"{owner}/{name}/")]
                if "/tree/" in request.path:
                    listed: Any = [{"type": "file", "path": path, "size": 1, "oid": "0" * 40} for path in paths]
                else:
                    listed = {"id": f"{owner}/{name}", "siblings": [{"rfilename": path} for path in paths]}
                self._send(request, 200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
            case ["datasets", owner, name, "resolve", revision, *rest]:
                self._file(request, "/".join([owner, name, *rest]), revision)
            case [owner, name, revision, *rest]:
                self._file(request, "/".join([owner, name, *rest]), revision)
            case _:
                self._send(request, 404, b"not found", {})

    def _file(self, request: Any, name: str, revision: str) -> None:
        self.revisions.add(revision)
        content = self.files.get(name)
        if content is None:
            return self._send(request, 404, b"not found", {"X-Error-Code": "EntryNotFound"})
        fault: str | int | bytes | None = None
        asked = request.headers.get("Range")
        if request.command == "GET":
            self.requests.append((name, asked))
            fault = self.faults[name].pop(0) if self.faults[name] else None
        elif self.faults[name] and isinstance(self.faults[name][0], bytes):
            fault = self.faults[name][0]
        if isinstance(fault, int):
            return self._send(request, fault, b"refused", {})
        body = fault if isinstance(fault, bytes) else content
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": revision}
        status, size = 200, len(body)
        if asked and fault != "no_range":
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= size:
                return self._send(request, 416, b"", {})
            status, body = 206, body[start:]
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._send(request, status, body, headers, fault)

    def _send(
        self, request: Any, status: int, body: bytes, headers: dict[str, str], fault: str | int | bytes | None = None
    ) -> None:
        if fault in ("endless", "trickle"):
            return self._send_without_end(request, headers, b"x" * (1 << 20) if fault == "endless" else b"x")
        request.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        cut = fault in ("break", "stall")
        request.wfile.write(body[: len(body) // 2] if cut else body)
        request.wfile.flush()
        if fault == "stall":
            self.released.wait(60)
        if cut:
            request.close_connection = True

    def _send_without_end(self, request: Any, headers: dict[str, str], block: bytes) -> None:
        request.send_response(200)
        for key, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            request.send_header(key, value)
        request.end_headers()
        request.close_connection = True
        with contextlib.suppress(OSError):  # whoever asked has gone
            while not self.released.wait(0 if len(block) > 1 else 0.05):
                request.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
                self.sent_without_end += len(block)
