"""The tasks are for any model: lm-eval's own ``hf`` runs them all, and ignores what our documents say beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TASKS = Path(__file__).resolve().parent.parent.parent / "tasks"


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random one-layer GPT-2 that reads bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={"<end>": 0, **{c: i + 1 for i, c in enumerate(alphabet)}}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("tiny_gpt2")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", bos_token="<end>").save_pretrained(folder)
    config = GPT2Config(vocab_size=257, n_positions=4096, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_lm_evals_hf_model_runs_every_benchmark(
    tiny_checkpoint: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    metadata = {"data_dir": str(small_data), "own_data": True}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    results: dict[str, Any] = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={tiny_checkpoint}",
        tasks=["baichuan_5shot"],
        task_manager=manager,
        device="cpu",
        batch_size=8,
        limit=1,
        bootstrap_iters=0,
    )
    assert len(results["samples"]) == 52 + 57 + 67 + 9 + 15
    for group in ("ceval_5shot", "mmlu_5shot", "cmmlu_5shot_china_specific", "gaokao_5shot", "agieval_5shot_jec_qa"):
        assert 0 <= results["results"][group]["acc,none"] <= 1
    (sample,) = results["samples"]["mmlu_5shot_anatomy"]
    assert [continuation for _, continuation in sample["arguments"]] == [" A", " B", " C", " D"]
