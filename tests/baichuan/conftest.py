"""Tiny models of all four architectures, and a checkpoint folder made from one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, tiny_config

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny_model(family: str) -> BaichuanForCausalLM:
    torch.manual_seed(3)
    model = BaichuanForCausalLM(tiny_config(family)).eval()
    with torch.no_grad():
        model.lm_head.weight[7] = 0.0
        model.lm_head.weight[8] *= 10
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny Baichuan-7B in the official layout: config.json and pytorch_model.bin."""

    def write(family: str = "baichuan1-7b", **overrides: object) -> Path:
        torch.manual_seed(3)
        model = BaichuanForCausalLM(tiny_config(family, **overrides))
        folder = tmp_path / "checkpoint"
        folder.mkdir()
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        return folder

    return write
