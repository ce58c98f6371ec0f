"""Something that stands in for ftllm, so that all but its arithmetic is shown without it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
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
