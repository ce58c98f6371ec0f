"""A small stand-in on loopback for the homes of the data: the Hugging Face hub, and raw files of GitHub."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]


def parquet(columns: dict[str, list[object]]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def hub_files(data: Path, *, test_answers: bool = True) -> dict[str, bytes]:
    """The small data in the form that the hub has it, by ``<repository>/<path>``."""
    files: dict[str, bytes] = {}
    for path in (data / "ceval").rglob("*.csv"):
        split, subject = path.parent.name, path.stem.rsplit("_", 1)[0]
        with path.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
        columns: dict[str, list[object]] = {key: [row[key] for row in rows] for key in rows[0]}
        columns["id"] = [int(row["id"]) for row in rows]
        columns["explanation"] = [""] * len(rows)
        if split == "test" and not test_answers:
            columns["answer"] = [""] * len(rows)
        files[f"ceval/ceval-exam/{subject}/{split}-00000-of-00001.parquet"] = parquet(columns)
    for path in (data / "mmlu").rglob("*.csv"):
        split, subject = path.parent.name, path.stem.rsplit("_", 1)[0]
        with path.open(encoding="utf-8", newline="") as opened:
            cells = list(csv.reader(opened))
        table: dict[str, list[object]] = {
            "question": [row[0] for row in cells],
            "subject": [subject] * len(cells),
            "choices": [row[1:5] for row in cells],
            "answer": ["ABCD".index(row[5]) for row in cells],
        }
        files[f"cais/mmlu/{subject}/{split}-00000-of-00001.parquet"] = parquet(table)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for path in (data / "cmmlu").rglob("*.csv"):
            members.write(path, f"{path.parent.name}/{path.name}")
    files["haonan-li/cmmlu/cmmlu_v1_0_1.zip"] = archive.getvalue()
    return files


def github_files(data: Path) -> dict[str, bytes]:
    """The small data as the two repositories have it, by ``<repository>/<path>``."""
    homes = {"gaokao-bench": "OpenLMLab/GAOKAO-Bench", "agieval": "ruixiangcui/AGIEval"}
    return {
        f"{home}/{path.relative_to(data / folder).as_posix()}": path.read_bytes()
        for folder, home in homes.items()
        for path in (data / folder).rglob("*.json*")
    }


@contextmanager
def serve(hub: dict[str, bytes], github: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve the files; yields the address and the list of requests so far."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, content: bytes | None, revision: str = "", kind: str = "application/octet-stream") -> None:
            body = b"not found" if content is None else content
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", kind)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            if revision:
                self.send_header("X-Repo-Commit", revision)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:  # noqa: N802  # the name http.server calls
            path = urlsplit(self.path).path
            requests.append(f"{self.command} {path}")
            match path.strip("/").split("/"):
                case ["api", "datasets", owner, name, "tree", _revision]:
                    listed = [
                        {"type": "file", "path": file.split("/", 2)[2], "size": len(content), "oid": "0" * 40}
                        for file, content in hub.items()
                        if file.startswith(f"{owner}/{name}/")
                    ]
                    self.answer(json.dumps(listed).encode(), kind="application/json")
                case ["datasets", owner, name, "resolve", revision, *rest]:
                    self.answer(hub.get("/".join([owner, name, *rest])), revision)
                case [owner, name, _commit, *rest]:
                    self.answer(github.get("/".join([owner, name, *rest])))
                case _:
                    self.answer(None)

        do_HEAD = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
