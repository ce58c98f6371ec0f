"""The Python API: what it gives, what it refuses, and that importing the package stays light."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lm_eval_baichuan
from lm_eval_baichuan import compare, load, report, score
from lm_eval_baichuan.model_adapters.errors import (
    CheckpointError,
    MissingExtraError,
    OptionError,
    RequestError,
    ResultsError,
    UnsupportedModelError,
)

REPOSITORY = Path(__file__).resolve().parent.parent
RUN = REPOSITORY / "tests" / "compare" / "written_by_lm_eval" / "0.4.13"


def test_importing_the_package_imports_nothing_else() -> None:
    code = """
import sys
before = set(sys.modules)
import lm_eval_baichuan
assert {name for name in set(sys.modules) - before if not name.startswith("lm_eval_baichuan")} == set()
assert set(lm_eval_baichuan.__all__) <= set(dir(lm_eval_baichuan))
from lm_eval_baichuan import compare, load, report, score
print(*(name for name in ("torch", "transformers", "lm_eval", "numpy") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_public_names_are_those_of_all() -> None:
    assert lm_eval_baichuan.__all__ == ["TrieScorer", "__version__", "compare", "load", "report", "score"]
    for name in lm_eval_baichuan.__all__:
        public = getattr(lm_eval_baichuan, name)
        assert name == "__version__" or (callable(public) and public.__doc__)
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        _ = lm_eval_baichuan.loda  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------------ models


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    return load("demo")


def test_the_demo_loads_and_the_auto_classes_know_baichuan(demo: tuple[Any, Any]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    model, tokenizer = demo
    assert (type(model).__name__, type(tokenizer).__name__) == ("BaichuanForCausalLM", "BaichuanTokenizer")
    assert not model.training
    assert AutoConfig.for_model("baichuan").model_type == "baichuan"
    folder = Path(model.config.name_or_path)
    assert type(AutoModelForCausalLM.from_pretrained(folder)).__name__ == "BaichuanForCausalLM"


def test_a_baichuan_in_a_subfolder_loads(demo: tuple[Any, Any], tmp_path: Path) -> None:
    shutil.copytree(demo[0].config.name_or_path, tmp_path / "inner")
    model, tokenizer = load(tmp_path, subfolder="inner")
    assert len(tokenizer) == len(demo[1])
    assert score(model, tokenizer, "x", ["A"]) == pytest.approx(score(*demo, "x", ["A"]), abs=1e-5)


def test_any_causal_model_loads(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2)).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer_file = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**tokenizer_file, "added_tokens": []}))
    model, tokenizer = load(tmp_path, device="cpu")
    assert (type(model).__name__, model.dtype, tokenizer.encode("b")) == ("LlamaForCausalLM", torch.bfloat16, [1])
    assert load(str(tmp_path), dtype="float32")[0].dtype == torch.float32


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "modeling_evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    remote = {"AutoConfig": "modeling_evil.C", "AutoModelForCausalLM": "modeling_evil.M"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": remote}))
    with pytest.raises(CheckpointError, match="model_type 'evil'.*never run"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "baichuan_m1", "auto_map": remote}))
    with pytest.raises(CheckpointError, match="a short convolution"):
        load(tmp_path)
    with pytest.raises(OptionError, match="trust_remote_code"):
        load(tmp_path, trust_remote_code=True)
    assert not mark.exists()


def test_a_folder_without_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))):
        load(tmp_path)


# ------------------------------------------------------------------------------------------------------------ scores

PROMPTS = ["", "答案：", "Question: what is it? Answer:", "trailing space \n"]
CHOICES = ["A", " B", "C one"]


@pytest.mark.parametrize("label_tokens", ["joint", "isolated", "bare"])
def test_scores_are_those_of_hf_trie(demo: tuple[Any, Any], label_tokens: str) -> None:
    from lm_eval.api.instance import Instance

    from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

    model, tokenizer = demo
    choices = CHOICES if label_tokens == "joint" else CHOICES[:2]
    requests = [
        Instance("loglikelihood", {"label_tokens": label_tokens}, (prompt, choice), 0, ("task", 0, 1))
        for prompt in PROMPTS
        for choice in choices
    ]
    expected = [logprob for logprob, _ in TrieLM(model, tokenizer=tokenizer).loglikelihood(requests, True)]
    found = score(model, tokenizer, PROMPTS, choices, label_tokens=label_tokens)  # type: ignore[arg-type]
    assert found.shape == (len(PROMPTS), len(choices))
    assert found.ravel().tolist() == pytest.approx(expected, abs=1e-5)


def test_choices_may_be_one_list_a_prompt(demo: tuple[Any, Any]) -> None:
    each = score(*demo, PROMPTS[1:3], [["A", "B"], ["C", "D"]])
    alone = [score(*demo, PROMPTS[1], ["A", "B"])[0], score(*demo, PROMPTS[2], ["C", "D"])[0]]
    assert np.allclose(each, alone, atol=1e-5)


@pytest.mark.parametrize("choices", ["AB", [], [["A"], ["B", "C"]], [["A", "B"]], ["A", ["B"]]])
def test_choices_of_another_form_are_refused(demo: tuple[Any, Any], choices: Any) -> None:
    with pytest.raises(OptionError, match="choices"):
        score(*demo, ["x", "y"], choices)


def test_what_cannot_be_asked_is_refused(demo: tuple[Any, Any]) -> None:
    with pytest.raises(RequestError, match="expected one of isolated, bare, joint"):
        score(*demo, "x", ["A"], label_tokens="isolatd")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no single token"):
        score(*demo, "x", ["A B"], label_tokens="bare")
    with pytest.raises(RequestError, match="the model takes 8"):
        score(*demo, "一二三四五六七八九", ["A"], max_length=8)


def test_a_model_that_the_trie_cannot_serve_is_scored_one_by_one(
    demo: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score(*demo, PROMPTS, ["A", "B"])

    def refuse(*_: Any) -> Iterator[Any]:
        yield from ()
        raise UnsupportedModelError("This layer asks for the moon.")

    monkeypatch.setattr(lm_eval_baichuan.TrieScorer, "score", refuse)
    with pytest.warns(RuntimeWarning, match="one request at a time.*asks for the moon"):
        assert np.allclose(score(*demo, PROMPTS, ["A", "B"]), expected, atol=1e-5)


def test_an_encoder_decoder_is_refused(demo: tuple[Any, Any]) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(T5Config(d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2))
    with pytest.raises(UnsupportedModelError, match="an encoder and a decoder"):
        score(model, demo[1], "x", ["A"])


# ----------------------------------------------------------------------------------------------------------- results


def test_a_comparison_shows_itself() -> None:
    found = compare(str(RUN))
    assert "C-Eval" in repr(found) and "against chance" in repr(found)
    assert found._repr_html_().count("<table>") == 2
    frame = found.to_dataframe()
    assert list(frame["part"]) == ["average", "humanities"]
    assert frame["ours"][0] == pytest.approx(100 / 7, abs=1e-3)
    assert compare(RUN).to_dataframe().equals(frame)
    assert callable(lm_eval_baichuan.compare)  # importing what it uses must not put a module in its place


def test_several_paths_make_several_runs(tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "again")
    frame = compare([RUN, str(tmp_path / "again")]).to_dataframe()
    assert frame["run"].nunique() == 2


def test_the_report_is_written_and_shows_the_same(tmp_path: Path) -> None:
    found = report(RUN, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    shown = ["run", "part", "ours", "verdict"]
    assert found.to_dataframe()[shown].equals(compare(RUN).to_dataframe()[shown])
    assert callable(lm_eval_baichuan.report)


def test_the_report_speaks_the_language_asked_for(tmp_path: Path) -> None:
    report(RUN, tmp_path / "page.html", lang="zh")
    assert '<html lang="zh">' in (tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(OptionError, match="lang is 'fr'; expected en or zh"):
        report(RUN, tmp_path / "page.html", lang="fr")  # type: ignore[arg-type]


def test_results_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such file"):
        compare(tmp_path / "nothing")
    with pytest.raises(OptionError, match="confidence is 95"):
        compare(RUN, confidence=95)


def test_a_data_frame_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval_baichuan.comparison.shown.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        compare(RUN).to_dataframe()


# ---------------------------------------------------------------------------------------------------------- the page


def test_the_documented_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "python.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 7
    shutil.copytree(RUN, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102
    assert names["logprobs"].shape == (2, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"results", "comparison.csv", "report.html"}
