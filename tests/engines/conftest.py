"""Stand-ins and processes of the engines, so that what can be shown without them is."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
STAND_IN = Path(__file__).with_name("stand_in_ftllm.py")


@pytest.fixture
def ftllm_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a stand-in for ftllm where this process and those it starts find it before any other."""

    def install(trouble: str = "", version: str = "1.9.0", *, model: bool = False) -> None:
        folder = tmp_path / "stand_in"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "ftllm").mkdir(parents=True)
        (folder / "ftllm" / "__init__.py").touch()
        shutil.copy(STAND_IN, folder / "ftllm" / "llm.py")
        (folder / f"ftllm-{version}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: ftllm\nVersion: {version}\n"
        (folder / f"ftllm-{version}.dist-info" / "METADATA").write_text(metadata)
        monkeypatch.syspath_prepend(str(folder))
        others = os.environ.get("PYTHONPATH")  # an empty place would be the current folder
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([others] if others else [])]))
        monkeypatch.setenv("STAND_IN_TROUBLE", trouble)
        monkeypatch.setenv("STAND_IN_MODEL", "1" if model else "")
        importlib.invalidate_caches()

    return install


@pytest.fixture
def small_checkpoint(tmp_path: Path, small_tokenizer: Path) -> Callable[..., Path]:
    """Writes a random checkpoint in the official layout and returns its folder."""
    import torch

    from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

    def write(name: str = "checkpoint", seed: int = 5, **overrides: Any) -> Path:
        folder = tmp_path / name
        sizes: dict[str, Any] = {
            **{"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
            **{"num_attention_heads": 4, "initializer_range": 0.3, "norm_head": False},
        }
        window = {} if "model_max_length" in overrides else {"max_position_embeddings": 512}
        torch.manual_seed(seed)
        BaichuanForCausalLM(BaichuanConfig(**{**sizes, **window, **overrides})).save_pretrained(folder)
        shutil.copy(small_tokenizer, folder / "tokenizer.model")
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BaichuanTokenizer"}))
        return folder

    return write


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
