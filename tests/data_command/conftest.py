"""A data folder of the published size with questions made here, and the homes it could come from, which misbehave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "tasks"))  # the stand-in's tables of files

from faulty_homes import FaultyHomes  # noqa: E402
from made_files import write_files  # noqa: E402
from stand_in_hub import github_files, hub_files  # noqa: E402

from lm_eval_baichuan.data import known  # noqa: E402
from lm_eval_baichuan.data.sources import benchmarks  # noqa: E402

ELSEWHERE = """
import pathlib, sys
from lm_eval_baichuan import cli
from lm_eval_baichuan.data import known
known.FILE = pathlib.Path(sys.argv.pop(1))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def known_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of known hashes, empty here: the questions made here are not the published ones."""
    file = tmp_path_factory.mktemp("known") / "known_hashes.json"
    file.write_text("{}")
    monkeypatch.setattr(known, "FILE", file)
    known.known_hashes.cache_clear()
    yield file
    known.known_hashes.cache_clear()


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder made here; not to be changed."""
    folder = tmp_path_factory.mktemp("made_data")
    write_files(folder, *benchmarks())
    return folder


@pytest.fixture(scope="session")
def contents(made_data: Path) -> dict[str, bytes]:
    """What the homes serve, by ``<repository>/<path>``."""
    return hub_files(made_data) | github_files(made_data)


@pytest.fixture
def homes(
    contents: dict[str, bytes],
    known_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FaultyHomes]:
    """The homes; GitHub's is set for this process, the hub's for commands run elsewhere."""
    monkeypatch.setattr("lm_eval_baichuan.data.fetch.PAUSE", 0.01)
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):  # the command sets them; this takes them back
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assets = tmp_path_factory.mktemp("assets")
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(assets))
    with FaultyHomes(dict(contents)) as started:
        monkeypatch.setenv("LM_EVAL_BAICHUAN_GITHUB", started.address)
        yield started


@pytest.fixture
def fetch_elsewhere(
    homes: FaultyHomes, known_file: Path, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own: huggingface_hub reads HF_ENDPOINT when it is imported."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_ENDPOINT": homes.address, "HF_HOME": str(tmp_path / "hf_home")}
        for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "LM_EVAL_BAICHUAN_DATA"):
            environment.pop(name, None)
        command = [sys.executable, "-c", ELSEWHERE, str(known_file), "data", "fetch", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    return run
