"""The Baichuan tokenizer: sentencepiece itself, behind transformers' tokenizer interface.

Ids come from the checkpoint's ``tokenizer.model``: whether a dummy prefix is added (Baichuan 1 does, Baichuan 2 does
not), user-defined symbols, byte fallback. The files beside it add special and other added tokens, and nothing else that
concerns an id (see `tokenizer_files`). The vocabulary is not converted to another library, because a conversion gives
other ids on some real text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from transformers import AddedToken, BatchEncoding, SentencePieceBackend

from ..errors import TokenizerError
from .added_tokens import added_tokens
from .chat_format import ASSISTANT_TOKEN_ID, USER_TOKEN_ID, chat_rule, chat_template
from .checkpoint import HUB_ARGUMENTS
from .line_encoding import LineEncoder, splits_at_lines
from .sentencepiece_model import load_pieces
from .tokenizer_files import TOKENIZER_FILES, check_processor_options, read_tokenizer_files

_IGNORED_ARGUMENTS = ("trust_remote_code", "use_fast", "proxies", "config")


class BaichuanTokenizer(SentencePieceBackend):
    """Tokenizer of all Baichuan checkpoints.

    Args:
        vocab_file: The sentencepiece model (``tokenizer.model``).
        bos_token: Beginning of sequence; by default the model file's own, likewise for the next two.
        eos_token: End of sequence.
        unk_token: Unknown piece.
        pad_token: Padding; none by default.
        add_bos_token: Whether to begin every sequence with bos. The published protocols do not.
        add_eos_token: Whether to end every sequence with eos.
        chat_template: A Jinja chat template; by default the one of the vocabulary's generation, if it has chat tokens.
        kwargs: Passed on to transformers; `sp_model_kwargs` must leave ids as they are, and `legacy` is ignored.

    Raises:
        TokenizerError: The model file is missing or damaged, or `sp_model_kwargs` would change ids.
    """

    vocab_files_names = {"vocab_file": "tokenizer.model"}
    model_input_names = ["input_ids", "attention_mask"]
    padding_side = "left"

    def __init__(
        self,
        vocab_file: str | None = None,
        bos_token: str | AddedToken | None = None,
        eos_token: str | AddedToken | None = None,
        unk_token: str | AddedToken | None = None,
        pad_token: str | AddedToken | None = None,
        add_bos_token: bool = False,
        add_eos_token: bool = False,
        chat_template: str | dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Reads the vocabulary."""
        pieces = load_pieces(vocab_file)
        self._special_pattern: re.Pattern[str] | None = None
        role_pieces = _role_pieces(pieces)
        extra = kwargs.pop("additional_special_tokens", None) or []
        extra = kwargs.pop("extra_special_tokens", None) or extra
        if role_pieces and not isinstance(extra, dict):
            extra = [*extra, *(piece for piece in role_pieces if piece not in map(str, extra))]
        if extra:
            kwargs["extra_special_tokens"] = extra
        kwargs.pop("auto_map", None)  # the checkpoint's own Python is never run
        check_processor_options(kwargs.pop("sp_model_kwargs", None), "sp_model_kwargs")
        kwargs.pop("legacy", None)  # False would take the dummy prefix out of the model file
        kwargs["special_tokens_pattern"] = {
            (False, False): "none",
            (True, False): "bos",
            (False, True): "eos",
            (True, True): "bos_eos",
        }[bool(add_bos_token), bool(add_eos_token)]
        super().__init__(
            vocab_file=vocab_file,
            bos_token=_special(bos_token, pieces, pieces.bos_id()),
            eos_token=_special(eos_token, pieces, pieces.eos_id()),
            unk_token=_special(unk_token, pieces, pieces.unk_id()),
            pad_token=_special(pad_token, pieces, pieces.pad_id()),
            add_bos_token=add_bos_token,
            add_eos_token=add_eos_token,
            chat_template=chat_template or _template(role_pieces),
            **kwargs,
        )

        self.add_bos_token, self.add_eos_token = bool(add_bos_token), bool(add_eos_token)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *_: Any, **kwargs: Any) -> BaichuanTokenizer:
        """Reads the tokenizer of a folder or a hub repository; its files are checked (see `tokenizer_files`).

        Args:
            pretrained_model_name_or_path: Folder or repository, or a ``tokenizer.model`` alone.
            kwargs: Arguments of the class, which go before what the files say; and ``revision``, ``cache_dir``, ... as
                for `huggingface_hub.snapshot_download`.

        Raises:
            TokenizerError: A file is missing or damaged, or asks for other ids than sentencepiece's.
        """
        hub = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
        subfolder = hub.pop("subfolder", None) or ""
        # Transformers' Auto classes hand on more than concerns a tokenizer.
        kwargs = {name: kwargs[name] for name in kwargs if name not in _IGNORED_ARGUMENTS and name[:1] != "_"}
        folder = Path(pretrained_model_name_or_path)
        if folder.is_file():
            return cls(vocab_file=str(folder), name_or_path=str(folder), **kwargs)
        if not folder.is_dir():
            folder = _download(str(pretrained_model_name_or_path), subfolder, hub)
        vocab_file = str(folder / subfolder / cls.vocab_files_names["vocab_file"])
        files = read_tokenizer_files(folder / subfolder)
        stated = {
            **files.options,
            **{name: token.content for name, token in files.named.items()},
            "extra_special_tokens": list(dict.fromkeys(token.content for token in files.extra)),
            "added_tokens_decoder": added_tokens(files, load_pieces(vocab_file)),
            "chat_template": files.chat_template,
        }
        return cls(vocab_file=vocab_file, name_or_path=str(pretrained_model_name_or_path), **{**stated, **kwargs})

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """Saves as transformers does, plus `add_bos_token` and `add_eos_token`, which transformers leaves out."""
        files = super().save_pretrained(save_directory, *args, **kwargs)
        file = Path(save_directory) / "tokenizer_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        config.update(add_bos_token=self.add_bos_token, add_eos_token=self.add_eos_token)
        file.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        return files

    def _update_trie(self, unique_no_split_tokens: list[str] | None = None) -> None:
        super()._update_trie(unique_no_split_tokens)
        specials = sorted({*self._added_tokens_encoder, *self.all_special_tokens}, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, specials))) if specials else None

    def _encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        # Text without special tokens goes to sentencepiece whole; transformers' way over pieces is many times slower.
        return super()._encode_plus(self._ids(text, kwargs), text_pair=self._ids(text_pair, kwargs), **kwargs)

    def _ids(self, text: Any, kwargs: dict[str, Any]) -> Any:
        if not isinstance(text, str) or not text or kwargs.get("sanitize_control_tokens"):
            return text
        split = not kwargs.get("split_special_tokens", self.split_special_tokens)
        if split and self._special_pattern is not None and self._special_pattern.search(text):
            return text
        return self.sp_model.encode(text)

    def batch_encoder(self) -> Callable[[Sequence[str]], list[NDArray[np.int32]]] | None:
        """Returns what encodes many texts as `encode` does each, many times faster where lines come again.

        Returns:
            From texts to their token ids, `[tokens]` each; None where lines cannot be encoded one by one. It keeps
            the lines that it has seen for as long as it lives.
        """
        if self.add_bos_token or self.add_eos_token or self.split_special_tokens or not splits_at_lines(self.sp_model):
            return None
        lines = LineEncoder(self.sp_model)

        def encode(texts: Sequence[str]) -> list[NDArray[np.int32]]:
            special = self._special_pattern
            found = {text: self.encode(text) for text in texts if special is not None and special.search(text)}
            plain = iter(lines.encode([text for text in texts if text not in found]))
            return [np.array(found[text], dtype=np.int32) if text in found else next(plain) for text in texts]

        return encode

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = False,
        **kwargs: Any,
    ) -> str:
        specials = set(self.all_special_ids)
        text, run = [], []
        for token in [token_ids] if isinstance(token_ids, int) else token_ids:
            if token not in specials and token not in self._added_tokens_decoder:
                if not 0 <= token < len(self.sp_model):
                    raise TokenizerError(
                        f"Token {int(token)} has no text: {self.vocab_file} has {len(self.sp_model)} pieces, and "
                        "no token was added under that number. The model generated from a row of its embedding that "
                        "the vocabulary does not use; check that model and tokenizer belong together."
                    )
                run.append(int(token))
                continue
            text.append(self.sp_model.decode(run))
            run = []
            if not (skip_special_tokens and token in specials):
                text.append(self.convert_ids_to_tokens(int(token)))
        text.append(self.sp_model.decode(run))
        return "".join(text)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Joins pieces to text, byte pieces included."""
        return self.sp_model.decode_pieces(tokens)


class BaiChuanTokenizer(BaichuanTokenizer):
    """The same tokenizer under the name that Baichuan-7B's tokenizer_config.json uses."""


def _download(repository: str, subfolder: str, hub: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    prefix = f"{subfolder}/" if subfolder else ""
    return Path(snapshot_download(repository, allow_patterns=[prefix + name for name in TOKENIZER_FILES], **hub))


def _special(
    given: str | AddedToken | None, pieces: sentencepiece.SentencePieceProcessor, piece_id: int
) -> AddedToken | None:
    """A special token that is found anywhere in text, spaces around it or not, as the official tokenizer finds it."""
    content = str(given) if given is not None else pieces.id_to_piece(piece_id) if piece_id >= 0 else None
    return None if content is None else AddedToken(content, special=True, normalized=False)


def _role_pieces(pieces: sentencepiece.SentencePieceProcessor) -> tuple[str, str] | None:
    if len(pieces) <= ASSISTANT_TOKEN_ID or chat_rule(pieces.id_to_piece(USER_TOKEN_ID)) is None:
        return None
    return pieces.id_to_piece(USER_TOKEN_ID), pieces.id_to_piece(ASSISTANT_TOKEN_ID)


def _template(role_pieces: tuple[str, str] | None) -> str | None:
    rule = chat_rule(role_pieces[0]) if role_pieces else None
    return None if role_pieces is None or rule is None else chat_template(rule, *role_pieces)
