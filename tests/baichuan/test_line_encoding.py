"""Encoding line by line gives the ids of sentencepiece on the whole text, or is not done."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_baichuan.model_adapters.baichuan import BaichuanTokenizer
from lm_eval_baichuan.model_adapters.baichuan.line_encoding import LineEncoder, splits_at_lines

CHARACTERS = "ab 12。.A：\n\n\n\t\r▁\u3000\u00a0e\u0301ﬁ以下是中国答案<br>🙂\x00"
texts = st.lists(st.text(alphabet=CHARACTERS, max_size=40), max_size=6)


def load(file: Path) -> sentencepiece.SentencePieceProcessor:
    pieces = sentencepiece.SentencePieceProcessor()
    pieces.Load(str(file))
    return pieces


@pytest.fixture(params=["small_tokenizer", "small_tokenizer_without_prefix"])
def pieces(request: pytest.FixtureRequest) -> sentencepiece.SentencePieceProcessor:
    return load(request.getfixturevalue(request.param))


def test_vocabularies_like_baichuans_split_at_lines(pieces: sentencepiece.SentencePieceProcessor) -> None:
    assert splits_at_lines(pieces)


@pytest.mark.parametrize("fixture", ["small_tokenizer", "small_tokenizer_without_prefix"])
def test_any_texts(fixture: str, request: pytest.FixtureRequest) -> None:
    pieces = load(request.getfixturevalue(fixture))
    known = LineEncoder(pieces)

    @given(texts)
    def check(some: list[str]) -> None:
        found = known.encode(some)
        assert [ids.tolist() for ids in found] == [pieces.encode(text) for text in some]

    check()


def test_texts_of_random_characters_in_the_real_vocabulary(data_dir: Path) -> None:
    pieces = load(data_dir / "tokenizer" / "baichuan-7b.tokenizer.model")
    assert splits_at_lines(pieces)
    chance = random.Random(0)  # noqa: S311
    some = ["".join(chance.choices(CHARACTERS, k=chance.randint(0, 40))) for _ in range(20_000)]
    for text, ids in zip(some, LineEncoder(pieces).encode(some), strict=True):
        assert ids.tolist() == pieces.encode(text), repr(text)


def train(folder: Path, **options: object) -> sentencepiece.SentencePieceProcessor:
    sentences = folder / "sentences.txt"
    sentences.write_text("\n".join(["one two three", "the one, the other", "what is your name?"] * 20), "utf-8")
    wanted = {"vocab_size": 300, "model_type": "bpe", "byte_fallback": True, "minloglevel": 2, **options}
    sentencepiece.SentencePieceTrainer.train(input=str(sentences), model_prefix=str(folder / "odd"), **wanted)
    return load(folder / "odd.model")


PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}


@pytest.mark.parametrize(
    "options",
    [
        {**PLAIN},  # the line break has no piece
        {**PLAIN, "user_defined_symbols": ["\n", "\n\n"]},  # a piece of two
        {**PLAIN, "user_defined_symbols": ["\n", ".\n"]},
        {**PLAIN, "user_defined_symbols": ["\n"], "treat_whitespace_as_suffix": True},
        {"normalization_rule_name": "identity", "user_defined_symbols": ["\n"]},  # spaces are taken away
        {"remove_extra_whitespaces": False, "user_defined_symbols": ["\n"]},  # line breaks become spaces
    ],
)
def test_other_vocabularies_are_right_or_encoded_whole(options: dict[str, object], tmp_path: Path) -> None:
    pieces = train(tmp_path, **options)
    if not splits_at_lines(pieces):
        return
    chance = random.Random(0)  # noqa: S311
    some = ["".join(chance.choices("on the.\n\n  é\u0301", k=chance.randint(0, 20))) for _ in range(5000)]
    assert [ids.tolist() for ids in LineEncoder(pieces).encode(some)] == [pieces.encode(text) for text in some]


@pytest.mark.parametrize(
    "options",
    [
        {**PLAIN},
        {**PLAIN, "user_defined_symbols": ["\n", "\n\n"]},
        {"normalization_rule_name": "identity", "user_defined_symbols": ["\n"]},
    ],
)
def test_vocabularies_that_join_lines_are_noticed(options: dict[str, object], tmp_path: Path) -> None:
    assert not splits_at_lines(train(tmp_path, **options))


# ------------------------------------------------------------------------------------------------- the tokenizer


special = st.lists(st.sampled_from([*CHARACTERS, "<s>", "</s>", "<unk>"]), max_size=30).map("".join)


@given(st.lists(special, max_size=5))
def check_batches(tokenizer: BaichuanTokenizer, some: list[str]) -> None:
    encode = tokenizer.batch_encoder()
    assert encode is not None
    assert [ids.tolist() for ids in encode(some)] == [tokenizer.encode(text) for text in some]


def test_batches_are_what_encode_gives_special_tokens_and_all(small_tokenizer: Path) -> None:
    check_batches(BaichuanTokenizer(str(small_tokenizer)))


@pytest.mark.parametrize("option", ["add_bos_token", "add_eos_token", "split_special_tokens"])
def test_what_puts_tokens_around_a_text_is_encoded_whole(small_tokenizer: Path, option: str) -> None:
    assert BaichuanTokenizer(str(small_tokenizer), **{option: True}).batch_encoder() is None
