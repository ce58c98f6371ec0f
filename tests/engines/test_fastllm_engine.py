"""The true ftllm, where it is installed: golden outputs, and a subject as ``--model baichuan`` answers it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from safetensors.numpy import load_file

from lm_eval_baichuan import tasks
from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.engines.fastllm_checks import servable_config, window
from lm_eval_baichuan.model_adapters.engines.fastllm_folder import prepare
from lm_eval_baichuan.model_adapters.engines.fastllm_lm import FastllmBaichuanLM
from lm_eval_baichuan.model_adapters.engines.fastllm_process import FastllmProcess
from lm_eval_baichuan.model_adapters.errors import EngineError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ftllm") is None, reason="ftllm is not installed"),
    pytest.mark.filterwarnings("ignore"),  # of lm-eval's and of the libraries it uses
]
ROPE = ("baichuan1-7b-tiny", "baichuan2-7b-tiny")
BOUND = {"float32": 1e-4, "float16": 0.06}
"""Nats; 2e-5 and 0.013 were seen."""


def log_softmax(logits: Any) -> Any:
    values = logits.astype(np.float64)
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("name", ROPE)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_golden_outputs(golden_dir: Path, tmp_path: Path, name: str, dtype: str) -> None:
    golden = load_file(golden_dir / name / "goldens.safetensors")
    options = {"norm_head": name == "baichuan2-7b-tiny", "dtype": dtype}
    config = servable_config(str(golden_dir / name), options)
    made = prepare(golden_dir / name, config, dtype, window(config, {}), tmp_path)
    engine = FastllmProcess(str(made.folder), dtype, config.vocab_size, 1, 120)
    everything = list(range(config.vocab_size))
    for number in range(6):
        ids, logits = golden[f"ids.{number}"].tolist(), golden[f"logits.{number}"]
        ends = sorted({1, len(ids) // 2, len(ids)} - {0})
        for end, (found, _) in zip(
            ends, engine.score([(ids[:end], everything) for end in ends], at_once=2), strict=True
        ):
            assert np.abs(np.array(found) - log_softmax(logits[end - 1])).max() < BOUND[dtype]
    if dtype == "float32":
        tokens = golden["gen.tokens"].tolist()
        assert [token for token, _ in engine.generate(golden["gen.prompt"].tolist(), len(tokens))] == tokens
    engine.stop()


def test_a_kill_in_mid_run_is_an_error(golden_dir: Path, tmp_path: Path) -> None:
    config = servable_config(str(golden_dir / ROPE[1]), {})
    made = prepare(golden_dir / ROPE[1], config, "float32", window(config, {}), tmp_path)
    engine = FastllmProcess(str(made.folder), "float32", config.vocab_size, 1, 120)
    answers = engine.score([([5 + number % 500] * 100, [1]) for number in range(5000)], at_once=2)
    next(answers)
    assert engine._process is not None
    os.kill(engine._process.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="killed by SIGKILL"):
        list(answers)


def test_what_the_native_library_cannot_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(EngineError, match=r"ended with status 0 before it answered.*FastLLM Error"):
        list(FastllmProcess(str(tmp_path), "float32", 512, 1, 120).score([([1], [1])], at_once=1))


@pytest.fixture
def checkpoint(tmp_path: Path, data_dir: Path) -> str:
    """A random Baichuan2-7B in small, on the published vocabulary."""
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config = BaichuanConfig(
        vocab_size=64000, num_attention_heads=4, max_position_embeddings=1024, norm_head=True, **sizes
    )
    BaichuanForCausalLM(config).save_pretrained(tmp_path / "model")
    shutil.copy(data_dir / "tokenizer" / "baichuan-7b.tokenizer.model", tmp_path / "model" / "tokenizer.model")
    return str(tmp_path / "model")


def test_a_subject_question_by_question_as_baichuan_has_it(checkpoint: str, data_dir: Path) -> None:
    def answers(lm: Any) -> tuple[dict[int, list[float]], Any]:
        metadata = {"data_dir": str(data_dir)}
        manager = TaskManager(include_path=str(Path(tasks.__file__).parent), metadata=metadata)
        found = simple_evaluate(
            lm,
            tasks=["ceval_5shot_val_law"],
            task_manager=manager,
            metadata={"data_dir": str(data_dir)},
            bootstrap_iters=0,
        )
        samples = found["samples"]["ceval_5shot_val_law"]
        return {each["doc_id"]: [answer[0][0] for answer in each["resps"]] for each in samples}, found["config"]

    own, _ = answers(BaichuanLM(checkpoint, device="cpu", dtype="float32"))
    fast, config = answers(FastllmBaichuanLM(checkpoint, threads=1, batch_size=4))
    assert own.keys() == fast.keys() and len(own) > 20
    for document, logprobs in own.items():
        assert np.abs(np.array(logprobs) - fast[document]).max() < 1e-3
        assert np.argmax(logprobs) == np.argmax(fast[document])
    assert config["baichuan_fastllm"]["verified"]["largest_difference"] < 1e-3


def test_texts_and_a_prompt_as_long_as_the_window(checkpoint: str) -> None:
    fast, own = FastllmBaichuanLM(checkpoint, threads=1), BaichuanLM(checkpoint, device="cpu", dtype="float32")
    options: dict[str, Any] = {"until": ["\n\n"], "max_gen_toks": 20, "do_sample": False}
    asked = [
        Instance("generate_until", {}, (text, options), 0, ("writes", i, 1))
        for i, text in enumerate(("以下是", "What is the", "以下是中国"))
    ]
    assert fast.generate_until(asked) == own.generate_until(asked)
    longest = [("long", ""), list(range(5, 5 + fast.max_length)), [77]]
    (found,) = fast._loglikelihood_tokens([longest])
    (expected,) = own._loglikelihood_tokens([longest])
    assert found[0] == pytest.approx(expected[0], abs=1e-3)


def test_the_chat_form_is_asked_and_answered_as_baichuan_does(tmp_path: Path) -> None:
    sys.path.append(str(Path(__file__).parents[1] / "lm"))
    from chat_vocabulary import train

    folder = tmp_path / "checkpoint"
    torch.manual_seed(4)
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    window: dict[str, Any] = {"num_attention_heads": 4, "max_position_embeddings": 512, "initializer_range": 0.3}
    BaichuanForCausalLM(BaichuanConfig(vocab_size=560, norm_head=True, **sizes, **window)).save_pretrained(folder)
    train(tmp_path, "baichuan2").rename(folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BaichuanTokenizer"}))
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A. one"}]
    found = []
    for lm in (FastllmBaichuanLM(str(folder), threads=1), BaichuanLM(str(folder), device="cpu", dtype="float32")):
        texts = [lm.apply_chat_template(each) for each in (turns[:1], [*turns, turns[0]])]
        ranked = [
            Instance("loglikelihood", {"label_tokens": "isolated"}, (text, letter), i, ("ranks", d, 1))
            for d, text in enumerate(texts)
            for i, letter in enumerate("ABCD")
        ]
        options: dict[str, Any] = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False}
        written = [Instance("generate_until", {}, (text, options), 0, ("writes", d, 1)) for d, text in enumerate(texts)]
        scores = [logprob for logprob, _ in lm.loglikelihood(ranked)]
        facts = lm.get_model_info()[lm.RESULTS_KEY]
        found.append((texts, scores, lm.generate_until(written), facts["chat_form"]))
    (texts, scores, written_there, form), (own_texts, own_scores, own_written, own_form) = found
    assert texts == own_texts and form == own_form and form["rule"] == "baichuan2"
    assert scores == pytest.approx(own_scores, abs=1e-3) and len(set(own_scores)) == 8
    assert written_there == own_written and any(own_written)
