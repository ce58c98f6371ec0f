"""Which architecture a checkpoint has: told from what it says, never from its name, never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig
from lm_eval_baichuan.model_adapters.baichuan.family import settle_family
from lm_eval_baichuan.model_adapters.errors import CheckpointError

NORM_HEAD = "class NormHead(nn.Module):\n    pass\n"
ROTARY = "class RotaryEmbedding(torch.nn.Module):\n    pass\n"
ALIBI = "def _get_interleave(n):\n    pass\n"


@pytest.mark.parametrize(
    ("fields", "positions", "norm_head"),
    [
        ({"vocab_size": 64000, "max_position_embeddings": 4096}, "rope", False),
        ({"vocab_size": 64000, "model_max_length": 4096}, "alibi", False),
        ({"vocab_size": 125696, "max_position_embeddings": 4096, "model_max_length": 4096}, "rope", True),
        ({"vocab_size": 125696, "model_max_length": 4096}, "alibi", True),
    ],
)
def test_the_four_published_configurations(fields: dict[str, int], positions: str, norm_head: bool) -> None:
    config = BaichuanConfig(**fields)  # type: ignore[arg-type]
    settle_family(config, where="here")
    assert (config.position_embedding, config.norm_head) == (positions, norm_head)


def test_explicit_keys_come_first() -> None:
    config = BaichuanConfig(model_max_length=4096, norm_head=True, position_embedding="rope")
    settle_family(config, where="here", source=ALIBI)
    assert (config.position_embedding, config.norm_head) == ("rope", True)


def test_the_modelling_file_answers_what_the_fields_leave_open() -> None:
    config = BaichuanConfig(vocab_size=64001)
    settle_family(config, where="here", source=ROTARY + NORM_HEAD)
    assert (config.position_embedding, config.norm_head) == ("rope", True)


def test_a_resized_vocabulary_without_evidence_stops_and_asks() -> None:
    with pytest.raises(CheckpointError, match=r"here: .*64001 pieces.*norm_head=true or norm_head=false"):
        settle_family(BaichuanConfig(vocab_size=64001, max_position_embeddings=9), where="here")


def test_no_length_at_all_stops_and_asks() -> None:
    with pytest.raises(CheckpointError, match="position_embedding=rope or position_embedding=alibi"):
        settle_family(BaichuanConfig(), where="here")


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"vocab_size": 64000, "max_position_embeddings": 9}, ROTARY + NORM_HEAD),
        ({"vocab_size": 125696, "max_position_embeddings": 9}, ROTARY),
        ({"vocab_size": 64000, "max_position_embeddings": 9}, ALIBI),
    ],
)
def test_contradictions_stop(fields: dict[str, int], source: str) -> None:
    with pytest.raises(CheckpointError, match="contradicts itself"):
        settle_family(BaichuanConfig(**fields), where="here", source=source)  # type: ignore[arg-type]


def test_the_modelling_file_beside_the_weights_is_read_as_text(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("baichuan2-7b")
    config = json.loads((folder / "config.json").read_text())
    del config["norm_head"], config["position_embedding"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="norm_head"):
        AutoModelForCausalLM.from_pretrained(folder)
    assert AutoModelForCausalLM.from_pretrained(folder, norm_head=False).config.norm_head is False
    (folder / "modeling_baichuan.py").write_text(NORM_HEAD + "raise RuntimeError('this file was run')\n")
    assert AutoModelForCausalLM.from_pretrained(folder).config.norm_head is True
