"""The certificate of a run: compared before scoring, recorded, and a reason where there is none; and ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from lm_eval_baichuan.model_adapters.errors import CertificateError
from lm_eval_baichuan.model_adapters.lm import self_check
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.run_facts import RunFacts
from lm_eval_baichuan.model_adapters.trie_scorer import merged_attention

Write = Callable[..., str]
Make = Callable[..., Instance]


def ask(instance: Make, count: int = 6) -> list[Instance]:
    """Questions of four labels behind a shared prefix."""
    requests = []
    for number in range(count):
        for i, label in enumerate("ABCD"):
            request = instance(f"以下是中国关于法学考试的单项选择题 {'one ' * number}答案：", label, number)
            request.idx = i
            requests.append(request)
    return requests


def facts(lm: BaichuanLM) -> dict[str, Any]:
    found: dict[str, Any] = lm.get_model_info()["baichuan"]
    return found


def test_scores_are_verified_and_recorded(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    lm.loglikelihood(ask(instance), disable_tqdm=True)
    verified = facts(lm)["verified"]
    assert verified["requests"] == 8
    assert 0 <= verified["largest_difference"] < verified["bound"] / 10


def test_longer_requests_are_verified_anew(write_checkpoint: Write, instance: Make) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    for length, expected in ((3, 1), (4, 1), (50, 2)):
        lm.loglikelihood([instance("one " * length, "A")], disable_tqdm=True)
        assert facts(lm)["verified"]["requests"] == expected


def test_a_wrong_trie_stops_before_anything_is_scored(
    write_checkpoint: Write, instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = merged_attention.visible
    monkeypatch.setattr(merged_attention, "visible", lambda query, key, end: right(query + 1, key, end))
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    with pytest.raises(CertificateError, match=r"trie=False.*That is '[A-D]' after '.*答案：'.*self_check=false"):
        lm.loglikelihood(ask(instance), disable_tqdm=True)
    assert facts(lm)["verified"] == "nothing was scored"
    monkeypatch.undo()
    assert len(BaichuanLM(write_checkpoint(name="again"), device="cpu").loglikelihood(ask(instance), True)) == 24


@pytest.mark.parametrize(
    ("options", "reason"), [({"self_check": False}, self_check.SWITCHED_OFF), ({"trie": False}, self_check.NOT_NEEDED)]
)
def test_a_run_without_a_certificate_says_why(
    write_checkpoint: Write, instance: Make, options: dict[str, Any], reason: str
) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu", **options)
    lm.loglikelihood(ask(instance), disable_tqdm=True)
    assert facts(lm)["verified"] == reason


def test_a_comparison_that_does_not_fit_in_memory_is_said(
    write_checkpoint: Write, instance: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(self_check, "certify_scores", full)
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    lm.loglikelihood(ask(instance), disable_tqdm=True)
    assert facts(lm)["verified"] == self_check.NO_MEMORY
    assert "not verified" in caplog.text


def test_the_coarsest_arithmetic_sets_the_bound(write_checkpoint: Write, instance: Make) -> None:
    for dtype, bound in (("float32", 1e-3), ("float16", 0.06), ("bfloat16", 0.3)):
        lm = BaichuanLM(write_checkpoint(), device="cpu", dtype=dtype)
        lm.loglikelihood(ask(instance), disable_tqdm=True)
        assert facts(lm)["verified"]["bound"] == bound
    lm = BaichuanLM(write_checkpoint(), device="cpu", dtype="float32", mixed_precision_dtype="bfloat16")
    assert self_check.arithmetic(lm) == torch.bfloat16


def test_autocast_scores_as_lm_evals_batches_do(write_checkpoint: Write, instance: Make) -> None:
    options: dict[str, Any] = {"device": "cpu", "mixed_precision_dtype": "bfloat16"}
    trie = BaichuanLM(write_checkpoint(), **options).loglikelihood(ask(instance), True)
    batches = BaichuanLM(write_checkpoint(), trie=False, **options).loglikelihood(ask(instance), True)
    whole = BaichuanLM(write_checkpoint(), device="cpu").loglikelihood(ask(instance), True)
    difference = max(abs(a[0] - b[0]) for a, b in zip(trie, batches, strict=True))
    assert difference < max(abs(a[0] - b[0]) for a, b in zip(whole, batches, strict=True))


def test_a_model_that_says_nothing_ties_everywhere(
    write_checkpoint: Write, instance: Make, caplog: pytest.LogCaptureFixture
) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    with torch.no_grad():
        lm.model.lm_head.weight.zero_()
    lm.loglikelihood(ask(instance), disable_tqdm=True)
    assert facts(lm)["ties"] == {"some_task": {"questions": 6, "of": 6}}
    assert "6 of 6 questions (some_task): the best answers are equally likely" in caplog.text


@pytest.mark.parametrize(("apart", "tied"), [(0, 6), (8e-6, 6), (2e-4, 0)])
def test_answers_that_only_rounding_tells_apart_tie(instance: Make, apart: float, tied: int) -> None:
    requests, counted = ask(instance), RunFacts()
    counted.count_ties(requests, [(-20 + apart * request.idx, False) for request in requests])
    assert {task: len(documents) for task, documents in counted.ties.items()} == ({"some_task": tied} if tied else {})


def test_questions_without_ties_are_not_counted_as_ties(
    write_checkpoint: Write, instance: Make, caplog: pytest.LogCaptureFixture
) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    requests = ask(instance)
    lm.loglikelihood([*requests, *requests[-4:]], disable_tqdm=True)  # the last question twice, as padding asks it
    assert facts(lm)["ties"] == {"some_task": {"questions": 0, "of": len(requests) // 4}}
    assert "equally likely" not in caplog.text
