"""Which shots go when a context is too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_baichuan.model_adapters.errors import RequestError
from lm_eval_baichuan.model_adapters.lm.prompt_shortening import fit, shorten, shot_layout


def encode(text: str) -> list[int]:
    return list(text.encode())


def document(description: str, shots: list[str], question: str, drop: str = "last") -> tuple[str, dict[str, object]]:
    return description + "".join(shots) + question, {
        "description_length": len(description),
        "shot_lengths": [len(shot) for shot in shots],
        "question_length": len(question),
        "drop_shots": drop,
    }


@pytest.mark.parametrize(
    ("drop", "limit", "expected"),
    [
        ("last", 99, ("[aa][bbbb][c]?", 0)),
        ("last", 14, ("[aa][bbbb][c]?", 0)),
        ("last", 13, ("[aa][bbbb]?", 1)),
        ("last", 10, ("[aa]?", 2)),
        ("last", 2, ("?", 3)),
        ("last", 0, ("?", 3)),
        ("longest", 13, ("[aa][c]?", 1)),
        ("longest", 7, ("[c]?", 2)),
        ("longest", 3, ("?", 3)),
    ],
)
def test_by_hand(drop: str, limit: int, expected: tuple[str, int]) -> None:
    context, doc = document("", ["[aa]", "[bbbb]", "[c]"], "?", drop)
    layout = shot_layout(context, doc)
    assert layout is not None
    assert shorten(layout, encode, limit) == expected


@given(
    description=st.text(max_size=20),
    shots=st.lists(st.text(min_size=1, max_size=20), max_size=5),
    question=st.text(min_size=1, max_size=20),
    drop=st.sampled_from(["last", "longest"]),
    limit=st.integers(0, 200),
    asked=st.integers(0, 5),
)
def test_never_instruction_or_question_and_no_more_than_needed(
    description: str, shots: list[str], question: str, drop: str, limit: int, asked: int
) -> None:
    _, doc = document(description, shots, question, drop)
    used = shots[:asked]  # as with --num_fewshot
    context = description + "".join(used) + question
    layout = shot_layout(context, doc)
    assert layout is not None
    text, dropped = shorten(layout, encode, limit)
    assert text.startswith(description) and text.endswith(question)
    assert dropped <= len(used)
    if len(encode(context)) <= limit:
        assert (text, dropped) == (context, 0)
    elif dropped < len(used):
        assert len(encode(text)) <= limit
    if drop == "last":
        assert text == description + "".join(used[: len(used) - dropped]) + question
        if dropped:
            one_more = description + "".join(used[: len(used) - dropped + 1]) + question
            assert len(encode(one_more)) > limit


@given(
    shots=st.lists(st.text(min_size=1, max_size=20), max_size=5),
    drop=st.sampled_from(["last", "longest"]),
    published=st.integers(0, 100),
    window=st.integers(1, 100),
)
def test_the_window_is_blamed_where_the_prompt_is_not_the_published_one(
    shots: list[str], drop: str, published: int, window: int
) -> None:
    context, doc = document("do:", shots, "?", drop)
    layout = shot_layout(context, doc)
    assert layout is not None
    text, loss = fit(layout, encode, published=published, window=window)
    assert (text, loss.shots) == shorten(layout, encode, min(published or window, window))
    assert loss.limit == (window if loss.by_window else published)
    if published:
        assert loss.by_window == (text != shorten(layout, encode, published)[0])
    else:
        assert loss.by_window


def test_a_context_of_another_form_has_no_layout() -> None:
    context, doc = document("do:", ["[aa]", "[b]"], "?")
    assert shot_layout("<user>" + context, doc) is None
    assert shot_layout(context, {}) is None


def test_an_unknown_rule_is_refused() -> None:
    context, doc = document("", ["[a]"], "?", "first")
    with pytest.raises(RequestError, match="drop_shots is 'first'"):
        shot_layout(context, doc)
