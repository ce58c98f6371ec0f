"""Requests become prompts and come back as answers."""

from __future__ import annotations

import numpy as np

from lm_eval_baichuan.model_adapters.engines.prompts import Prompts


def test_labels_of_one_question_are_one_prompt_and_longer_answers_are_asked_token_by_token() -> None:
    requests = [([1, 2], [5]), ([1, 2], [6]), (np.array([1], dtype=np.int32), [2, 7]), ([0, 9], [3])]
    prompts = Prompts(requests)
    assert prompts.asked == [([0, 9], [3]), ([1], [2]), ([1, 2], [5, 6, 7])]
    answers = dict(prompts.read(0, [-1.0], 3))
    assert dict(prompts.read(1, [-2.0], 2)) == {}
    answers |= dict(prompts.read(2, [-0.5, -0.25, -4.0], 6))
    assert answers == {3: (-1.0, True), 0: (-0.5, False), 1: (-0.25, True), 2: (-6.0, False)}
