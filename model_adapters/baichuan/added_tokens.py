"""Special and added tokens against the pieces of ``tokenizer.model``: which are obeyed, and with what id.

A token that is no piece gets an id after the pieces, as transformers gives it. A token that is a piece keeps the
piece's id. What ordinary text may hold must not be declared special: text is cut at such tokens, and the parts would
have other ids than the whole has in sentencepiece.
"""

from __future__ import annotations

import re

import sentencepiece
from transformers import AddedToken

from ..errors import TokenizerError
from .tokenizer_files import NAMED_TOKENS, StatedToken, TokenizerFiles

_A_TOKENS_NAME = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")  # <reserved_102>, [PAD]


def added_tokens(files: TokenizerFiles, pieces: sentencepiece.SentencePieceProcessor) -> dict[int, AddedToken]:
    """The tokens at which text is cut, by id.

    Special tokens that are pieces of the model file are found anywhere, spaces around them or not, as the official
    tokenizer finds them; the flags of others are obeyed.

    Args:
        files: What the folder says.
        pieces: The model file.

    Raises:
        TokenizerError: A declared token takes the id of another piece, or is a piece that ordinary text holds.
    """
    specials = [files.named[name] for name in NAMED_TOKENS if name in files.named] + files.extra
    special_texts = {token.content for token in specials}
    result: dict[int, AddedToken] = {}
    declared: dict[str, int] = {}
    for number, token in sorted(files.added.items()):
        if declared.setdefault(token.content, number) != number:
            raise TokenizerError(
                f"{token.where}: {token.content!r} is declared twice, with the ids {declared[token.content]} and "
                f"{number}. Correct the file."
            )
        own = _piece_id(token, pieces)
        if own is not None and own != number:
            raise TokenizerError(
                f"{token.where}: declares {token.content!r} as token {number}, but it is piece {own} of "
                "tokenizer.model. Remove the entry, or use the tokenizer.model that belongs to this file."
            )
        if own is None and number < len(pieces) and not pieces.id_to_piece(number).startswith("<reserved_"):
            raise TokenizerError(
                f"{token.where}: gives {token.content!r} the id {number}, which is piece "
                f"{pieces.id_to_piece(number)!r} of tokenizer.model. Remove the entry, or use the tokenizer.model that "
                "belongs to this file."
            )
        if own is None:
            result[number] = _added(token, special=token.special or token.content in special_texts)
        elif token.special or token.content in special_texts:
            result[number] = _special_piece(token, own, pieces)
        # A piece that is not special needs no declaration: converted vocabularies declare all user-defined symbols.
    following = len(pieces) + sum(number >= len(pieces) for number in result)
    for token in specials:
        own = _piece_id(token, pieces)
        if token.content in declared:
            continue
        if own is None:
            while following in result:
                following += 1
            own = following
            result[own] = _added(token, special=True)
        else:
            result[own] = _special_piece(token, own, pieces)
        declared[token.content] = own
    return result


def _piece_id(token: StatedToken, pieces: sentencepiece.SentencePieceProcessor) -> int | None:
    found = pieces.piece_to_id(token.content)
    return found if pieces.id_to_piece(found) == token.content else None


def _special_piece(token: StatedToken, number: int, pieces: sentencepiece.SentencePieceProcessor) -> AddedToken:
    outside_text = pieces.is_control(number) or pieces.is_unknown(number) or pieces.is_unused(number)
    if not outside_text and (pieces.is_byte(number) or not _A_TOKENS_NAME.fullmatch(token.content)):
        raise TokenizerError(
            f"{token.where}: declares {token.content!r} as a special token, but it is the ordinary piece {number} of "
            "tokenizer.model: text that holds it would get other ids than sentencepiece gives. Remove the entry, or "
            "name a token that text does not hold."
        )
    return AddedToken(token.content, special=True, normalized=False)


def _added(token: StatedToken, *, special: bool) -> AddedToken:
    return AddedToken(
        token.content,
        special=special,
        normalized=token.normalized and not special,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        single_word=token.single_word,
    )
