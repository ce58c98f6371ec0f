"""What the JSON files beside ``tokenizer.model`` say of the tokenizer: read and checked before anything uses it.

Ids come from ``tokenizer.model``. Beside it only special and added tokens, the bos and eos flags, the chat template,
and what concerns no id (padding side, length) are taken; every one is checked, and whatever would change ids if it were
obeyed is refused. Everything else stays unread, so that nothing in these files reaches transformers unchecked.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from ..outside.files import parse_json, read_text

logger = logging.getLogger(__name__)

CONFIG, SPECIALS, ADDED, FAST = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)
TOKENIZER_FILES = ("tokenizer.model", CONFIG, SPECIALS, ADDED, FAST, "chat_template.*", "additional_chat_templates/*")
"""Patterns of all files that a tokenizer is read from."""
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS_OF_TOKENS = ("extra_special_tokens", "additional_special_tokens")
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")

# Options of sentencepiece's processor: those that may stand in `sp_model_kwargs`, and the value that leaves ids as they
# are (any value where None).
_HARMLESS_OPTIONS = {
    "enable_sampling": False,
    "add_bos": False,
    "add_eos": False,
    "reverse": False,
    "nbest_size": None,  # these two count with enable_sampling alone
    "alpha": None,
    "num_threads": None,
    "emit_unk_piece": None,  # changes pieces, not ids
}


@dataclass(frozen=True)
class StatedToken:
    """A token that a file declares, and where."""

    content: str
    where: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


@dataclass
class TokenizerFiles:
    """What a checkpoint folder says of its tokenizer, beside ``tokenizer.model``.

    Attributes:
        named: The special tokens with a name (``bos_token``, ...) that the folder states.
        extra: Further special tokens.
        added: Tokens declared with an id.
        options: Arguments of the tokenizer that concern no piece: ``add_bos_token``, ``model_max_length``, ...
        chat_template: The folder's own, or None.
    """

    named: dict[str, StatedToken] = field(default_factory=dict)
    extra: list[StatedToken] = field(default_factory=list)
    added: dict[int, StatedToken] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    chat_template: str | dict[str, str] | None = None


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Reads and checks the files of a folder, as far as they are there.

    As in transformers, ``added_tokens_decoder`` in ``tokenizer_config.json`` goes before the older files
    ``special_tokens_map.json`` and ``added_tokens.json`` and before ``tokenizer.json``.

    Raises:
        TokenizerError: A file is damaged, holds a value of the wrong kind, or asks for other ids than sentencepiece's.
    """
    found = TokenizerFiles()
    config_file = folder / CONFIG
    config = _read_object(config_file)
    _refuse_what_changes_ids(config, config_file)
    _take_specials(config, config_file, found)
    if config.get("added_tokens_decoder") is not None:
        _take_decoder(config["added_tokens_decoder"], config_file, found)
    else:
        _take_specials(_read_object(folder / SPECIALS), folder / SPECIALS, found)
        _take_added(_read_object(folder / ADDED), folder / ADDED, found)
        _take_fast(_read_object(folder / FAST), folder / FAST, found)
    found.options = _options(config, config_file)
    found.chat_template = _chat_template(folder, config)
    return found


def check_processor_options(stated: Any, where: str) -> None:
    """Refuses what in `sp_model_kwargs` would change ids: sampling makes them random, say.

    Raises:
        TokenizerError: It does, or is no mapping.
    """
    if stated is None:
        return
    if not isinstance(stated, dict):
        raise _wrong(where, stated, "an object of options of sentencepiece")
    for name, value in stated.items():
        if name not in _HARMLESS_OPTIONS or (_HARMLESS_OPTIONS[name] is False and value not in (False, None)):
            raise TokenizerError(
                f"{where}, option {_short(name)}: {_short(value)} would give other token ids than tokenizer.model as "
                "it is, which the model was trained on. Remove the option from the file."
            )


def _refuse_what_changes_ids(config: dict[str, Any], file: Path) -> None:
    check_processor_options(config.get("sp_model_kwargs"), f"{file}, key 'sp_model_kwargs'")
    for key in ("do_lower_case", "split_special_tokens"):
        if _flag(config, key, file):
            raise TokenizerError(
                f"{file}, key {key!r}: true would give other token ids than sentencepiece gives with tokenizer.model. "
                "Remove the key from the file."
            )
    # Fine-tunes in Llama's form carry these of the class that saved them.
    ignored = [key for key in ("legacy", "add_prefix_space") if config.get(key) is False]
    if ignored:
        logger.warning("%s: %s = false changes nothing: ids are tokenizer.model's.", file, " and ".join(ignored))


def _options(config: dict[str, Any], file: Path) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key in ("add_bos_token", "add_eos_token"):
        if (flag := _flag(config, key, file)) is not None:
            options[key] = flag
    for key in ("padding_side", "truncation_side"):
        if (side := config.get(key)) is not None:
            if side not in ("left", "right"):
                raise _wrong(f"{file}, key {key!r}", side, "'left' or 'right'")
            options[key] = side
    length = config.get("model_max_length")
    if length is not None:
        number = isinstance(length, (int, float)) and not isinstance(length, bool)
        if not number or not 0 < length < math.inf:
            raise _wrong(f"{file}, key 'model_max_length'", length, "a positive number")
        options["model_max_length"] = length
    return options


def _take_specials(content: dict[str, Any], file: Path, found: TokenizerFiles) -> None:
    for key in NAMED_TOKENS:
        token = _token(content.get(key), f"{file}, key {key!r}", special=True)
        if token is not None:
            found.named[key] = token
    for key in _LISTS_OF_TOKENS:
        stated = content.get(key)
        if stated is None:
            continue
        if not isinstance(stated, (list, dict)):
            raise _wrong(f"{file}, key {key!r}", stated, "a list of tokens")
        for name, value in stated.items() if isinstance(stated, dict) else enumerate(stated):
            token = _token(value, f"{file}, key {key!r}, entry {name!r}", special=True)
            if token is not None:
                found.extra.append(token)
    # Special tokens under a name of the checkpoint's own (image_token, ...).
    for key, value in content.items():
        own_name = key.endswith("_token") and key not in NAMED_TOKENS and not key.startswith("add_")
        if own_name and isinstance(value, (str, dict)):
            token = _token(value, f"{file}, key {key!r}", special=True)
            if token is not None:
                found.extra.append(token)


def _take_decoder(stated: Any, file: Path, found: TokenizerFiles) -> None:
    where = f"{file}, key 'added_tokens_decoder'"
    if not isinstance(stated, dict):
        raise _wrong(where, stated, "an object of ids and tokens")
    for key, value in stated.items():
        if not (key.isascii() and key.isdigit() and len(key) < 12):
            raise _wrong(f"{where}, entry {_short(key)}", key, "a token id")
        if not isinstance(value, dict):
            raise _wrong(f"{where}, entry {key!r}", value, "an object with 'content'")
        entry = f"{where}, entry {key!r}"
        _add(found, _token_id(int(key), entry), _token(value, entry))


def _take_added(stated: dict[str, Any], file: Path, found: TokenizerFiles) -> None:
    specials = {token.content for token in (*found.named.values(), *found.extra)}
    for content, number in stated.items():
        where = f"{file}, key {_short(content)}"
        token = _token(content, where, special=content in specials)
        _add(found, _token_id(number, where), token)


def _take_fast(stated: dict[str, Any], file: Path, found: TokenizerFiles) -> None:
    tokens = stated.get("added_tokens")
    if tokens is None:
        return
    if not isinstance(tokens, list):
        raise _wrong(f"{file}, key 'added_tokens'", tokens, "a list of tokens")
    for position, value in enumerate(tokens):
        where = f"{file}, key 'added_tokens', entry {position}"
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object with 'id' and 'content'")
        _add(found, _token_id(value.get("id"), where), _token(value, where))


def _add(found: TokenizerFiles, number: int, token: StatedToken | None) -> None:
    if token is None:
        return
    other = found.added.get(number)
    if other is not None and other.content != token.content:
        raise TokenizerError(
            f"{token.where}: token {token.content!r} has id {number}, but {other.where} gives that id to "
            f"{other.content!r}. Correct one of the two."
        )
    found.added[number] = token


def _token(value: Any, where: str, *, special: bool = False) -> StatedToken | None:
    """The token that a value states: its text, or an object with ``content`` and flags. Nothing, for no or empty text.

    Some Llama checkpoints state ``"bos_token": ""``, which means the model file's own.
    """
    flags: dict[str, bool] = {}
    content = value
    if isinstance(value, dict):
        content = value.get("content")
        if not isinstance(content, str):
            raise _wrong(f"{where}, 'content'", content, "text")
        flags = {name: flag for name in _FLAGS if (flag := _flag(value, name, where)) is not None}
    if content is not None and not isinstance(content, str):
        raise _wrong(where, content, "a token: text, or an object with 'content'")
    if not content:
        return None
    _check_text(content, where)
    return StatedToken(content, where, **{**flags, "special": special or flags.get("special", False)})


def _token_id(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise _wrong(where, value, "a token id")
    return value


def _flag(content: dict[str, Any], key: str, where: Path | str) -> bool | None:
    value = content.get(key)
    if value is not None and not isinstance(value, bool):
        raise _wrong(f"{where}, key {key!r}", value, "true or false")
    return value


def _chat_template(folder: Path, config: dict[str, Any]) -> str | dict[str, str] | None:
    """The folder's chat template: files of their own go before ``tokenizer_config.json``."""
    named = {file.stem: _read_text(file) for file in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if (folder / "chat_template.jinja").is_file():
        named = {"default": _read_text(folder / "chat_template.jinja"), **named}
    if named:
        return named["default"] if list(named) == ["default"] else named
    for file, content in (
        (folder / CONFIG, config),
        (folder / "chat_template.json", None),
    ):
        stated = (_read_object(file) if content is None else content).get("chat_template")
        where = f"{file}, key 'chat_template'"
        if isinstance(stated, list):
            stated = dict(_named_templates(stated, where))
        for template in stated.values() if isinstance(stated, dict) else [stated]:
            if template is not None and not isinstance(template, str):
                raise _wrong(where, template, "a Jinja template as text")
            _check_text(template or "", where)
        if stated:
            return stated
    return None


def _named_templates(stated: list[Any], where: str) -> Iterator[tuple[str, str]]:
    for entry in stated:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("name", "template")):
            raise _wrong(where, entry, "an object with 'name' and 'template'")
        yield entry["name"], entry["template"]


def _read_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file."""
    if not file.exists():
        return {}
    text = _read_text(file)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise TokenizerError(f"{file}: not JSON ({error}). Download the file again.") from error
    if not isinstance(content, dict):
        raise _wrong(str(file), content, "a JSON object")
    return content


def _read_text(file: Path) -> str:
    try:
        return read_text(file, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{file}: cannot be read as UTF-8 text ({error}). Download the file again.") from error


def _check_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(f"{where}: {_short(text)} is no valid Unicode text. Correct the file.") from error


def _wrong(where: str, found: Any, expected: str) -> TokenizerError:
    return TokenizerError(f"{where}: found {_short(found)}, expected {expected}. Correct the file.")


def _short(value: Any) -> str:
    shown = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
