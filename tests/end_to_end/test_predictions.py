"""The whole path against a plain loop over the protocol: one prompt at a time, float32, arg-max of four logits.

The loop shares nothing with the package but the loaded weights: prompts are rendered from the files on disk, token ids
come from sentencepiece itself, the 2048-token rules are applied by hand.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_baichuan import tasks
from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Rows = list[dict[str, str]]
LETTERS = "ABCD"
TASKS = Path(tasks.__path__[0])


@pytest.fixture(scope="module")
def vocabulary(data_dir: Path) -> Path:
    return data_dir / "tokenizer" / "baichuan-7b.tokenizer.model"


@pytest.fixture(scope="module", params=["rope", pytest.param("alibi", marks=pytest.mark.slow)])
def lm(request: pytest.FixtureRequest, vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> BaichuanLM:
    """A random checkpoint with the real vocabulary, read through the adapter."""
    torch.manual_seed(11)
    length = {"max_position_embeddings": 4096} if request.param == "rope" else {"model_max_length": 4096}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BaichuanConfig(**sizes, **length, norm_head=request.param == "alibi", initializer_range=0.3)
    folder = tmp_path_factory.mktemp(request.param)
    BaichuanForCausalLM(config).save_pretrained(folder)
    shutil.copy(vocabulary, folder / "tokenizer.model")
    return BaichuanLM(str(folder), device="cpu")


def evaluate(lm: BaichuanLM, tasks: list[str], data_dir: Path) -> dict[str, Any]:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"data_dir": str(data_dir)})
    results = simple_evaluate(model=lm, tasks=tasks, task_manager=manager, bootstrap_iters=0)
    assert results is not None
    return dict(results)


def read(file: Path, columns: list[str] | None = None) -> Rows:
    with file.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle, fieldnames=columns))


def options(row: dict[str, str]) -> str:
    return "".join(f"\n{letter}. {row[letter]}" for letter in LETTERS)


class PlainLoop:
    def __init__(self, lm: BaichuanLM, vocabulary: Path, label_ids: list[int]) -> None:
        self.model, self.label_ids = lm.model, label_ids
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
        self.shortened = 0

    def length(self, text: str) -> int:
        return len(self.pieces.encode(text))

    @torch.no_grad()
    def prediction(self, head: str, shots: list[str], question: str, drop: str | None, limit: int) -> int:
        shots = list(shots)
        too_long = self.length(head + "".join(shots) + question) > limit
        self.shortened += too_long and drop is not None
        while drop and shots and self.length(head + "".join(shots) + question) > limit:
            shots.pop() if drop == "last" else shots.remove(max(shots, key=self.length))
        ids = torch.tensor([self.pieces.encode(head + "".join(shots) + question)])
        return int(self.model(ids, logits_to_keep=1).logits[0, -1, self.label_ids].argmax())


def check(results: dict[str, Any], task: str, expected: list[int], answers: list[str]) -> None:
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    predictions = []
    for sample, label in zip(samples, expected, strict=True):
        logprobs = [response[0] for response in sample["filtered_resps"]]
        predictions.append(logprobs.index(max(logprobs)))
        assert logprobs[label] > max(logprobs) - 1e-4, sample["doc_id"]  # what rounding tells apart is a tie
    accuracy = sum(LETTERS[p] == answer for p, answer in zip(predictions, answers, strict=True)) / len(answers)
    assert results["results"][task]["acc,none"] == pytest.approx(accuracy)


def test_ceval(lm: BaichuanLM, vocabulary: Path, data_dir: Path) -> None:
    names = json.loads((data_dir / "ceval" / "subjects.json").read_text(encoding="utf-8"))
    subjects = [
        "mao_zedong_thought",
        "college_programming",
        "civil_servant",
        "accountant",
        "law",
        "advanced_mathematics",
    ]
    results = evaluate(lm, [f"ceval_5shot_{'val_' if s != 'law' else ''}{s}" for s in subjects], data_dir)
    loop = PlainLoop(lm, vocabulary, [703, 731, 702, 743])
    asked = 0
    for subject in subjects:
        split = "test" if subject == "law" else "val"
        head = f"以下是中国关于{names[subject]['baichuan_name']}考试的单项选择题，请选出其中的正确答案。\n\n"

        def example(row: dict[str, str]) -> str:
            return row["question"] + options(row) + "\n答案："

        shots = [example(r) + r["answer"] + "\n" for r in read(data_dir / f"ceval/dev/{subject}_dev.csv")]
        rows = read(data_dir / f"ceval/{split}/{subject}_{split}.csv")
        asked += len(rows)
        expected = [loop.prediction(head, shots, example(row), None, 4096) for row in rows]
        check(
            results, f"ceval_5shot_{'val_' if split == 'val' else ''}{subject}", expected, [r["answer"] for r in rows]
        )
    assert asked >= 300
    assert results["config"]["baichuan"]["shortened_prompts"] == {}


@pytest.mark.slow
def test_mmlu(lm: BaichuanLM, vocabulary: Path, data_dir: Path) -> None:
    subjects = ["high_school_european_history", "abstract_algebra", "us_foreign_policy"]
    results = evaluate(lm, [f"mmlu_5shot_{subject}" for subject in subjects], data_dir)
    loop = PlainLoop(lm, vocabulary, [703, 731, 702, 743])
    columns = ["question", *LETTERS, "answer"]
    asked = 0
    for subject in subjects:
        before = loop.shortened
        head = f"The following are multiple choice questions (with answers) about  {subject.replace('_', ' ')}.\n\n"

        def example(row: dict[str, str]) -> str:
            return row["question"] + options(row) + "\nAnswer:"

        shots = [example(r) + f" {r['answer']}\n\n" for r in read(data_dir / f"mmlu/dev/{subject}_dev.csv", columns)]
        rows = read(data_dir / f"mmlu/test/{subject}_test.csv", columns)
        asked += len(rows)
        expected = [loop.prediction(head, shots, example(row), "last", 2048) for row in rows]
        check(results, f"mmlu_5shot_{subject}", expected, [r["answer"] for r in rows])
        counted = results["config"]["baichuan"]["shortened_prompts"].get(f"mmlu_5shot_{subject}", {"prompts": 0})
        assert counted["prompts"] == loop.shortened - before
    assert asked >= 300
    assert loop.shortened > 100


@pytest.mark.slow
def test_cmmlu(lm: BaichuanLM, vocabulary: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = {"agronomy": "农学", "anatomy": "解剖学"}
    results = evaluate(lm, [f"cmmlu_5shot_{subject}" for subject in subjects], data_dir)
    loop = PlainLoop(lm, vocabulary, [31132, 31139, 31133, 31140])
    asked = 0
    for subject, name in subjects.items():
        head = f"以下是关于{name}的单项选择题，请直接给出正确答案的选项。\n\n"

        def example(row: dict[str, str]) -> str:
            return "题目：" + row["Question"] + options(row) + "\n答案是："

        shots = [example(r) + r["Answer"] + "\n\n" for r in read(data_dir / f"cmmlu/dev/{subject}.csv")]
        rows = read(data_dir / f"cmmlu/test/{subject}.csv")
        asked += len(rows)
        expected = [loop.prediction(head, shots, example(row), "longest", 2048) for row in rows]
        check(results, f"cmmlu_5shot_{subject}", expected, [r["Answer"] for r in rows])
    assert asked >= 300


@pytest.mark.slow
@pytest.mark.parametrize("group", ["gaokao_5shot", "agieval_5shot"])
def test_sets_whose_split_is_ours(
    lm: BaichuanLM, vocabulary: Path, data_dir: Path, group: str, request: pytest.FixtureRequest
) -> None:
    subjects = {
        "gaokao_5shot": ["chemistry", "math_i", "political_science"],
        "agieval_5shot": ["sat_en", "lsat_ar", "gaokao_history"],
    }[group]
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    tasks = [f"{group}_{s}" for s in subjects if f"{group}_{s}" in manager.all_subtasks]
    results = evaluate(lm, tasks, data_dir)
    loop = PlainLoop(lm, vocabulary, [703, 731, 702, 743])
    asked = 0
    for task in tasks:
        samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
        asked += len(samples)
        expected = []
        for sample in samples:
            # The prompts themselves are compared with the files on disk in tests/tasks; here they are cut up again.
            context, doc = sample["arguments"][0][0], sample["doc"]
            start, shots = doc["description_length"], []
            for length in doc["shot_lengths"]:
                shots.append(context[start : start + length])
                start += length
            expected.append(
                loop.prediction(context[: doc["description_length"]], shots, context[start:], doc["drop_shots"], 4096)
            )
        check(results, task, expected, [sample["doc"]["answer"] for sample in samples])
    assert asked >= 300
