"""Which sequences share a beginning, and that a batch arranged around it is the same batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoring_cases import tiny_model

from lm_eval_baichuan.model_adapters.hosts.transformers import CACHE_KEYWORD
from lm_eval_baichuan.model_adapters.trie_scorer.shared_prefix import SharedPrefix, alike

sequences = st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=12)


@given(sequences, st.integers(1, 4))
def test_every_sequence_is_in_one_group_and_begins_with_its_prefix(some: list[list[int]], least: int) -> None:
    groups = alike(some, least)
    assert sorted(member for group in groups for member in group.members) == list(range(len(some)))
    for group in groups:
        prefix = list(group.prefix)
        if prefix:
            assert len(group.members) > 1 and len(prefix) >= least
            assert all(some[member][: len(prefix)] == prefix for member in group.members)
            assert all(len(some[member]) > len(prefix) for member in group.members)
    assert sum(not len(group.prefix) for group in groups) <= 1


@given(st.lists(st.lists(st.integers(0, 1), max_size=6), min_size=1, max_size=5))
def test_no_other_grouping_saves_more(some: list[list[int]]) -> None:
    def partitions(numbers: list[int]) -> Iterator[list[list[int]]]:
        if not numbers:
            yield []
            return
        for rest in partitions(numbers[1:]):
            yield [[numbers[0]], *rest]
            for place in range(len(rest)):
                yield [*rest[:place], [numbers[0], *rest[place]], *rest[place + 1 :]]

    def saves(members: list[int]) -> int:
        shortest = min(len(some[member]) for member in members)
        common = [len({some[member][place] for member in members}) == 1 for place in range(max(0, shortest - 1))]
        return (len(members) - 1) * ([*common, False].index(False))

    best = max(sum(map(saves, partition)) for partition in partitions(list(range(len(some)))))
    assert sum((len(group.members) - 1) * len(group.prefix) for group in alike(some, 1)) == best


def test_shots_in_common_make_a_group_and_others_stay_apart() -> None:
    shots, others = list(range(100)), list(range(200, 260))
    questions = [[*shots, 300 + number] for number in range(4)] + [[*others, 400 + number] for number in range(3)]
    groups = alike([*questions, [7, 8, 9]])
    assert [(group.members, list(group.prefix)) for group in groups] == [
        ((0, 1, 2, 3), shots),
        ((4, 5, 6), others),
        ((7,), []),
    ]


def test_a_short_beginning_does_not_cut_a_long_one() -> None:
    instruction, shots = list(range(40)), list(range(100, 200))
    groups = alike([[*instruction, *shots, 1], [*instruction, *shots, 2], [*instruction, 5]])
    assert [(group.members, len(group.prefix)) for group in groups] == [((0, 1), 140), ((2,), 0)]


def left_padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


def test_padding_moves_behind_the_beginning() -> None:
    prefix = SharedPrefix(tiny_model("baichuan1-7b"), [5, 6])
    arranged = prefix.arrange(*left_padded([[5, 6, 7], [5, 6, 7, 8, 9]]))
    assert arranged is not None
    ids, mask = arranged
    assert ids.tolist() == [[5, 6, 0, 0, 7], [5, 6, 7, 8, 9]]
    assert mask.tolist() == [[1, 1, 0, 0, 1], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("row", [[5, 7, 8], [5, 6], [6, 5, 6]])
def test_a_batch_with_another_beginning_stays_as_it_is(row: list[int]) -> None:
    prefix = SharedPrefix(tiny_model("baichuan1-7b"), [5, 6])
    assert prefix.arrange(*left_padded([row, [5, 6, 7]])) is None


@pytest.mark.parametrize("family", ["baichuan1-7b", "baichuan2-13b", "llama-grouped"])
def test_logits_behind_moved_padding_are_the_models_own(family: str) -> None:
    model = tiny_model(family)
    start = [5, 6, 7, 8]
    rows = [[*start, 9], [*start, 10, 11, 12]]
    prefix = SharedPrefix(model, start)
    arranged = prefix.arrange(*left_padded(rows))
    assert prefix.run() and arranged is not None
    ids, mask = arranged
    for _ in range(2):  # the copies leave what is kept alone
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=3,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
            **{CACHE_KEYWORD: prefix.cache(len(rows))},
        )
        for number, row in enumerate(rows):
            sequence = torch.tensor([[*row, *output.sequences[number, -3:].tolist()]])
            with torch.no_grad():
                expected = model(input_ids=sequence[:, :-1]).logits[0, -3:]
            torch.testing.assert_close(torch.stack(output.logits)[:, number], expected, atol=2e-5, rtol=0)
