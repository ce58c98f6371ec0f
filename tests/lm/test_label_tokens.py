"""Label ids under each encoding, with and without a dummy prefix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_tokenizers import byte_level, llama_like, unigram
from transformers import PreTrainedTokenizerFast

from lm_eval_baichuan.model_adapters.baichuan import BaichuanTokenizer
from lm_eval_baichuan.model_adapters.errors import RequestError
from lm_eval_baichuan.model_adapters.lm.label_tokens import check_encoding, label_id


def test_real_vocabulary_has_the_published_ids(data_dir: Path) -> None:
    tokenizer = BaichuanTokenizer(vocab_file=str(data_dir / "tokenizer" / "baichuan-7b.tokenizer.model"))
    assert [label_id(tokenizer, label, "isolated") for label in "ABCD"] == [703, 731, 702, 743]
    assert [label_id(tokenizer, label, "bare") for label in "ABCD"] == [31132, 31139, 31133, 31140]


def test_with_a_dummy_prefix_isolated_and_bare_differ(small_tokenizer: Path) -> None:
    tokenizer = BaichuanTokenizer(vocab_file=str(small_tokenizer))
    assert tokenizer.convert_ids_to_tokens(label_id(tokenizer, "A", "isolated")) == "▁A"
    assert tokenizer.convert_ids_to_tokens(label_id(tokenizer, "A", "bare")) == "A"


def test_without_a_dummy_prefix_they_agree(small_tokenizer_without_prefix: Path) -> None:
    tokenizer = BaichuanTokenizer(vocab_file=str(small_tokenizer_without_prefix))
    assert label_id(tokenizer, "A", "isolated") == label_id(tokenizer, "A", "bare")


@pytest.mark.parametrize("encoding", ["isolated", "bare"])
@pytest.mark.parametrize("label", ["(A)", "", "没有"])
def test_a_label_without_a_piece_of_its_own_is_refused(small_tokenizer: Path, label: str, encoding: str) -> None:
    tokenizer = BaichuanTokenizer(vocab_file=str(small_tokenizer))
    with pytest.raises(RequestError, match="no single token"):
        label_id(tokenizer, label, encoding)


@pytest.mark.parametrize(
    ("make", "isolated", "bare"),
    [(byte_level, "A", "A"), (llama_like, "▁A", "A"), (unigram, "▁A", "A")],
    ids=["byte-level BPE", "BPE with bos", "Unigram with eos"],
)
def test_every_kind_of_vocabulary(make: Callable[[], PreTrainedTokenizerFast], isolated: str, bare: str) -> None:
    tokenizer = make()
    found = {name: tokenizer.convert_ids_to_tokens(label_id(tokenizer, "A", name)) for name in ("isolated", "bare")}
    assert found == {"isolated": isolated, "bare": bare}
    for label in "BCD":
        assert tokenizer.decode([label_id(tokenizer, label, "bare")]) == label


def test_a_byte_level_vocabulary_spells_other_scripts_its_own_way() -> None:
    tokenizer = byte_level()
    bare = label_id(tokenizer, "答案", "bare")
    assert tokenizer.convert_ids_to_tokens(bare) != "答案"
    assert (bare, tokenizer.decode([bare])) == (label_id(tokenizer, "答案", "isolated"), "答案")
    with pytest.raises(RequestError, match="no single token"):
        label_id(tokenizer, "甲", "isolated")  # its last byte alone is not the label


def test_a_label_that_only_the_unknown_piece_covers_is_refused() -> None:
    for encoding in ("isolated", "bare"):
        with pytest.raises(RequestError, match="no single token"):
            label_id(unigram(), "甲", encoding)


def test_an_unknown_encoding_is_refused() -> None:
    assert check_encoding("joint", "here") == "joint"
    with pytest.raises(RequestError, match="here: label_tokens is 'join'"):
        check_encoding("join", "here")
