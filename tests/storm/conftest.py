"""The forking process, the homes it downloads from, and how many kills there are."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "data_command"), str(TESTS / "tasks")]

from faulty_homes import FaultyHomes  # noqa: E402

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


class Storm:
    """Starts work in children of the forking process, and kills it at moments drawn from a seed."""

    def __init__(self, process: subprocess.Popen[str], homes: FaultyHomes, folder: Path) -> None:
        self.kills = int(os.environ.get("LM_EVAL_BAICHUAN_KILLS", "8"))
        """How many kills a test makes."""
        self.chance = random.Random(int(os.environ.get("LM_EVAL_BAICHUAN_STORM_SEED", "0")))  # noqa: S311
        self.homes = homes
        self.process = process
        self.log = folder / "log"
        self.fell = Counter[str]()
        """In which phases kills fell, and by which signals."""

    def do(
        self, what: str, *, after: float | None = None, phase: str | None = None, processes: int = 1, **order: Any
    ) -> dict[str, Any]:
        """Do something; with `after`, kill it so many seconds later, or into a phase, unless it ends by itself."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        order |= {"do": what, "processes": processes, "after": after, "phase": phase}
        order |= {"port": port, "log": str(self.log)}
        order["signal"] = self.chance.choice(SIGNALS)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        done: dict[str, Any] = json.loads(self.process.stdout.readline())
        done["signal"] = order["signal"]
        if done["killed"]:
            self.fell[f"status {done['statuses'][0]}"] += 1
            self.fell[signal.Signals(order["signal"]).name] += 1
        elif any(done["statuses"]):
            pytest.fail(f"ended by itself with {done['statuses']}:\n{self.log.read_text('utf-8')[-3000:]}")
        if done["hung"] and processes == 1:
            pytest.fail(f"hung after {signal.Signals(order['signal']).name}:\n{self.log.read_text('utf-8')[-6000:]}")
        return done

    def moment(self, seconds: float) -> float:
        """A moment within something that takes so long undisturbed."""
        return self.chance.uniform(0, seconds)


@pytest.fixture(scope="session")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    folder = tmp_path_factory.mktemp("storm")
    with FaultyHomes({}) as homes:
        environment = {
            **os.environ,
            "HF_ENDPOINT": homes.address,
            "HF_HOME": str(folder / "hf_home"),
            "LM_EVAL_BAICHUAN_GITHUB": homes.address,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONWARNINGS": "ignore",
        }
        for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "LM_EVAL_BAICHUAN_DATA"):
            environment.pop(name, None)
        command = [sys.executable, str(Path(__file__).with_name("forking.py"))]
        with (
            (folder / "stderr").open("w") as errors,
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", (folder / "stderr").read_text()
            yield Storm(process, homes, folder)
            process.kill()


@pytest.fixture
def downloads(storm: Storm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the forking process keeps what it downloads."""
    return storm.log.parent / "hf_home"
