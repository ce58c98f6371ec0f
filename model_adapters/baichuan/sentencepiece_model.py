"""Loads a sentencepiece model file, or says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import sentencepiece

from ..errors import TokenizerError


def load_pieces(vocab_file: str | None) -> sentencepiece.SentencePieceProcessor:
    """Reads ``tokenizer.model`` with sentencepiece's default options, which alone give the ids of the training.

    Raises:
        TokenizerError: The file is missing or damaged.
    """
    if not vocab_file or not Path(vocab_file).is_file():
        raise TokenizerError(
            f"{vocab_file or 'tokenizer.model'}: no such file. A Baichuan checkpoint needs its sentencepiece model "
            "tokenizer.model; copy it from the original checkpoint or pass tokenizer=FOLDER."
        )
    pieces = sentencepiece.SentencePieceProcessor()
    try:
        pieces.Load(str(vocab_file))
    except (RuntimeError, OSError, UnicodeDecodeError) as error:  # the reason itself may be no UTF-8
        raise TokenizerError(
            f"{vocab_file}: not a readable sentencepiece model ({error}). Download the file again."
        ) from error
    try:
        pieces.id_to_piece(list(range(len(pieces))))
    except UnicodeDecodeError as error:
        raise TokenizerError(
            f"{vocab_file}: a sentencepiece model with a piece that is not UTF-8 ({error.reason}). It is damaged: "
            "download the file again."
        ) from error
    if not 0 <= pieces.unk_id() < len(pieces):
        raise TokenizerError(
            f"{vocab_file}: a sentencepiece model of {len(pieces)} pieces, without one for what is unknown. It is "
            "damaged: download the file again."
        )
    return pieces
