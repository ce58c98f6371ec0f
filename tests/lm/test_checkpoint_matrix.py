"""Every model, in every form of file, with every kind of weights, on every placement: the matrix of the README."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import checkpoint_matrix
import pytest
import torch
from checkpoint_matrix import FORMS, MODELS, PLACEMENTS, WEIGHTS, Scores, runnable, score, write_checkpoints

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM, BaichuanTokenizer
from lm_eval_baichuan.model_adapters.errors import QuantizationError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

pytestmark = [pytest.mark.slow, pytest.mark.many]

pytest.importorskip("torchao")
pytest.importorskip("bitsandbytes")

README = Path(__file__).resolve().parents[2] / "README.md"

# The most that a label's log-likelihood may move from float32, on average over models and questions, in nats; about
# twice what was seen. The log-likelihoods of these models spread by about 1.
MEAN_DISTANCE = {
    "bfloat16": 0.02,
    "float16": 0.003,
    "int8, torchao": 0.05,
    "4-bit, torchao": 0.6,
    "int8, bitsandbytes": 0.1,
    "4-bit, bitsandbytes": 0.7,
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    write_checkpoints(folder, small_tokenizer)
    return folder


@pytest.fixture(scope="module")
def alone(checkpoints: Path) -> Scores:
    with torch.random.fork_rng():
        return checkpoint_matrix.run_matrix(checkpoints, "one device")


def cells(placement: str) -> set[str]:
    return {f"{model} / {form} / {weights}" for model in MODELS for form in FORMS for weights in runnable(placement)}


def test_one_device(checkpoints: Path, alone: Scores, record_property: Callable[[str, object], None]) -> None:
    assert set(alone) == cells("one device")
    distances = defaultdict(list)
    for model in MODELS:
        expected = torch.tensor(plainly(checkpoints / model / "safetensors"))
        for weights in WEIGHTS:
            found = torch.tensor([alone[f"{model} / {form} / {weights}"] for form in FORMS])
            # Where a file puts the weights in memory decides how the CPU adds up, and that is all that may differ:
            # of quantized weights far less than the weights themselves make out.
            half = weights in ("bfloat16", "float16")
            rounding = 1e-5 if weights == "float32" else MEAN_DISTANCE[weights] / (1 if half else 20)
            assert (found - found[0]).abs().max() <= rounding, f"{model}, {weights}: forms of file differ"
            distances[weights].append((found[0] - expected).abs())
    for weights, parts in distances.items():
        mean, most = float(torch.cat(parts).mean()), float(torch.cat(parts).max())
        record_property(weights, f"mean {mean:.4f}, largest {most:.4f}")
        logging.getLogger(__name__).info("%s: log-likelihoods move by %.4f, %.4f at most", weights, mean, most)
        if weights == "float32":
            assert most < 1e-4
        else:
            assert MEAN_DISTANCE[weights] / 20 < mean < MEAN_DISTANCE[weights], weights


def plainly(folder: Path) -> list[float]:
    """The log-likelihoods in float32, question by question, without the adapter."""
    model = BaichuanForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = BaichuanTokenizer.from_pretrained(folder)
    found = []
    for request in checkpoint_matrix.requests():
        text, label = request.args
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer.encode(text)])).logits[0, -1]
        found.append(float(logits.log_softmax(-1)[tokenizer.encode(label)[-1]]))
    return found


def test_device_map(checkpoints: Path, alone: Scores) -> None:
    found = checkpoint_matrix.run_matrix(checkpoints, "device map")
    assert set(found) == cells("device map")
    for cell, scores in found.items():
        assert scores == pytest.approx(alone[cell], abs=1e-5), cell


@pytest.mark.parametrize("placement", ["data parallel", "tensor parallel"])
def test_two_processes(checkpoints: Path, alone: Scores, tmp_path: Path, placement: str) -> None:
    out = tmp_path / "scores"
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29613"]
    command = [sys.executable, *launch, checkpoint_matrix.__file__, str(checkpoints), placement, str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads(Path(f"{out}{rank}").read_text()) for rank in (0, 1)]
    assert set(ranks[0]) == set(ranks[1]) == cells(placement)
    for cell, expected in alone.items():
        if cell not in ranks[0]:
            continue
        # Sums over halves of a layer round otherwise than sums over the whole, in 8 bits of mantissa the more.
        tolerance = 0.1 if placement == "tensor parallel" and "float32" not in cell else 1e-4
        if placement == "tensor parallel":
            assert ranks[0][cell] == ranks[1][cell], cell
            assert ranks[0][cell] == pytest.approx(expected, abs=tolerance), cell
        else:
            found = [pair for share in zip(ranks[0][cell], ranks[1][cell], strict=True) for pair in share]
            assert found == pytest.approx(expected, abs=tolerance), cell


@pytest.mark.parametrize("placement", ["device map", "tensor parallel"])
@pytest.mark.parametrize("weights", list(WEIGHTS)[3:])
def test_quantized_weights_elsewhere_are_refused_before_loading(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, placement: str, weights: str
) -> None:
    monkeypatch.setattr(BaichuanForCausalLM, "from_pretrained", lambda *args, **kwargs: pytest.fail("was loaded"))
    with pytest.raises(QuantizationError, match="parallelize=True|on the disk"):
        score(checkpoints / "7B" / ".bin", placement, weights)


@pytest.mark.parametrize("weights", list(WEIGHTS))
def test_the_results_say_how_the_weights_are_quantized(checkpoints: Path, weights: str) -> None:
    lm = BaichuanLM(str(checkpoints / "2-7B" / "safetensors"), device="cpu", **WEIGHTS[weights])
    bits = {"int8": "8 bits, ", "4-bit": "4 bits, "}.get(weights.partition(",")[0])
    stated = lm.get_model_info()["baichuan"]["quantization"]
    assert stated == (bits + weights.partition(", ")[2] if bits else None)


def test_the_readme_states_the_matrix_that_these_tests_run() -> None:
    letters = {"one device": "1", "data parallel": "P", "device map": "M", "tensor parallel": "T"}
    columns = {"float32": 0, "bfloat16": 1, "float16": 2, "int8": 3, "4-bit": 4}
    text = README.read_text(encoding="utf-8").replace("`", "")
    rows = re.findall(r"^\| Baichuan(2?-\d+B) \| ((?:sharded )?\S+) \|(.*)\|$", text, re.M)
    stated = {
        (model.removeprefix("-"), form): [cell.split() for cell in cells.split("|")] for model, form, cells in rows
    }
    assert set(stated) == {(model, form) for model in MODELS for form in FORMS}
    for weights in WEIGHTS:
        expected = [letters[placement] for placement in PLACEMENTS if weights in runnable(placement)]
        for row, found in stated.items():
            assert found[columns[weights.partition(",")[0]]] == expected, (row, weights)
