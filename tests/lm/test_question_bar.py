"""The bar of scoring counts questions, and says how fast and how long."""

from __future__ import annotations

import re
import time

import pytest

from lm_eval_baichuan.model_adapters.lm.question_bar import QuestionBar
from lm_eval_baichuan.model_adapters.trie_scorer import Progress


def test_a_question_is_done_with_its_last_request(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(requests_total=4, tokens_total=25, tokens_sent=100, token_budget=9, tokens_done=5)
    progress.started = time.perf_counter() - 1
    with QuestionBar(["a", "b", "a", "b"], hidden=False) as bar:
        bar.show(progress)
        bar.scored(0)
        bar.scored(1)
        assert "1/2" not in capsys.readouterr().err
        bar.scored(3)
    last = re.split(r"[\r\n]+", capsys.readouterr().err.strip())[-1]
    assert re.fullmatch(
        r"Scoring:  50%\|.*\| 1/2 questions \[00:00, 5 tokens/s, 75% of tokens saved, 00:0[34] left\]", last
    )


def test_hidden_it_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with QuestionBar(["a"], hidden=True) as bar:
        bar.scored(0)
    assert capsys.readouterr().err == ""
