"""The estimate before loading: exact where it can be, near the measured peak elsewhere, and what it stops."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from lm_eval_baichuan.cli import main
from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig
from lm_eval_baichuan.model_adapters.errors import DoesNotFitError
from lm_eval_baichuan.model_adapters.lm import before_loading
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.trie_scorer import budget
from lm_eval_baichuan.model_adapters.trie_scorer.memory_plan import (
    ModelSizes,
    Run,
    estimate,
    tokens_that_fit,
    working_set,
)

Write = Callable[..., str]
PEAK = Path(__file__).parent / "memory_peak.py"
PUBLISHED: dict[str, dict[str, Any]] = {
    "7B": {"max_position_embeddings": 4096, "model_max_length": 4096},
    "13B": {
        "hidden_size": 5120,
        "intermediate_size": 13696,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "model_max_length": 4096,
    },
}
PUBLISHED["2-7B"] = {**PUBLISHED["7B"], "vocab_size": 125696}
PUBLISHED["2-13B"] = {**PUBLISHED["13B"], "vocab_size": 125696}


def test_the_documented_figures_are_the_plans() -> None:
    document = (Path(__file__).parents[2] / "docs" / "multi-device.md").read_text("utf-8")
    rows = re.findall(r"^\| Baichuan(-|2-)(\w+) \| (\S+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", document, re.M)
    assert len(rows) == 7
    bits = {"int8": 8, "4-bit": 4}
    for generation, size, weights, *figures in rows:
        sizes = ModelSizes.of(BaichuanConfig(**PUBLISHED[generation.lstrip("-") + size]))
        dtype = torch.float32 if weights == "float32" else torch.bfloat16
        needs = [estimate(sizes, Run(dtype, bits.get(weights), 4096, 1024), devices) for devices in (1, 2, 4)]
        assert [f"{max(need.total for need in each) / 1e9:.1f}" for each in needs] == figures


@pytest.mark.parametrize("model", list(PUBLISHED))
@pytest.mark.parametrize("devices", [1, 2, 3, 40])
def test_weights_of_the_published_models_are_exact(model: str, devices: int) -> None:
    config = BaichuanConfig(**PUBLISHED[model])
    with torch.device("meta"):
        weights = sum(
            tensor.nbytes for tensor in AutoModelForCausalLM.from_config(config).to(torch.bfloat16).parameters()
        )
    needs = estimate(ModelSizes.of(config), Run(torch.bfloat16, None, 4096, 1024), devices)
    assert sum(need.weights for need in needs) == weights
    assert len(needs) == devices


def test_weights_of_a_fine_tune_saved_as_llama_are_exact() -> None:
    config = LlamaConfig(
        vocab_size=1000, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    [need] = estimate(ModelSizes.of(config), Run(torch.float32, None, 128, 64))
    assert need.weights == sum(tensor.nbytes for tensor in model.parameters())


def test_a_published_figure_is_met() -> None:
    # The number of parameters that Baichuan-13B's README states.
    [need] = estimate(ModelSizes.of(BaichuanConfig(**PUBLISHED["13B"])), Run(torch.bfloat16, None, 4096, 128))
    assert need.weights == 2 * 13_264_901_120


def test_several_devices_share_the_blocks_evenly() -> None:
    sizes = ModelSizes.of(BaichuanConfig(**PUBLISHED["2-13B"]))
    for bits in (None, 8, 4):
        run = Run(torch.bfloat16, bits, 4096, 1024)
        [whole] = estimate(sizes, run)
        needs = estimate(sizes, run, 4)
        assert sum(need.cache for need in needs) == whole.cache
        assert max(n.total for n in needs) - min(n.total for n in needs) < 2 * (whole.weights + whole.cache) // 40


@pytest.mark.parametrize("change", [{"dtype": torch.float32}, {"max_length": 8192}, {"tokens": 4096}])
def test_more_of_anything_needs_more(change: dict[str, Any]) -> None:
    sizes = ModelSizes.of(BaichuanConfig(**PUBLISHED["13B"]))
    settings: dict[str, Any] = {"dtype": torch.bfloat16, "bits": None, "max_length": 4096, "tokens": 1024}
    assert working_set(sizes, Run(**{**settings, **change})) > working_set(sizes, Run(**settings))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads peaks from Linux's /proc")
@pytest.mark.parametrize(
    ("dtype", "positions"),
    [
        ("float32", {"max_position_embeddings": 1024, "norm_head": False}),
        ("bfloat16", {"model_max_length": 1024, "norm_head": True}),
    ],
)
def test_the_estimate_is_within_ten_percent_of_the_measured_peak(dtype: str, positions: dict[str, Any]) -> None:
    config = {
        "vocab_size": 16000,
        "hidden_size": 1024,
        "intermediate_size": 2752,
        "num_hidden_layers": 6,
        "num_attention_heads": 16,
        **positions,
    }
    case = {"dtype": dtype, "max_length": 1024, "token_budget": 512, "config": config}
    # The C library keeps small pieces that are freed; without this, they would count as needed.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PEAK), json.dumps(case)]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    measured = json.loads(found.stdout.splitlines()[-1])
    assert measured["estimated_weights"] == measured["weights"]
    assert measured["estimate"] > 1.25 * measured["weights"]  # so that the weights alone cannot pass
    assert measured["estimate"] > 0.9 * measured["peak"]
    # The plan was fitted to torch 2.11 to 2.13; 2.15 was seen to hold a twentieth less in the same run.
    fitted = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14)
    assert measured["estimate"] < (1.1 if fitted else 1.2) * measured["peak"]


@pytest.mark.gpu
def test_the_estimate_is_within_ten_percent_of_the_peak_on_a_gpu(write_checkpoint: Write) -> None:
    folder = write_checkpoint(
        hidden_size=2048, intermediate_size=5504, num_hidden_layers=12, num_attention_heads=16,
        max_position_embeddings=4096, initializer_range=0.02,
    )  # fmt: skip
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    lm = BaichuanLM(folder, device="cuda", token_budget=2048)
    prefix = list(range(5, 385)) * 10
    requests = [(prefix + [i % 300] * 200, [7]) for i in range(60)]
    assert lm._scorer is not None
    assert len(list(lm._scorer.score(requests))) == 60
    peak = torch.cuda.max_memory_allocated() - before
    [need] = estimate(ModelSizes.of(lm.model.config), Run(torch.bfloat16, None, 4096, 2048))
    assert need.total == pytest.approx(peak, rel=0.1)


def free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    monkeypatch.setattr(before_loading, "free_memory", lambda device: int(gigabytes * 1e9))


def test_what_cannot_fit_stops_before_loading_with_figures_and_options(
    write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(
        hidden_size=1024, intermediate_size=2048, max_position_embeddings=1024, num_hidden_layers=6
    )
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *args, **kwargs: pytest.fail("was loaded"))
    free(monkeypatch, 0.2)
    with pytest.raises(DoesNotFitError) as error:
        BaichuanLM(folder, device="cpu")
    text = str(error.value)
    assert "in float32 with a context of 1024 tokens needs about 0.3 GB (weights 0.3, key/value cache 0.1," in text
    assert "cpu, where 0.2 GB are free" in text
    fitting = text.split("What would fit: ")[1]
    for option in ("dtype=bfloat16 (0.", "load_in_4bit=true (0.", "load_in_8bit=true (0."):
        assert option in fitting
    assert "max_length" not in fitting
    assert "check_memory=false" in text


def test_where_no_option_fits_the_nearest_is_named(write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(hidden_size=1024, intermediate_size=2048, max_position_embeddings=2048)
    free(monkeypatch, 0.001)
    with pytest.raises(DoesNotFitError, match=r"No single option fits; .* comes nearest with 0\.\d GB"):
        BaichuanLM(folder, device="cpu")


@pytest.mark.parametrize("options", [{"check_memory": False}, {"max_length": 256, "token_budget": 64}])
def test_the_check_can_be_left_out_or_met(
    write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    folder = write_checkpoint(hidden_size=256, intermediate_size=512, max_position_embeddings=4096)
    free(monkeypatch, 0.012)
    with pytest.raises(DoesNotFitError):
        BaichuanLM(folder, device="cpu")
    assert BaichuanLM(folder, device="cpu", **options).model is not None


def test_without_the_trie_whole_prompts_of_logits_count(
    write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(vocab_size=20000, max_position_embeddings=4096)
    free(monkeypatch, 0.2)
    BaichuanLM(folder, device="cpu")
    with pytest.raises(DoesNotFitError, match="working set 0.7"):
        BaichuanLM(folder, device="cpu", trie=False)


@pytest.mark.parametrize("model", list(PUBLISHED))
def test_the_plan_is_printed_from_the_configuration_alone(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BaichuanConfig(**PUBLISHED[model]).save_pretrained(tmp_path)
    assert main(["plan", f"pretrained={tmp_path},token_budget=512"]) == 0
    out = capsys.readouterr().out
    assert "context of 4096 tokens, 512 tokens at once" in out
    rows = {cells[1]: cells[2:5] for cells in (line.split("|") for line in out.splitlines()) if len(cells) == 7}
    kinds = [f" {kind} " for kind in ("float32", "bfloat16", "int8", "4-bit")]
    assert [kind for kind in rows if kind in kinds] == kinds
    figures = [[float(cell) for cell in rows[kind]] for kind in kinds]
    for smaller, larger in zip(figures[1:], figures, strict=False):
        assert all(a < b for a, b in zip(smaller, larger, strict=True))
    assert all(one > two > four > one / 5 for one, two, four in figures)
    [need] = estimate(ModelSizes.of(BaichuanConfig(**PUBLISHED[model])), Run(torch.float32, None, 4096, 512))
    assert figures[0][0] == pytest.approx(need.total / 1e9, abs=0.05)


@pytest.mark.parametrize("text", ["", "pretrained=", "pretrained=x,dtype=bfloat16", "pretrained=x,max_length=long"])
def test_a_plan_of_something_else_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", text]) == 2
    assert "expected pretrained=NAME" in capsys.readouterr().err


def test_a_plan_of_no_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", f"pretrained={tmp_path}"]) == 2
    assert "no config.json" in capsys.readouterr().err


@pytest.mark.parametrize("model", list(PUBLISHED))
@pytest.mark.parametrize("gigabytes", [1.0, 4.0, 8.0, 30.0])
def test_the_automatic_budget_is_the_largest_that_the_estimate_lets_fit(model: str, gigabytes: float) -> None:
    sizes = ModelSizes.of(BaichuanConfig(**PUBLISHED[model]))
    smallest = Run(torch.bfloat16, None, 4096, budget.SMALLEST)

    def needed(tokens: int) -> int:
        [need] = estimate(sizes, replace(smallest, tokens=tokens))
        return need.cache + need.working

    free_bytes, most = int(gigabytes * 1e9), budget.ACCELERATOR_ENOUGH
    found = tokens_that_fit(sizes, smallest, free_bytes, most)
    assert budget.SMALLEST <= found <= most
    assert found == budget.SMALLEST or needed(found) <= free_bytes
    assert found == most or needed(found + 1) > free_bytes
