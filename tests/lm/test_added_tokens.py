"""Tokens that were added to a tokenizer and not to the model: they load, and only text that holds one stops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from transformers import LlamaConfig, LlamaForCausalLM

from lm_eval_baichuan.model_adapters.baichuan import BaichuanTokenizer
from lm_eval_baichuan.model_adapters.errors import RequestError, TokenizerError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Make = Callable[..., Instance]
Write = Callable[..., str]

ROWS = 390  # as many as the small vocabulary has pieces
FOLDERS: dict[str, dict[str, Any]] = {
    "as the official Baichuan2-7B": {"added_tokens.json": {"<pad>": ROWS}, "tokenizer_config.json": {}},
    "padding with a new token": {
        "added_tokens.json": {"<pad>": ROWS},
        "special_tokens_map.json": {"pad_token": "<pad>"},
        "tokenizer_config.json": {},
    },
    "as transformers 4 saves it": {
        "tokenizer_config.json": {
            "pad_token": "<pad>",
            "added_tokens_decoder": {str(ROWS): {"content": "<pad>", "special": True}},
        }
    },
}


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, write_checkpoint: Write) -> str:
    place = write_checkpoint(vocab_size=ROWS)
    for name, content in FOLDERS[request.param].items():
        (Path(place) / name).write_text(json.dumps(content))
    return place


def generation(text: str, doc_id: int = 0) -> Instance:
    options = {"until": [], "max_gen_toks": 4, "do_sample": False}
    return Instance("generate_until", {}, (text, options), 0, ("some_task", doc_id, 1))


@pytest.mark.parametrize("trie", [True, False])
def test_text_without_the_token_is_scored_as_ever(
    folder: str, write_checkpoint: Write, instance: Make, trie: bool
) -> None:
    requests = [instance("one two", "A"), instance("What is", " your name?", 1)]
    plain = BaichuanLM(write_checkpoint(name="plain", vocab_size=ROWS), device="cpu", trie=trie)
    lm = BaichuanLM(folder, device="cpu", trie=trie, batch_size=2)
    assert len(lm.tokenizer) == ROWS + 1
    scores = [score for score, _ in lm.loglikelihood(requests, True)]
    assert scores == pytest.approx([score for score, _ in plain.loglikelihood(requests, True)], abs=1e-5)


@pytest.mark.parametrize("trie", [True, False])
def test_text_with_the_token_stops_and_names_it(folder: str, instance: Make, trie: bool) -> None:
    lm = BaichuanLM(folder, device="cpu", trie=trie)
    message = rf"has the token '<pad>' \(id {ROWS}\), but the model's embedding has {ROWS} rows"
    with pytest.raises(RequestError, match=rf"The text 'one<pad>two' {message}"):
        lm.loglikelihood([instance("three", "A"), instance("one<pad>two", "A", 1)], True)
    with pytest.raises(RequestError, match=message):
        lm.loglikelihood([instance("one", "<pad>")], True)
    with pytest.raises(RequestError, match=message):
        lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("one<pad>two",), 0, ("t", 0, 1))], True)
    with pytest.raises(RequestError, match=message):
        lm.generate_until([generation("one"), generation("one<pad>two", 1)], True)


def test_batches_are_padded_with_a_token_that_has_an_embedding(folder: str, write_checkpoint: Write) -> None:
    lm = BaichuanLM(folder, device="cpu", batch_size=2)
    assert lm.tokenizer.pad_token_id < ROWS
    texts = ["one", "What is your name? one two three"]
    together = lm.generate_until([generation(text, i) for i, text in enumerate(texts)], True)
    alone = BaichuanLM(write_checkpoint(name="plain", vocab_size=ROWS), device="cpu", batch_size=1)
    assert together == [alone.generate_until([generation(text)], True)[0] for text in texts]


def test_another_models_tokenizer_is_refused_still(write_checkpoint: Write) -> None:
    with pytest.raises(TokenizerError, match=f"390 tokens, but the model's embedding has {ROWS - 1} rows"):
        BaichuanLM(write_checkpoint(vocab_size=ROWS - 1), device="cpu")


@pytest.fixture
def llama_folder(tmp_path: Path, small_tokenizer: Path) -> Path:
    """A fine-tune saved in Llama's form, with the original tokenizer.model beside."""
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    shutil.copy(small_tokenizer, tmp_path / "llama" / "tokenizer.model")
    return tmp_path / "llama"


def test_a_llama_checkpoints_added_tokens(llama_folder: Path, instance: Make) -> None:
    (llama_folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": False, "pad_token": "[PAD]"})
    )
    lm = BaichuanLM(str(llama_folder), device="cpu")
    assert type(lm.tokenizer) is BaichuanTokenizer
    assert lm.loglikelihood([instance("one", "A")], True)
    with pytest.raises(RequestError, match=r"'one\[PAD\]' has the token '\[PAD\]' \(id 390\)"):
        lm.loglikelihood([instance("one[PAD]", "A")], True)


def test_every_way_to_a_tokenizer_is_checked(llama_folder: Path, small_tokenizer: Path) -> None:
    """By folder, by the folder of a loaded model, and as an object of another class."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    model = LlamaForCausalLM.from_pretrained(llama_folder)
    lm = BaichuanLM(model, device="cpu")
    assert type(lm.tokenizer) is BaichuanTokenizer
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"x": 0}, unk_token="x")), name_or_path=str(llama_folder)
    )
    with pytest.raises(TokenizerError, match="'A' has the token ids .*, but sentencepiece gives"):
        BaichuanLM(str(llama_folder), tokenizer=other, device="cpu")
    (llama_folder / "tokenizer_config.json").write_text('{"sp_model_kwargs": {"enable_sampling": true}}')
    for pretrained in (str(llama_folder), model):
        with pytest.raises(TokenizerError, match="tokenizer_config.json, key 'sp_model_kwargs', option 'enable_sampl"):
            BaichuanLM(pretrained, device="cpu")
    model.config.name_or_path = model.name_or_path = ""
    with pytest.raises(TokenizerError, match="Pass tokenizer=FOLDER"):
        BaichuanLM(model, device="cpu")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config.json": "{"}, "tokenizer_config.json: not JSON"),
        ({"tokenizer_config.json": '{"pad_token": 3}'}, "tokenizer_config.json, key 'pad_token': found 3"),
        ({"special_tokens_map.json": "[]"}, r"special_tokens_map.json: found \[\], expected a JSON object"),
        ({"tokenizer.json": '{"added_tokens": 4}'}, "tokenizer.json, key 'added_tokens': found 4"),
        ({"tokenizer.json": '{"model": {}}'}, "llama: tokenizer.json, or a file beside it, cannot be read as a tokeni"),
        ({}, "llama: tokenizer.json, or a file beside it, cannot be read as a tokenizer"),
    ],
)
def test_damage_is_named_without_a_tokenizer_model_too(files: dict[str, str], message: str, llama_folder: Path) -> None:
    (llama_folder / "tokenizer.model").unlink()
    for name, text in files.items():
        (llama_folder / name).write_text(text)
    with pytest.raises(TokenizerError, match=message):
        BaichuanLM(str(llama_folder), device="cpu")
