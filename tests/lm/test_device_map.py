"""A model spread over several devices: blocks stay whole, and scores stay the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import infer_auto_device_map
from families import FAMILIES
from lm_eval.api.instance import Instance

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Make = Callable[..., Instance]
Write = Callable[..., str]


@pytest.mark.parametrize("alibi", [False, True])
def test_no_block_is_split(alibi: bool) -> None:
    sizes = (
        {"hidden_size": 5120, "intermediate_size": 13696, "num_hidden_layers": 40, "num_attention_heads": 40}
        if alibi
        else {}
    )
    length = {"model_max_length": 4096} if alibi else {"max_position_embeddings": 4096}
    with torch.device("meta"):
        model = BaichuanForCausalLM(BaichuanConfig(**sizes, **length)).to(torch.bfloat16)  # type: ignore[arg-type]
    limits = {0: "9GB", 1: "9GB", 2: "13GB", "cpu": "64GB"}
    placed = infer_auto_device_map(model, limits, no_split_module_classes=model._no_split_modules)
    devices = defaultdict(set)
    for name, _ in model.named_parameters():
        home = next(device for prefix, device in placed.items() if name == prefix or name.startswith(f"{prefix}."))
        if ".layers." in name:
            devices[".".join(name.split(".")[:3])].add(home)
    assert len(devices) == model.config.num_hidden_layers
    assert all(len(homes) == 1 for homes in devices.values())
    assert len({next(iter(homes)) for homes in devices.values()}) > 1


@pytest.mark.parametrize("trie", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_that_lies_elsewhere_scores_the_same(
    write_checkpoint: Write, instance: Make, tmp_path: Path, family: str, trie: bool
) -> None:
    folder = write_checkpoint(**FAMILIES[family])
    placed = {"model.embed_tokens": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu"}
    lm = BaichuanLM(
        folder,
        device="cpu",
        trie=trie,
        parallelize=True,
        device_map={**placed, "model.norm": "cpu", "lm_head": "cpu"},
        offload_folder=str(tmp_path / "offload"),
    )
    assert next(lm.model.model.layers[0].parameters()).device.type == "meta"
    requests = [instance(f"What is {i} name?", label, i) for i in range(4) for label in ("A", "two")]
    found = lm.loglikelihood(requests, disable_tqdm=True)
    expected = BaichuanLM(folder, device="cpu").loglikelihood(requests, disable_tqdm=True)
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-5)
