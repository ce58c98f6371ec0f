"""Whatever the files beside `tokenizer.model` say: ids are sentencepiece's, or the load stops and names the file."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lm_eval_baichuan.model_adapters.baichuan import BaichuanTokenizer
from lm_eval_baichuan.model_adapters.baichuan.checkpoint_tokenizer import checkpoint_tokenizer
from lm_eval_baichuan.model_adapters.baichuan.tokenizer_check import check_ids, check_own_ids
from lm_eval_baichuan.model_adapters.errors import TokenizerError

CONFIG, SPECIALS, ADDED, FAST = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)
TEXTS = [
    *"ABCD",
    "以下是法学考试。\n答案：A\n答案：",
    "What is your name?\nAnswer: B <br>10\n\n  C",
    "é𝒜 one  two",
    "题目 D. three",
]

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, small_tokenizer: Path) -> Folder:
    """Makes a folder with `tokenizer.model` and the JSON files that are given."""

    def make(files: dict[str, Any] | None = None, model: Path = small_tokenizer) -> Path:
        shutil.copy(model, tmp_path / "tokenizer.model")
        for name, content in (files or {}).items():
            (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
        return tmp_path

    return make


def load(folder: Path, *, llama: bool = False) -> BaichuanTokenizer:
    tokenizer = checkpoint_tokenizer(folder, llama=llama, add_bos_token=None)
    assert tokenizer is not None
    return tokenizer


def assert_sentencepieces_ids(tokenizer: Any, folder: Path, texts: list[str] = TEXTS) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    expected = [reference.encode(text) for text in texts]
    assert [tokenizer.encode(text, add_special_tokens=False) for text in texts] == expected
    assert tokenizer(texts, add_special_tokens=False)["input_ids"] == expected


@pytest.mark.parametrize(
    "stated",
    [
        {"legacy": False},
        {"legacy": None, "add_prefix_space": False},
        {"add_prefix_space": True},
        {"clean_up_tokenization_spaces": True, "spaces_between_special_tokens": True},
        {"tokenizer_class": "LlamaTokenizerFast", "use_fast": True},
        {"tokenizer_class": "GPT2Tokenizer", "do_lower_case": False, "split_special_tokens": False},
        {"normalizer": {"type": "Lowercase"}, "normalization": "nfkc"},
        {"sp_model_kwargs": {}},
        {"sp_model_kwargs": {"enable_sampling": False, "alpha": 0.1, "nbest_size": -1, "num_threads": 2}},
        {"chat_template": "{{ 1 }}", "model_max_length": 8, "padding_side": "right", "truncation_side": "left"},
        {"model_max_length": 1000000000000000019884624838656},
        {
            "bos_token": "",
            "eos_token": None,
            "unk_token": {"content": "<unk>", "single_word": True, "normalized": True},
        },
        {"added_tokens_decoder": {"1": {"content": "<s>", "lstrip": True, "rstrip": True, "special": True}}},
        {"init_inputs": [3], "backend": 1, "vocab_file": "elsewhere", "model_input_names": 7, "encode": "no"},
    ],
)
@pytest.mark.parametrize("model", ["small_tokenizer", "small_tokenizer_without_prefix"])
@pytest.mark.parametrize("llama", [False, True])
def test_what_else_a_configuration_says_changes_no_id(
    stated: dict[str, Any], model: str, llama: bool, folder: Folder, request: pytest.FixtureRequest
) -> None:
    place = folder({CONFIG: stated}, request.getfixturevalue(model))
    assert_sentencepieces_ids(load(place, llama=llama), place)
    assert_sentencepieces_ids(BaichuanTokenizer.from_pretrained(place), place)


@pytest.mark.parametrize("llama", [False, True])
def test_what_else_a_configuration_says_changes_no_id_of_the_real_vocabulary(
    data_dir: Path, folder: Folder, llama: bool
) -> None:
    stated = {"legacy": False, "add_prefix_space": False, "tokenizer_class": "LlamaTokenizer", "pad_token": "[PAD]"}
    place = folder({CONFIG: stated}, data_dir / "tokenizer" / "baichuan-7b.tokenizer.model")
    assert_sentencepieces_ids(load(place, llama=llama), place)


def test_an_option_that_is_not_obeyed_is_said(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(folder({CONFIG: {"legacy": False, "add_prefix_space": True}}))
    assert "legacy = false changes nothing" in caplog.text
    assert "add_prefix_space" not in caplog.text


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"sp_model_kwargs": {"enable_sampling": True, "alpha": 0.1}}, "'sp_model_kwargs', option 'enable_sampling'"),
        ({"sp_model_kwargs": {"add_bos": True}}, "option 'add_bos': True would give other token ids"),
        ({"sp_model_kwargs": {"reverse": 1}}, "option 'reverse'"),
        ({"sp_model_kwargs": {"model_file": "other.model"}}, "option 'model_file'"),
        ({"sp_model_kwargs": [1]}, r"'sp_model_kwargs': found \[1\], expected an object"),
        ({"do_lower_case": True}, "'do_lower_case': true would give other token ids"),
        ({"split_special_tokens": True}, "'split_special_tokens': true would give other"),
        ({"add_bos_token": "false"}, "'add_bos_token': found 'false', expected true or false"),
        ({"padding_side": "top"}, "'padding_side': found 'top', expected 'left' or 'right'"),
        ({"model_max_length": "4096"}, "'model_max_length': found '4096', expected a positive number"),
        ({"model_max_length": -(10**400)}, "'model_max_length': found -1000"),
        ({"chat_template": [{"name": "a"}]}, "'chat_template': found .* expected an object with 'name'"),
        ({"pad_token": 0}, "'pad_token': found 0, expected a token"),
        ({"pad_token": {"content": ["x"]}}, r"'pad_token', 'content': found \['x'\], expected text"),
        ({"pad_token": "A"}, "'pad_token': declares 'A' as a special token, but it is the ordinary piece"),
        ({"extra_special_tokens": ["<x>", 4]}, "'extra_special_tokens', entry 1: found 4"),
        ({"additional_special_tokens": ["\n"]}, r"entry 0: declares '\\n' as a special token"),
        ({"added_tokens_decoder": {"900": {"content": "\n"}}}, r"declares '\\n' as token 900, but it is piece \d+"),
        ({"added_tokens_decoder": {"900": {"content": "A"}}}, "entry '900': declares 'A' as token 900"),
        ({"added_tokens_decoder": {"7": {"content": "<x>"}}}, "gives '<x>' the id 7, which is piece"),
        ({"added_tokens_decoder": {"x": {"content": "<x>"}}}, "entry 'x': found 'x', expected a token id"),
        ({"added_tokens_decoder": {"900": "<x>"}}, "entry '900': found '<x>', expected an object with 'content'"),
        (
            {"added_tokens_decoder": {"900": {"content": "<x>"}, "901": {"content": "<x>"}}},
            "entry '901': '<x>' is declared twice, with the ids 900 and 901",
        ),
    ],
)
def test_what_would_change_ids_or_means_nothing_is_refused(
    stated: dict[str, Any], message: str, folder: Folder
) -> None:
    place = folder({CONFIG: stated, "config.json": {"model_type": "baichuan"}})
    for read in (load, BaichuanTokenizer.from_pretrained, AutoTokenizer.from_pretrained):
        with pytest.raises(TokenizerError, match=rf"tokenizer_config\.json, key .*{message}"):
            read(place)


def test_an_added_token_that_cuts_ordinary_text_stops(folder: Folder) -> None:
    place = folder({CONFIG: {}, ADDED: {"name": 390}})
    with pytest.raises(TokenizerError, match=r"'What is your name\?' has the token ids \[.*390.*\], but sentencepiece"):
        load(place)
    with pytest.raises(TokenizerError, match=f"{place / CONFIG} or a file beside it declares 'name' as a token of its"):
        load(place)


@pytest.mark.parametrize("files", [{}, {FAST: {"added_tokens": []}}])
@pytest.mark.parametrize("flag", ["add_bos_token", "add_eos_token"])
def test_bos_and_eos_flags_are_obeyed_beside_a_tokenizer_json(flag: str, files: dict[str, Any], folder: Folder) -> None:
    tokenizer = load(folder({CONFIG: {flag: True}, **files}))
    ids = tokenizer.encode("one", add_special_tokens=False)
    assert tokenizer.encode("one") == ([1, *ids] if flag == "add_bos_token" else [*ids, 2])


@pytest.mark.parametrize(
    "files",
    [
        {CONFIG: {"pad_token": "[PAD]"}},
        {CONFIG: {"added_tokens_decoder": {"390": {"content": "[PAD]", "special": True}}}},
        {CONFIG: {"pad_token": "[PAD]"}, ADDED: {"[PAD]": 390}},
        {SPECIALS: {"pad_token": {"content": "[PAD]", "lstrip": False}}, ADDED: {"[PAD]": 390}},
        {FAST: {"added_tokens": [{"id": 390, "content": "[PAD]", "special": True}, {"id": 1, "content": "<s>"}]}},
    ],
)
def test_added_tokens_of_every_file(files: dict[str, Any], folder: Folder) -> None:
    place = folder(files)
    tokenizer = load(place)
    one, two = tokenizer.encode("one"), tokenizer.encode("two")
    assert tokenizer.encode("one[PAD]two") == [*one, 390, *two]
    assert tokenizer.decode([*one, 390, *two]) == "one[PAD]two"
    assert len(tokenizer) == 391
    assert_sentencepieces_ids(tokenizer, place)


def test_added_tokens_that_leave_a_gap_share_no_id(folder: Folder) -> None:
    tokenizer = load(folder({CONFIG: {"pad_token": "[PAD]", "added_tokens_decoder": {"391": {"content": "<x>"}}}}))
    assert tokenizer.convert_tokens_to_ids(["<x>", "[PAD]"]) == [391, 392]


def test_a_converted_vocabulary_may_declare_its_symbols(folder: Folder, small_tokenizer: Path) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(small_tokenizer))
    symbols = ["<unk>", "<s>", "</s>", "\n", "<br>", "0", "1", "。"]
    entries = {str(reference.piece_to_id(s)): {"content": s, "special": s in symbols[:3]} for s in symbols}
    place = folder({CONFIG: {"added_tokens_decoder": entries, "tokenizer_class": "LlamaTokenizerFast"}})
    assert_sentencepieces_ids(load(place, llama=True), place)


def test_role_tokens_stay_special_beside_others(folder: Folder, data_dir: Path) -> None:
    model = data_dir / "tokenizer" / "baichuan-7b.tokenizer.model"
    tokenizer = load(folder({CONFIG: {"additional_special_tokens": ["<x>"]}}, model))
    alone = tokenizer.encode("答案")
    assert tokenizer.encode("<reserved_102>答案<x>") == [195, *alone, 64000]


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json", CONFIG])
def test_a_llama_checkpoints_own_chat_template(name: str, folder: Folder, data_dir: Path) -> None:
    place = folder({}, data_dir / "tokenizer" / "baichuan-7b.tokenizer.model")
    assert load(place, llama=True).chat_template is None
    assert "<reserved_102>" in load(place).chat_template
    (place / name).write_text("{{ 7 }}" if name.endswith("jinja") else json.dumps({"chat_template": "{{ 7 }}"}))
    assert load(place, llama=True).chat_template == "{{ 7 }}"
    (place / name).write_bytes(b"\xff")
    with pytest.raises(TokenizerError, match=f"{place / name}: cannot be read as UTF-8 text"):
        load(place, llama=True)


def test_a_tokenizer_that_gives_other_ids_is_found_out(folder: Folder) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    place = folder()
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"x": 0}, unk_token="x")))
    with pytest.raises(TokenizerError, match=r"^'A' has the token ids \[0\], but sentencepiece gives \[\d+\] with"):
        check_ids(other, place / "tokenizer.model")
    check_own_ids(other)  # knows of no tokenizer.model
    other.name_or_path = str(place)
    with pytest.raises(TokenizerError, match="The tokenizer is a TokenizersBackend, probably a vocabulary converted"):
        check_own_ids(other)
    own = load(place)
    check_own_ids(own)
    own.sp_model = sentencepiece.SentencePieceProcessor(model_file=str(place / "tokenizer.model"), reverse=True)
    with pytest.raises(TokenizerError, match="has the token ids"):
        check_own_ids(own)


def test_by_the_name_of_a_repository(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(place)

    place = folder({CONFIG: {"pad_token": "[PAD]"}})
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    tokenizer = BaichuanTokenizer.from_pretrained("someone/tiny", revision="v1", trust_remote_code=False)
    assert_sentencepieces_ids(tokenizer, place)
    assert (tokenizer.pad_token_id, tokenizer.name_or_path) == (390, "someone/tiny")
    assert (asked["repository"], asked["revision"]) == ("someone/tiny", "v1")
    assert {"tokenizer.model", CONFIG, SPECIALS, ADDED, FAST} < set(asked["allow_patterns"])


WHOLE: dict[str, Any] = {
    CONFIG: {
        "tokenizer_class": "BaichuanTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]},
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": True},
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "[PAD]",
        "extra_special_tokens": ["<x>", {"content": "<y>", "rstrip": True}],
        "model_max_length": 4096,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "sp_model_kwargs": {"enable_sampling": False},
        "chat_template": [{"name": "default", "template": "{{ 1 }}"}],
        "legacy": True,
    },
    SPECIALS: {
        "bos_token": {"content": "<s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": True},
        "eos_token": "</s>",
        "additional_special_tokens": [{"content": "<z>", "single_word": False}],
    },
    ADDED: {"[PAD]": 390, "<x>": 391},
}
WITH_DECODER: dict[str, Any] = {
    CONFIG: {
        "pad_token": "[PAD]",
        "added_tokens_decoder": {
            "1": {"content": "<s>", "special": True, "lstrip": False},
            "390": {"content": "[PAD]", "special": True, "normalized": False},
        },
    }
}
ODD: list[Any] = [
    *(None, True, 0, 3, 64000, -1, 1.5, float("inf"), float("nan"), 10**30),
    *("", "A", "\n", " ", "答案", "é", "\ud800", "<s>", "[PAD]", "true", "x" * 300),
    *([], {}, [1], [None], ["A"], [[]], {"content": None}, {"content": "A"}, {"content": {"content": "<x>"}}),
    *({"__type": "AddedToken"}, {"content": "<q>", "special": "yes"}, {"1": {}}, {"A": 390}, {"name": 1}),
]


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON object."""
    yield path
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


def damages() -> Iterator[tuple[dict[str, Any], str, str]]:
    """Files of a folder, the damaged one among them, and its text."""
    for files in (WHOLE, WITH_DECODER):
        for name, content in files.items():
            text = json.dumps(content)
            yield from ((files, name, text[:end]) for end in range(0, len(text), 29))
            yield from ((files, name, text.replace(mark, "", 1)) for mark in '{}[]":,')
            for i, path in enumerate(places(content)):
                # A third of the odd values each, which is quick; the other values come at the neighbouring places.
                yield from ((files, name, json.dumps(replaced(content, path, value))) for value in ODD[i % 3 :: 3])


def test_every_damage_is_named_or_changes_no_id(folder: Folder) -> None:
    reference_folder = folder(WHOLE)
    load(reference_folder)
    counts = {"stopped": 0, "loaded": 0}
    for files, name, text in damages():
        for other in (CONFIG, SPECIALS, ADDED):
            (reference_folder / other).unlink(missing_ok=True)
        place = folder(files)
        (place / name).write_text(text, encoding="utf-8")
        try:
            tokenizer = load(place)
        except TokenizerError as error:
            assert any(str(place / file) in str(error) for file in (CONFIG, SPECIALS, ADDED)), (text, error)
            counts["stopped"] += 1
        else:
            assert_sentencepieces_ids(tokenizer, place)
            assert tokenizer.decode(tokenizer.encode(TEXTS[4], add_special_tokens=False)) == TEXTS[4]
            counts["loaded"] += 1
    assert min(counts.values()) > 150, counts
