"""One generated token a question tells how likely its labels are, and nothing else passes for a score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lm_eval_baichuan.model_adapters.engines.label_asking import (
    MOST_LABELS,
    Question,
    check_prompt_logprobs,
    label_lists,
    questions,
    read_answers,
)
from lm_eval_baichuan.model_adapters.errors import NonFiniteLogitsError, WrongScoresError


def told(**logprobs: float) -> dict[int, Any]:
    return {int(token[1:]): SimpleNamespace(logprob=value) for token, value in logprobs.items()}


def test_requests_with_one_context_are_one_question_in_the_order_of_tokens() -> None:
    asked = [(n, [9, 2 - n // 4, 5], 30 + n % 4) for n in range(12)]
    asked = asked[5:] + asked[:5]
    found = questions(asked)
    assert [question.context for question in found] == [(9, 0, 5), (9, 1, 5), (9, 2, 5)]
    assert sorted(number for q in found for numbers in q.labels.values() for number in numbers) == list(range(12))
    for question in found:
        for label, (number,) in question.labels.items():
            assert (number, list(question.context), label) in asked


def test_a_request_that_is_made_twice_gets_its_answer_twice() -> None:
    (question,) = questions([(0, [1], 7), (1, [1], 8), (2, [1], 7)])
    assert question.labels == {7: [0, 2], 8: [1]}


def test_more_labels_than_vllm_tells_of_at_once_are_asked_in_parts() -> None:
    found = questions([(n, [1, 2], n) for n in range(MOST_LABELS + 5)])
    assert [len(question.labels) for question in found] == [MOST_LABELS, 5]
    assert {label for question in found for label in question.labels} == set(range(MOST_LABELS + 5))


def test_lists_of_labels_are_filled_up_with_their_own() -> None:
    asked = [Question((1,), {5: [0], 6: [1], 7: [2]}), Question((2,), {8: [3]})]
    assert label_lists(asked) == [[5, 6, 7], [8, 8, 8]]


def test_answers_are_read_by_label() -> None:
    question = Question((1, 2), {5: [0], 6: [1]})
    assert read_answers(question, 6, told(t6=-0.5, t5=-2.0)) == {5: (-2.0, False), 6: (-0.5, True)}
    assert read_answers(question, 4, told(t4=-0.1, t6=-3.0, t5=-4.0)) == {5: (-4.0, False), 6: (-3.0, False)}


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf")])
@pytest.mark.parametrize("token", ["t5", "t6"])
def test_nan_and_infinity_are_errors(value: float, token: str) -> None:
    question = Question((1, 2), {5: [0], 6: [1]})
    with pytest.raises(NonFiniteLogitsError, match="log-probability"):
        read_answers(question, 6, told(**{"t5": -1.0, "t6": -0.5, token: value}))


def test_a_missing_label_is_an_error() -> None:
    with pytest.raises(WrongScoresError, match=r"no token 5, only \[4, 6\]"):
        read_answers(Question((1, 2), {5: [0], 6: [1]}), 4, told(t4=-0.1, t6=-3.0))


def test_a_token_that_is_not_the_likeliest_is_an_error() -> None:
    with pytest.raises(WrongScoresError, match="does not take the likeliest"):
        read_answers(Question((1, 2), {5: [0], 6: [1]}), 5, told(t5=-2.0, t6=-0.5))


def test_longer_continuations_need_every_token() -> None:
    rows = [told(t5=-1.0), told(t6=-2.0, t7=-0.1)]
    check_prompt_logprobs([5, 6], rows)
    with pytest.raises(WrongScoresError, match="token 8"):
        check_prompt_logprobs([5, 8], rows)
    with pytest.raises(WrongScoresError, match="token 5"):
        check_prompt_logprobs([5, 6], [None, rows[1]])
    with pytest.raises(WrongScoresError, match="2 of 3"):
        check_prompt_logprobs([5, 6, 7], rows)
    with pytest.raises(NonFiniteLogitsError, match="token 6"):
        check_prompt_logprobs([5, 6], [rows[0], told(t6=float("nan"))])
