"""The same numbers on vLLM as in this package's own model: logits, answers, generated text, whole tasks.

A plain ``pytest`` environment has no vLLM, and these are skipped; ``scripts/test_vllm`` makes one that has it.
"""

from __future__ import annotations

import importlib.metadata
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_checkpoints import GOLDEN
from safetensors.torch import save_file

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

pytestmark = pytest.mark.slow

Answer = Callable[..., Any]
FAMILIES: dict[str, dict[str, Any]] = {
    "baichuan1-7b": {"max_position_embeddings": 64, "norm_head": False},
    "baichuan1-13b": {"model_max_length": 64, "norm_head": False, "num_attention_heads": 5, "hidden_size": 40},
    "baichuan2-7b": {"max_position_embeddings": 64, "model_max_length": 64, "norm_head": True},
    "baichuan2-13b": {"model_max_length": 64, "norm_head": True, "hidden_size": 256},
}
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}


def random_checkpoint(folder: Path, **overrides: Any) -> BaichuanForCausalLM:
    torch.manual_seed(7)
    model = BaichuanForCausalLM(BaichuanConfig(**{**SIZES, **overrides})).eval()
    if model.config.norm_head:  # rows of very different norms, and one of zeros
        with torch.no_grad():
            model.lm_head.weight *= torch.rand(len(model.lm_head.weight), 1) * 5
            model.lm_head.weight[3] = 0
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def farthest(answer_of: Answer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """How far the logits of all checkpoints are from the expected ones, in one process."""
    given = {}
    for family, values in FAMILIES.items():
        folder = tmp_path_factory.mktemp(family)
        model = random_checkpoint(folder / "checkpoint", vocab_size=97, **values)
        ids = torch.randint(97, (40,))
        with torch.no_grad():
            stored = {"ids.0": ids, "logits.0": model(ids[None]).logits[0].contiguous()}
        save_file(stored, folder / "expected.safetensors")
        given[family] = (str(folder / "checkpoint"), {}, str(folder / "expected.safetensors"))
    try:
        golden: Path | None = request.getfixturevalue("golden_dir")
    except pytest.skip.Exception:
        golden = None
    for name in GOLDEN if golden else ():
        head = {"norm_head": name.startswith("baichuan2")}
        given[name] = (str(golden / name), head, str(golden / name / "goldens.safetensors"))  # type: ignore[operator]
    return answer_of("logits", given)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_four_architectures_give_the_logits_of_our_own_model(farthest: dict[str, float], family: str) -> None:
    assert farthest[family] < 2e-4


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_outputs_of_the_official_code(golden_dir: Path, farthest: dict[str, float], name: str) -> None:
    assert farthest[name] < 2e-4


MESSAGES = [
    [{"role": "user", "content": "What is it? 答案："}],
    [
        {"role": "system", "content": "以下是单项选择题"},
        {"role": "user", "content": "A. one B. two"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "C. three D. four"},
    ],
]
WINDOW = 96


@pytest.fixture(scope="module")
def answers(answer_of: Answer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What both models answer to requests of every kind, for a random chat checkpoint with ALiBi and NormHead."""
    sys.path.append(str(Path(__file__).parents[1] / "lm"))
    from chat_vocabulary import train

    folder = tmp_path_factory.mktemp("chat")
    random_checkpoint(folder / "checkpoint", vocab_size=560, model_max_length=WINDOW, norm_head=True)
    train(folder, "baichuan2").rename(folder / "checkpoint" / "tokenizer.model")
    (folder / "checkpoint" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BaichuanTokenizer"}))
    long = "以下是单项选择题，请选出其中的正确答案。" * 30
    contexts = ["What is it? 答案：", "What is it? A. one B. two 答案：", long, ""]
    labels = [[context, letter] for context in contexts[:3] for letter in "ABCD"]
    longer = [[context, text] for context in contexts for text in (" three D. four", "正确答案。", "A")]
    return answer_of(
        "requests",
        {
            "pretrained": str(folder / "checkpoint"),
            "options": {},
            "loglikelihood": labels + labels + longer,
            "docs": [{"label_tokens": "isolated"}] * 12 + [{"label_tokens": "bare"}] * 12 + [{}] * 12,
            "chats": MESSAGES,
            "rolling": [long, "A. one"],
            "generate": contexts[:3],
        },
    )


def test_labels_and_longer_continuations_score_the_same(answers: Any) -> None:
    pairs = list(zip(answers["baichuan-vllm"]["loglikelihood"], answers["baichuan"]["loglikelihood"], strict=True))
    assert len(pairs) == 38
    for (ours, ours_greedy), (theirs, theirs_greedy) in pairs:
        assert ours == pytest.approx(theirs, abs=1e-3)
        assert ours_greedy == theirs_greedy


def test_whole_texts_score_the_same_in_the_same_windows(answers: Any) -> None:
    assert answers["baichuan-vllm"]["rolling"] == pytest.approx(answers["baichuan"]["rolling"], abs=2e-2)


def test_generated_text_is_the_same_in_plain_and_in_chat_form(answers: Any) -> None:
    assert answers["baichuan-vllm"]["generated"] == answers["baichuan"]["generated"]
    assert any(answers["baichuan"]["generated"])


def test_results_tell_the_engine_and_what_was_asked_how(answers: Any) -> None:
    info = answers["baichuan-vllm"]["facts"]
    facts = info["baichuan_vllm"]
    engine = facts["engine"]
    assert info["model_dtype"] == facts["dtype"] == engine["dtype"] == "float32"
    assert engine["version"] in {importlib.metadata.version(engine["distribution"])}
    assert engine["asked"]["one_generated_token"] > 0 < engine["asked"]["prompt_logprobs"]
    assert engine["asked"]["labels_of_these"] > engine["asked"]["one_generated_token"]
    assert facts["max_length"] == WINDOW
    assert facts["truncated_prompts"] == answers["baichuan"]["facts"]["baichuan"]["truncated_prompts"] != {}
    assert facts["chat_form"]["rule"] == "baichuan2"


def test_questions_of_a_task_score_the_same_one_by_one(answer_of: Answer, data_dir: Path) -> None:
    found = answer_of(
        "evaluate",
        {
            "model_args": {"pretrained": "demo-alibi"},
            "options": {
                "tasks": ["ceval_5shot_val_law", "demo_5shot_nature"],
                "metadata": {"data_dir": str(data_dir)},
            },
        },
    )
    ours, theirs = found["baichuan-vllm"], found["baichuan"]
    for task, questions in theirs["samples"].items():
        assert len(questions) > 20
        for mine, reference in zip(ours["samples"][task], questions, strict=True):
            assert mine == pytest.approx(reference, abs=1e-3)
            assert mine.index(max(mine)) == reference.index(max(reference))
    assert ours["results"].keys() == theirs["results"].keys()
    for task, values in theirs["results"].items():
        assert ours["results"][task]["acc,none"] == values["acc,none"], task
    shots = "shortened_prompts", "label_tokens", "questions"
    assert [ours["config"]["baichuan_vllm"][key] for key in shots] == [
        theirs["config"]["baichuan"][key] for key in shots
    ]
    assert ours["config"]["baichuan_vllm"]["engine"]["cached_share"] > 0.3


def test_an_engine_that_is_killed_ends_the_run_with_an_error_and_its_answers_are_kept(
    run_on_vllm: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    cache = tmp_path / "answers"
    arguments = (
        "--model baichuan-vllm --model_args pretrained=demo,dtype=float32,enforce_eager=true --tasks demo_5shot_nature"
    )
    given = {"arguments": [*arguments.split(), "--use_cache", str(cache)]}
    done = run_on_vllm("ended", given, VLLM_ENABLE_V1_MULTIPROCESSING="1")
    assert done.returncode == 2, done.stderr[-3000:]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lm_eval: error")]
    assert "vLLM's engine has ended" in line
    with sqlite3.connect(tmp_path / "answers_rank0.db") as database:
        (kept,) = database.execute("SELECT COUNT(*) FROM unnamed WHERE key NOT LIKE 'lm-eval%'").fetchone()
    assert kept == 3 * 8 * 4


def test_listing_tasks_does_not_import_vllm(run_on_vllm: Any) -> None:
    code = "import sys; sys.argv = ['lm_eval', 'ls', 'tasks']\nfrom lm_eval.__main__ import cli_evaluate\n"
    code += "try:\n    cli_evaluate()\nexcept SystemExit:\n    pass\nprint('vllm' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "ceval_5shot" in done.stdout
    assert done.stderr.splitlines()[-1] == "False"
