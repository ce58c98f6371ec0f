"""Results that lm-eval writes here and now, read and compared: the figures are those of the logged samples."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_baichuan import cli
from lm_eval_baichuan.comparison.outcome import find_outcome
from lm_eval_baichuan.comparison.tables import certificate_line
from lm_eval_baichuan.comparison.verdicts import Line
from lm_eval_baichuan.results import known_suites, read_runs

SUITE = next(suite for suite in known_suites() if suite.name == "ceval_5shot_val")


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """C-Eval's layout, filled with questions made here, another number for each subject."""
    folder = tmp_path_factory.mktemp("data")
    draw = random.Random(3)  # noqa: S311  # test data
    for number, task in enumerate(SUITE.tasks):
        for split, rows in (("dev", 5), ("val", 3 + number % 5)):
            path = folder / "ceval" / split / f"{SUITE.subject(task)}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "question", *"ABCD", "answer"])
                for row in range(rows):
                    writer.writerow([row, f"第{row}题？", "一", "二", "三", "四", draw.choice("ABCD")])
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path) -> Path:
    """A tiny random Baichuan-7B."""
    import torch

    from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

    folder = tmp_path_factory.mktemp("models") / "Baichuan-7B"
    torch.manual_seed(0)
    config = BaichuanConfig(
        vocab_size=390,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
        position_embedding="rope",
        norm_head=False,
        initializer_range=0.3,
    )
    BaichuanForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(small_tokenizer.read_bytes())
    return folder


Evaluate = Callable[..., Path]


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory, questions: Path) -> Evaluate:
    """Run lm-eval's own command line, and return the folder it wrote."""

    def run(name: str, *arguments: str, data: Path | None = None) -> Path:
        folder = tmp_path_factory.getbasetemp() / "runs" / name
        metadata = json.dumps({"data_dir": str(data)} if data else {"data_dir": str(questions), "own_data": True})
        command = [sys.executable, "-m", "lm_eval_baichuan", "--output_path", str(folder), "--metadata", metadata]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-2000:]
        return folder

    return run


@pytest.fixture(scope="module")
def dummy(evaluate: Evaluate) -> Path:
    return evaluate("dummy", "--model", "dummy", "--tasks", "ceval_5shot_val", "--log_samples")


@pytest.fixture(scope="module")
def baichuan(evaluate: Evaluate, checkpoint: Path) -> Path:
    model = ("--model", "baichuan", "--model_args", f"pretrained={checkpoint}", "--device", "cpu")
    return evaluate("baichuan", *model, "--tasks", "ceval_5shot_val", "--log_samples")


def by_hand(folder: Path) -> dict[str, list[bool]]:
    """What was answered right, task by task, from nothing but the log-likelihoods and the answers in the samples."""
    right: dict[str, list[bool]] = {}
    for path in folder.rglob("samples_*.jsonl"):
        task = path.name.removeprefix("samples_").rpartition("_")[0]
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            scores = [float(response[0]) for response in sample["filtered_resps"]]
            best = max(range(4), key=scores.__getitem__)
            right.setdefault(task, []).append("ABCD"[best] == sample["doc"]["answer"])
    return right


def lines_of(folder: Path) -> dict[str, Line]:
    outcome = find_outcome(read_runs([folder]), "Baichuan-7B", 0.95)
    return {line.part: line for line in outcome.comparisons[0].lines}


@pytest.mark.parametrize("name", ["dummy", "baichuan"])
def test_every_part_is_what_the_samples_say(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    right = by_hand(folder)
    (file,) = folder.rglob("results_*.json")
    stated = json.loads(file.read_text(encoding="utf-8"))["results"]
    lines = lines_of(folder)
    assert set(lines) == {part.name for part in SUITE.parts}
    for part in SUITE.parts:
        means = [sum(right[task]) / len(right[task]) for task in part.tasks]
        expected = 100 * sum(means) / len(means)
        assert lines[part.name].ours.value == pytest.approx(expected)
        assert 100 * stated[part.group]["acc,none"] == pytest.approx(expected)
        assert lines[part.name].ours.low <= expected <= lines[part.name].ours.high
        assert lines[part.name].asked == sum(len(right[task]) for task in part.tasks)


def test_the_adapters_facts_arrive(baichuan: Path) -> None:
    line = lines_of(baichuan)["average"]
    assert line.reasons == (
        "own data (own_data) instead of the published set",
        "val split; published on test",
    )
    assert "dtype float32; the published one is not recorded" in line.notes
    assert line.ties.of == line.asked
    (comparison,) = find_outcome(read_runs([baichuan]), "Baichuan-7B", 0.95).comparisons
    assert certificate_line(comparison).startswith("verified: ")


def test_another_model_is_told_apart_by_its_label_tokens(dummy: Path) -> None:
    assert (
        "label tokens: joint (lm-eval's own, --model dummy); published isolated" in lines_of(dummy)["average"].reasons
    )


@pytest.mark.slow
def test_overridden_label_tokens_and_a_limit_are_seen(evaluate: Evaluate, checkpoint: Path) -> None:
    arguments = f"pretrained={checkpoint},label_tokens=joint"
    model = ("--model", "baichuan", "--model_args", arguments, "--device", "cpu", "--limit", "2")
    folder = evaluate("joint", *model, "--tasks", "ceval_5shot_val_law,ceval_5shot_val_logic")
    reasons = lines_of(folder)["average"].reasons
    assert "label tokens: joint; published isolated" in reasons
    assert "subset: 2 of 52 subjects" in reasons
    asked = sum(1 for task in SUITE.tasks if SUITE.subject(task) in ("law", "logic")) * 2
    assert any(reason.startswith(f"--limit 2: {asked} of ") for reason in reasons)


def test_two_real_runs_are_paired_as_their_samples_say(dummy: Path, baichuan: Path) -> None:
    first, second = by_hand(dummy), by_hand(baichuan)
    outcome = find_outcome(read_runs([dummy, baichuan]), "Baichuan-7B", 0.95)
    assert outcome.pairing is not None
    pairs = [(a, b) for task in SUITE.tasks for a, b in zip(first[task], second[task], strict=True)]
    assert outcome.pairing.only_first == sum(a and not b for a, b in pairs)
    assert outcome.pairing.only_second == sum(b and not a for a, b in pairs)
    assert outcome.pairing.both_right == sum(a and b for a, b in pairs)
    assert outcome.pairing.paired == len(pairs)


def test_real_runs_make_a_page(dummy: Path, baichuan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    page = tmp_path / "page.html"
    assert cli.main(["report", str(dummy), str(baichuan), "-o", str(page)]) == 0
    assert page.stat().st_size < 25e6
    capsys.readouterr()


@pytest.mark.slow
def test_the_whole_val_split_of_the_published_set(evaluate: Evaluate, data_dir: Path) -> None:
    folder = evaluate("real", "--model", "dummy", "--tasks", "ceval_5shot_val", "--log_samples", data=data_dir)
    right = by_hand(folder)
    assert sum(map(len, right.values())) == 1346
    line = lines_of(folder)["average"]
    assert line.asked == 1346
    assert line.ours.value == pytest.approx(100 * sum(sum(r) / len(r) for r in right.values()) / 52)
    assert "own data (own_data) instead of the published set" not in line.reasons
