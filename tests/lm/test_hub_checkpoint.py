"""A checkpoint by its repository's name, from a small stand-in for the hub on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from safetensors.torch import load_file

REPOSITORY = "someone/tiny-baichuan"
COMMIT = "1234567890" * 4

# In a process of its own: huggingface_hub reads HF_ENDPOINT and the place of its cache once, when it is imported.
SCORE = f"""
import json, sys
from lm_eval.api.instance import Instance
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
lm = BaichuanLM({REPOSITORY!r}, device="cpu")
request = Instance("loglikelihood", {{}}, ("以下是", "A"), 0, ("task", 0, 1))
print(json.dumps(lm.loglikelihood([request], disable_tqdm=True)))
"""


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves a folder as the repository's only revision; yields the address and the files fetched so far."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:  # noqa: N802  # the name http.server calls
            path = urlsplit(self.path).path
            files = {file.name: file for file in folder.iterdir()}
            if not files:
                self.answer(b"no such repository", 404)
            elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                listed = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                    for name, file in files.items()
                ]
                self.answer(json.dumps(listed).encode())
            elif path.startswith(f"/api/models/{REPOSITORY}"):
                siblings = [{"rfilename": name} for name in files]
                self.answer(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode())
            elif path.startswith(f"/{REPOSITORY}/resolve/") and path.rsplit("/", 1)[1] in files:
                name = path.rsplit("/", 1)[1]
                if self.command == "GET":
                    fetched.append(name)
                self.answer(files[name].read_bytes())
            else:
                self.answer(b"not found", 404)

        do_HEAD = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def score(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **variables}
    command = [sys.executable, "-c", SCORE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


LEFTOVERS = (
    "adapter_model.safetensors", "consolidated.safetensors", "training_args.bin", "optimizer.bin", "optimizer.pt",
    "trainer_state.json", "adapter_config.json",
)  # fmt: skip
WEIGHTS = {
    "safetensors": {"model.safetensors"},
    "bin": {"pytorch_model.bin"},
    "sharded bin": {"pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["safetensors", *(pytest.param(form, marks=pytest.mark.many) for form in WEIGHTS if form != "safetensors")]
)
def test_downloaded_once_without_its_python_and_what_is_no_weight_file(
    write_checkpoint: Callable[..., str], tmp_path: Path, form: str
) -> None:
    folder = Path(write_checkpoint())
    for name in LEFTOVERS:
        (folder / name).write_bytes(b"neither tensors nor JSON")
    if form == "safetensors":
        (folder / "pytorch_model.bin").write_bytes(b"the same weights once more")
    else:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        file = "pytorch_model.bin" if form == "bin" else "pytorch_model-00001-of-00001.bin"
        torch.save(state, folder / file)
        if form == "sharded bin":
            index = {"metadata": {}, "weight_map": dict.fromkeys(state, file)}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for name in ("configuration_baichuan.py", "tokenization_baichuan.py"):
        (folder / name).write_text("raise SystemExit('this file was run')")
    with serve(folder) as (address, fetched):
        first = score(tmp_path / "home", HF_ENDPOINT=address)
        assert first.returncode == 0, first.stderr[-2000:]
    settings = {"config.json", "generation_config.json", "tokenizer.model", "tokenizer_config.json"}
    assert sorted(fetched) == sorted({*settings, *WEIGHTS[form]})

    again = score(tmp_path / "home", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr[-2000:]
    assert json.loads(again.stdout.splitlines()[-1]) == json.loads(first.stdout.splitlines()[-1])


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as (address, _):
        done = score(tmp_path / "home", HF_ENDPOINT=address)
    assert done.returncode != 0
    assert "CheckpointError" in done.stderr and REPOSITORY in done.stderr
