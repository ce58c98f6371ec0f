"""Loads and scores tiny checkpoints: every model, in every form of file, with every kind of weights, placed in one way.

    python checkpoint_matrix.py FOLDER PLACEMENT OUT

FOLDER holds what `write_checkpoints` wrote. OUT gets the log-likelihoods of each cell of the matrix as JSON; under
several processes each writes OUT followed by its rank.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from safetensors.torch import save_file

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

MODELS: dict[str, dict[str, Any]] = {
    "7B": {"max_position_embeddings": 512, "norm_head": False},
    "13B": {"model_max_length": 512, "norm_head": False},
    "2-7B": {"max_position_embeddings": 512, "norm_head": True},
    "2-13B": {"model_max_length": 512, "norm_head": True},
}
FORMS = (".bin", "sharded .bin", "safetensors")
WEIGHTS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
    "int8, torchao": {"torchao": "int8"},
    "4-bit, torchao": {"torchao": "int4"},
    "int8, bitsandbytes": {"load_in_8bit": True},
    "4-bit, bitsandbytes": {"load_in_4bit": True},
}
PLACEMENTS = ("one device", "data parallel", "device map", "tensor parallel")
QUESTIONS = 8

Scores = dict[str, list[float]]


def write_checkpoints(folder: Path, tokenizer: Path) -> None:
    """Writes each of MODELS in each of FORMS, in the official layout, as `folder`/<model>/<form>."""
    for model, positions in MODELS.items():
        torch.manual_seed(5)
        config = BaichuanConfig(
            vocab_size=400, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            initializer_range=0.15, **positions,
        )  # fmt: skip
        state = BaichuanForCausalLM(config).state_dict()
        for form in FORMS:
            place = folder / model / form
            config.save_pretrained(place)
            shutil.copy(tokenizer, place / "tokenizer.model")
            (place / "tokenizer_config.json").write_text('{"tokenizer_class": "BaichuanTokenizer"}')
            if form == ".bin":
                torch.save(state, place / "pytorch_model.bin")
            elif form == "safetensors":
                save_file(state, place / "model.safetensors", metadata={"format": "pt"})
            else:
                _write_shards(state, place)


def _write_shards(state: dict[str, torch.Tensor], place: Path, count: int = 3) -> None:
    weight_map = {}
    for number in range(count):
        file = f"pytorch_model-{number + 1:05d}-of-{count:05d}.bin"
        part = dict(list(state.items())[number::count])
        torch.save(part, place / file)
        weight_map.update(dict.fromkeys(part, file))
    (place / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def options(placement: str, offload: str) -> dict[str, Any]:
    """The adapter's options for a placement; on one machine without a GPU the second device of a map is the disk."""
    if placement == "tensor parallel":
        return {"tp_plan": "auto"}
    if placement == "device map":
        ends = dict.fromkeys(["model.embed_tokens", "model.layers.1", "model.norm", "lm_head"], "cpu")
        return {"parallelize": True, "device_map": {**ends, "model.layers.0": "disk"}, "offload_folder": offload}
    return {}


def requests() -> list[Instance]:
    texts = [f"What is {'name ' * (i % 4)}{i}? 答案：" for i in range(QUESTIONS)]
    doc = {"label_tokens": "isolated"}
    return [
        Instance("loglikelihood", doc, (text, label), 0, ("task", i, 1))
        for i, text in enumerate(texts)
        for label in "ABCD"
    ]


def score(folder: Path, placement: str, weights: str) -> list[float]:
    """Loads a checkpoint and scores this process's share of the questions."""
    with tempfile.TemporaryDirectory() as offload:
        lm = BaichuanLM(str(folder), device="cpu", **WEIGHTS[weights], **options(placement, offload))
        shares = 2 if placement == "data parallel" else 1
        assert lm.world_size == shares, f"{lm.world_size} processes share the questions, expected {shares}"
        mine = requests()[lm.rank :: lm.world_size]
        return [logprob for logprob, _ in lm.loglikelihood(mine, disable_tqdm=True)]


def run_matrix(folder: Path, placement: str) -> Scores:
    """Every cell of one placement, named ``model / form / weights``; stops at the first that fails, with its name."""
    found: Scores = {}
    for model in MODELS:
        for form in FORMS:
            for weights in runnable(placement):
                try:
                    found[f"{model} / {form} / {weights}"] = score(folder / model / form, placement, weights)
                except Exception as error:
                    raise RuntimeError(f"{model}, {form}, {weights}, {placement} failed") from error
    return found


def runnable(placement: str) -> list[str]:
    """The kinds of weights that a placement takes on a machine without a GPU.

    Quantized weights are not split (tensor parallel) and not off-loaded to the disk, the second device of the map here.
    """
    return list(WEIGHTS) if placement in ("one device", "data parallel") else list(WEIGHTS)[:3]


def main() -> None:
    folder, placement, out = sys.argv[1:]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    Path(out + os.environ.get("RANK", "")).write_text(json.dumps(run_matrix(Path(folder), placement)))


if __name__ == "__main__":
    main()
