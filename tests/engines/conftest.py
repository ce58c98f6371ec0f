"""Where vLLM is installed, and a process that runs models on it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_on_vllm(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs one function of on_vllm.py; skips the test where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; scripts/test_vllm makes an environment that has it")

    def run(what: str, given: Any, **variables: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path_factory.mktemp(what) / "given.json"
        file.write_text(json.dumps(given), "utf-8")
        script = Path(__file__).with_name("on_vllm.py")
        done = subprocess.run(
            [sys.executable, str(script), what, str(file)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        done.answer = file.with_name("given.json.answer")  # type: ignore[attr-defined]
        return done

    return run


@pytest.fixture(scope="session")
def answer_of(run_on_vllm: Run) -> Callable[..., Any]:
    """What one function of on_vllm.py returns."""

    def answer(what: str, given: Any, **variables: str) -> Any:
        done = run_on_vllm(what, given, **variables)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.answer.read_text("utf-8"))  # type: ignore[attr-defined]

    return answer
