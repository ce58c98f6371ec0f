"""A small random checkpoint in the official layout, and requests as lm-eval makes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

Write = Callable[..., str]


@pytest.fixture(scope="session")
def saved_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a random checkpoint once a session for each configuration."""
    root = tmp_path_factory.mktemp("checkpoints")
    saved: dict[str, Path] = {}

    def save(**overrides: Any) -> Path:
        sizes: dict[str, Any] = {
            "vocab_size": 400,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "initializer_range": 0.3,
            "norm_head": False,
        }
        if "model_max_length" not in overrides:
            sizes["max_position_embeddings"] = 512
        config = {**sizes, **overrides}
        key = repr(sorted(config.items()))
        if key not in saved:
            torch.manual_seed(5)
            folder = root / str(len(saved))
            BaichuanForCausalLM(BaichuanConfig(**config)).save_pretrained(folder)
            saved[key] = folder
        return saved[key]

    return save


@pytest.fixture
def write_checkpoint(tmp_path: Path, small_tokenizer: Path, saved_checkpoints: Callable[..., Path]) -> Write:
    """Writes a random checkpoint of the test's own and returns its folder."""

    def write(tokenizer: Path = small_tokenizer, name: str = "checkpoint", **overrides: Any) -> str:
        folder = tmp_path / name
        shutil.copytree(saved_checkpoints(**overrides), folder, dirs_exist_ok=True)
        shutil.copy(tokenizer, folder / "tokenizer.model")
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BaichuanTokenizer"}))
        return str(folder)

    return write


@pytest.fixture
def instance() -> Callable[..., Instance]:
    """Makes a log-likelihood request."""

    def make(context: str, continuation: str, doc_id: int = 0, **doc: Any) -> Instance:
        return Instance("loglikelihood", doc, (context, continuation), 0, ("some_task", doc_id, 1))

    return make
