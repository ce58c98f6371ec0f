"""Compares a tokenizer with sentencepiece on its ``tokenizer.model``, on a few texts, at every load of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from .sentencepiece_model import load_pieces
from .tokenizer_files import CONFIG, FAST

LABELS = ("A", "B", "C", "D")
TEXTS = (
    *LABELS,
    *(f" {label}" for label in LABELS),
    "What is your name?",
    "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n下列说法正确的是____。",
    "\nA. 0.5\nB. 10%\nC. ①②\nD. 以上都不对\n答案：A",
    "questions (with answers) about  law.\n\nx<br>y\tz   end\nAnswer: B\n\n",
    "題目：𝒜é☃ＡＢ１２ <b>1</b>\r\n答案是：C\n",
)
"""Both forms of the labels, and prompts: white space, digits, user-defined symbols, characters that fall to bytes."""


def check_ids(tokenizer: Any, model_file: Path) -> None:
    """Stops where a tokenizer gives other ids than sentencepiece on `model_file`.

    Args:
        tokenizer: A transformers tokenizer.
        model_file: The ``tokenizer.model`` that it should follow.

    Raises:
        TokenizerError: It gives other ids for a text or for the bare piece of a label.
    """
    pieces = load_pieces(str(model_file))
    # One by one and as a batch: transformers and this package take different ways for the two.
    batch = tokenizer(list(TEXTS), add_special_tokens=False)["input_ids"]
    for text, in_batch in zip(TEXTS, batch, strict=True):
        expected = pieces.encode(text)
        for found in (tokenizer.encode(text, add_special_tokens=False), in_batch):
            if list(found) != expected:
                raise _difference(tokenizer, model_file, text, list(found), expected)
    for label in LABELS:
        bare = tokenizer.convert_tokens_to_ids(label)
        if bare != pieces.piece_to_id(label) and pieces.piece_to_id(label) != pieces.unk_id():
            raise _difference(tokenizer, model_file, label, [bare], [pieces.piece_to_id(label)])


def check_own_ids(tokenizer: Any) -> None:
    """Does `check_ids` for a tokenizer that was read elsewhere, if it knows of a ``tokenizer.model`` of its own.

    Raises:
        TokenizerError: It gives other ids than sentencepiece on that file.
    """
    folder = Path(tokenizer.name_or_path or "nowhere")
    for file in (Path(getattr(tokenizer, "vocab_file", None) or "nowhere"), folder / "tokenizer.model"):
        if file.name == "tokenizer.model" and file.is_file():
            check_ids(tokenizer, file)
            return


def _difference(tokenizer: Any, model_file: Path, text: str, found: list[int], expected: list[int]) -> TokenizerError:
    declared = [token for token in tokenizer.get_added_vocab() if token in text]
    if declared:
        blame = (
            f"{model_file.parent / CONFIG} or a file beside it declares {declared[0]!r} as a token of its own, at "
            "which text is cut: remove that entry."
        )
    else:
        blame = (
            f"The tokenizer is a {type(tokenizer).__name__}, probably a vocabulary converted to {FAST}: leave "
            "tokenizer= out, so that tokenizer.model itself is used."
        )
    return TokenizerError(
        f"{text!r} has the token ids {found}, but sentencepiece gives {expected} with {model_file}. {blame}"
    )
