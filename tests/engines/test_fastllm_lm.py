"""``--model baichuan-fastllm`` with a stand-in for ftllm: what is refused, and that scores are ``baichuan``'s."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM

from lm_eval_baichuan.model_adapters.engines.fastllm_lm import FastllmBaichuanLM
from lm_eval_baichuan.model_adapters.errors import (
    CertificateError,
    EngineError,
    MissingExtraError,
    OptionError,
    RequestError,
    UnsupportedModelError,
)
from lm_eval_baichuan.model_adapters.hosts import ftllm
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.registration import model_names

pytestmark = pytest.mark.filterwarnings("ignore")  # of lm-eval's and of the libraries it uses
Install = Callable[..., None]
Write = Callable[..., Path]


def questions(count: int = 5) -> list[Instance]:
    doc = {"label_tokens": "isolated"}
    asked = [("What is your name? A\n" * n, label) for n in range(1, count + 1) for label in "ABCD"]
    made = [Instance("loglikelihood", doc, args, i % 4, ("some_task", i // 4, 1)) for i, args in enumerate(asked)]
    return [*made, Instance("loglikelihood", {}, ("What is", " your name?"), 0, ("another", 0, 1))]


def generations() -> list[Instance]:
    options: dict[str, Any] = {"until": ["A"], "max_gen_toks": 12, "do_sample": False}
    texts = ("What is", "one two three", "答案")
    return [Instance("generate_until", {}, (text, options), 0, ("writes", i, 1)) for i, text in enumerate(texts)]


def test_it_is_registered() -> None:
    assert "baichuan-fastllm" in model_names()


def test_without_ftllm_it_says_what_to_install(small_checkpoint: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval_baichuan.model_adapters.engines.fastllm_checks.installed_version", lambda: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lm-eval-baichuan\[fastllm\]'"):
        FastllmBaichuanLM.check_model_args({"pretrained": str(small_checkpoint())})


@pytest.mark.parametrize("version", ["1.8.5", "1.10.0", "2.0"])
def test_another_release_than_was_run_is_refused(ftllm_stands_in: Install, version: str) -> None:
    ftllm_stands_in(version=version)
    assert ftllm.installed_version() == version
    with pytest.raises(MissingExtraError, match=rf"ftllm {version} is installed; .* was run with 1\.9"):
        FastllmBaichuanLM.check_model_args({})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"peft": "adapter"}, "Merge the adapter"),
        ({"load_in_8bit": True}, "unquantized weights alone"),
        ({"dtype": "bfloat16"}, "run in float32 and float16 alone"),
        ({"device": "cuda"}, "on the CPU alone"),
        ({"parallelize": True}, "one CPU"),
        ({"threads": 0}, "threads is 0"),
        ({"timeout": -1}, "timeout is -1"),
        ({"max_lenght": 5}, "Did you mean max_length"),
        ({"max_length": 4096}, "ftllm takes no longer prompts"),
    ],
)
def test_what_it_cannot_do_is_refused_before_loading(
    ftllm_stands_in: Install, small_checkpoint: Write, options: dict[str, Any], says: str
) -> None:
    ftllm_stands_in()
    with pytest.raises(OptionError, match=says):
        FastllmBaichuanLM.check_model_args({"pretrained": str(small_checkpoint()), **options})


def test_several_processes_are_refused(ftllm_stands_in: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    ftllm_stands_in()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="one process"):
        FastllmBaichuanLM.check_model_args({})


def test_alibi_is_refused_before_loading(ftllm_stands_in: Install, small_checkpoint: Write) -> None:
    ftllm_stands_in()
    with pytest.raises(UnsupportedModelError, match="ALiBi"):
        FastllmBaichuanLM.check_model_args({"pretrained": str(small_checkpoint(model_max_length=512))})


@pytest.mark.slow
def test_scores_and_texts_are_those_of_baichuan(ftllm_stands_in: Install, small_checkpoint: Write) -> None:
    ftllm_stands_in(model=True)
    source = str(small_checkpoint(norm_head=True))
    fast, own = FastllmBaichuanLM(source), BaichuanLM(source, device="cpu", dtype="float32")
    for found, expected in zip(fast.loglikelihood(questions()), own.loglikelihood(questions()), strict=True):
        assert found[0] == pytest.approx(expected[0], abs=1e-4)
        assert found[1] == expected[1]
    assert fast.generate_until(generations()) == own.generate_until(generations())
    info = fast.get_model_info()
    facts = info["baichuan_fastllm"]
    assert info["model_dtype"] == facts["dtype"]
    assert facts["engine"] == "ftllm" and facts["engine_version"] == "1.9.0" and facts["dtype"] == "float32"
    assert facts["asked"]["one_token"] == 20 and facts["asked"]["token_by_token"] == 1
    assert facts["verified"]["largest_difference"] < 1e-4 and facts["verified"]["generation"]["steps"] == 8
    assert facts["prepared"]["made_by_this_run"] is True
    assert facts["label_tokens"] == {"isolated": ["some_task"]}
    with pytest.raises(RequestError, match="whole texts"):
        fast.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("text",), 0, ("ppl", 0, 1))])
    sampled = Instance("generate_until", {}, ("What", {"do_sample": True, "temperature": 0.7}), 0, ("writes", 0, 1))
    with pytest.raises(RequestError, match="samples its answers"):
        fast.generate_until([sampled])


@pytest.mark.slow
def test_an_engine_that_computes_something_else_gives_no_scores(
    ftllm_stands_in: Install, small_checkpoint: Write
) -> None:
    ftllm_stands_in("wrong", model=True)
    lm = FastllmBaichuanLM(str(small_checkpoint()))
    with pytest.raises(CertificateError, match="differ by .* nats on the log-likelihood"):
        lm.loglikelihood(questions())
    with pytest.raises(CertificateError, match="differ by .* nats on a generated token"):
        lm.generate_until(generations())


@pytest.mark.slow
def test_an_end_in_mid_run_is_an_error_and_finished_answers_are_kept(
    ftllm_stands_in: Install, small_checkpoint: Write, tmp_path: Path
) -> None:
    source = str(small_checkpoint())
    ftllm_stands_in("ends", model=True)
    lm = FastllmBaichuanLM(source, self_check=False)
    with CachedRun(lm, tmp_path) as cached:
        with pytest.raises(EngineError, match=r"status 0 before.*--use_cache keeps the \d+ of 21 finished answers"):
            cached.loglikelihood(questions())
        ftllm_stands_in(model=True)
        answers = cached.loglikelihood(questions())
    assert 0 < lm.get_model_info()["baichuan_fastllm"]["remembered_answers"] < 21
    assert answers == FastllmBaichuanLM(source, self_check=False).loglikelihood(questions())


class CachedRun:
    """A model behind a cache, which is closed at the end."""

    def __init__(self, lm: FastllmBaichuanLM, folder: Path) -> None:
        self.cached = CachingLM(lm, str(folder / "cache.db"))

    def __enter__(self) -> Any:
        return self.cached

    def __exit__(self, *_: Any) -> None:
        self.cached.dbdict.close()
