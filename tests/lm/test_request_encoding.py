"""Texts encoded in batches have the ids of lm-eval's own way, and each distinct one is encoded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from any_model import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from small_tokenizers import byte_level, llama_like, unigram

from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

Make = Callable[..., Instance]

# lm-eval adds no special tokens to a text that begins with the one that begins sequences.
begins = st.sampled_from(["", "", "<s>", "</s>", "<|end|>"])
contexts = st.tuples(begins, st.text(alphabet="AB 答案：\n<s>一", min_size=1, max_size=20)).map("".join)
pairs = st.lists(st.tuples(contexts, st.text(alphabet="AB 答。", min_size=1, max_size=4)), min_size=1, max_size=6)


def model(make: Callable[..., Any], **options: Any) -> TrieLM:
    return TrieLM(tiny_model("llama"), tokenizer=make(300), batch_size=1, self_check=False, **options)


@pytest.mark.parametrize("options", [{}, {"add_bos_token": True}, {"add_bos_token": False}], ids=str)
@pytest.mark.parametrize("make", [byte_level, llama_like, unigram])
def test_pairs_are_encoded_as_lm_eval_does(make: Callable[..., Any], options: dict[str, Any], instance: Make) -> None:
    lm = model(make, **options)

    @settings(max_examples=40)
    @given(pairs)
    def check(some: list[tuple[str, str]]) -> None:
        expected = [HFLM._encode_pair(lm, *pair) for pair in some]
        if all(0 < len(continuation) <= lm.max_length for _, continuation in expected):
            found = lm._requests.encode([instance(*pair) for pair in some])
            assert [([*context], [*continuation]) for _, context, continuation in found] == expected

    check()


def test_a_text_is_encoded_once_whatever_asks_for_it(instance: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model(byte_level)
    encoded: list[str] = []
    tokenizer = type(lm.tokenizer)
    single, batch = tokenizer.encode, tokenizer.__call__
    monkeypatch.setattr(
        tokenizer, "encode", lambda self, text, **options: encoded.append(text) or single(self, text, **options)
    )
    monkeypatch.setattr(
        tokenizer, "__call__", lambda self, texts, **options: encoded.extend(texts) or batch(self, texts, **options)
    )
    requests = [instance(context, label) for context in ("What is it?", "答案：") * 2 for label in ("A", "B", "C")]
    lm._requests.encode(requests)
    assert sorted(encoded) == sorted(set(encoded)) and len(encoded) == 2 + 6
    labels = [instance("答案：", label, label_tokens="isolated") for label in "AB"]
    encoded.clear()
    lm._requests.encode(labels * 3)
    assert sorted(encoded) == ["A", "B", "答案："]


def test_nothing_is_remembered_afterwards(instance: Make) -> None:
    lm = model(byte_level)
    lm._requests.encode([instance("What is it?", " A")])
    assert lm._requests.known == {}
    assert lm.tok_encode("What is it?") == lm.tokenizer.encode("What is it?")
    assert isinstance(lm.tok_encode("What is it?"), list)


def test_batches_end_where_they_end(instance: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model(llama_like)
    requests = [instance(f"{number} 答案：", label) for number in range(5) for label in "ABC"]

    def ids() -> list[tuple[list[int], list[int]]]:
        return [([*context], [*continuation]) for _, context, continuation in lm._requests.encode(requests)]

    whole = ids()
    monkeypatch.setattr("lm_eval_baichuan.model_adapters.lm.request_encoding._AT_ONCE", 4)
    assert ids() == whole
