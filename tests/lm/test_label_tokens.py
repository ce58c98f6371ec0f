"""Label ids under each encoding, with and without a dummy prefix."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_an_unknown_encoding_is_refused() -> None:
    assert check_encoding("joint", "here") == "joint"
    with pytest.raises(RequestError, match="here: label_tokens is 'join'"):
        check_encoding("join", "here")
