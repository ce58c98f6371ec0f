"""Generation tasks through the adapter, beside a plain loop that keeps nothing from one token to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from lm_eval.api.instance import Instance

from lm_eval_baichuan.model_adapters.errors import CertificateError
from lm_eval_baichuan.model_adapters.llama_export.write import llama_ready_config, write_llama
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Write = Any

PROMPTS = ["以下是", "A. one B.", "答案：", "What is your name?", "one<br>two", "0", "国关于法学考试", "题"]
TASKS: dict[str, dict[str, Any]] = {
    "greedy": {"until": [], "max_gen_toks": 12},
    "one stop string": {"until": ["\n"], "max_gen_toks": 16},
    "several stop strings": {"until": ["o", "考", "A."], "max_gen_toks": 16},
    "one token": {"until": ["\n\n"], "max_gen_toks": 1},
}


@torch.no_grad()
def plain_loop(lm: BaichuanLM, prompt: str, until: list[str], max_gen_toks: int) -> str:
    """Greedy decoding, the whole sequence anew for every token, cut at the first stop string or end of sequence."""
    ids = lm.tokenizer.encode(prompt)
    start = len(ids)
    for _ in range(max_gen_toks):
        ids.append(int(lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] == lm.eot_token_id:
            break
    text = lm.tokenizer.decode(ids[start:], skip_special_tokens=True)
    for stop in until:
        text = text.split(stop)[0]
    return text


def requests_of(options: dict[str, Any]) -> list[Instance]:
    return [Instance("generate_until", {}, (prompt, options), 0, ("task", i, 1)) for i, prompt in enumerate(PROMPTS)]


@pytest.fixture
def folder(request: pytest.FixtureRequest, write_checkpoint: Write, tmp_path: Path) -> str:
    """A checkpoint of each family, and a fine-tune saved in Llama's form."""
    family: str = request.param
    if family != "llama":
        return str(write_checkpoint(vocab_size=390, **FAMILIES[family]))
    source = Path(write_checkpoint(vocab_size=390))
    write_llama(source, tmp_path, llama_ready_config(source))
    return str(tmp_path)


ALL = [(family, batch_size) for family in (*FAMILIES, "llama") for batch_size in (1, 8)]
QUICK = [("7b", 8), ("13b", 8), ("llama", 1)]


@pytest.mark.parametrize(
    ("folder", "batch_size"),
    [pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow, pytest.mark.many]) for case in ALL],
    indirect=["folder"],
)
def test_generated_text_is_that_of_a_plain_loop(folder: str, batch_size: int) -> None:
    lm = BaichuanLM(folder, device="cpu", batch_size=batch_size)
    texts = {}
    for name, options in TASKS.items():
        texts[name] = lm.generate_until(requests_of(options), disable_tqdm=True)
        assert texts[name] == [plain_loop(lm, prompt, **options) for prompt in PROMPTS]
    assert texts["several stop strings"] != texts["greedy"]  # else no stop string was ever met
    verified = lm.get_model_info()["baichuan"]["verified"]["generation"]
    assert verified["steps"] == 8
    assert verified["largest_difference"] < verified["bound"] / 10


def test_a_model_that_loses_its_cache_generates_nothing(
    write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = BaichuanLM(write_checkpoint(vocab_size=390), device="cpu")
    right = lm.model.forward

    def forward(*args: Any, cache: Any = None, past_key_values: Any = None, **kwargs: Any) -> Any:
        return right(*args, **kwargs)  # what swallowing a renamed keyword comes to

    monkeypatch.setattr(lm.model, "forward", forward)
    with pytest.raises(CertificateError, match=r"with the KV cache and without it disagree .*self_check=false"):
        lm.generate_until(requests_of(TASKS["greedy"]), disable_tqdm=True)


def test_without_the_check_the_results_say_so(write_checkpoint: Write) -> None:
    lm = BaichuanLM(write_checkpoint(vocab_size=390), device="cpu", self_check=False)
    lm.generate_until(requests_of(TASKS["one token"]), disable_tqdm=True)
    assert lm.get_model_info()["baichuan"]["verified"] == "switched off by self_check=false"
