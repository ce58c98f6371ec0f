"""Which token ids stand for an answer label such as "A".

The published scripts do not rank the ids that the label has inside the prompt. Which encoding a benchmark publishes is
the task's business and stands in its documents (field ``label_tokens``); which ids that gives is the tokenizer's.

* ``isolated``: the last id of the label encoded alone, without the special tokens around a sequence, as Baichuan's
  C-Eval and MMLU scripts take it. With Baichuan 1's or Llama's dummy prefix this is the piece with a leading space (703
  for "A" in Baichuan 1), although the shots show the bare piece (31132); with byte-level BPE (GPT-2, Qwen) it is the
  bare piece.
* ``bare``: the id of the piece that is exactly the label, as the CMMLU script takes it. Byte-level vocabularies spell
  their pieces in characters of their own, which differ from the label where it is not ASCII.
* ``joint``: whatever ids the label has when context and label are encoded together: lm-eval's usual way.
"""

from __future__ import annotations

from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from ..errors import RequestError

ENCODINGS = ("isolated", "bare", "joint")


def check_encoding(name: Any, where: str) -> str:
    """Returns `name` if it is one of the three encodings.

    Raises:
        RequestError: It is not.
    """
    if name not in ENCODINGS:
        raise RequestError(f"{where}: label_tokens is {name!r}; expected one of {', '.join(ENCODINGS)}.")
    return str(name)


def label_id(tokenizer: Any, label: str, encoding: str) -> int:
    """Returns the one token id that stands for `label`.

    Args:
        tokenizer: A transformers tokenizer.
        label: The label without any delimiter, such as "A".
        encoding: ``isolated`` or ``bare``.

    Raises:
        RequestError: The vocabulary has no single piece for the label under this encoding.
    """
    if encoding == "isolated":
        ids = tokenizer.encode(label, add_special_tokens=False)
        found = ids[-1] if ids else None
    else:
        found = _piece_id(tokenizer, label)
        if found is None:
            found = _piece_id(tokenizer, _byte_level(label))
    if found is None or tokenizer.decode([found]).strip() != label:
        shown = "no piece" if found is None else f"piece {tokenizer.convert_ids_to_tokens(found)!r} ({found})"
        raise RequestError(
            f"Label {label!r} has no single token of its own under label_tokens={encoding}: found {shown}. "
            "The published protocol ranks single-token labels; use label_tokens=joint for other labels."
        )
    return int(found)


def _piece_id(tokenizer: Any, piece: str) -> int | None:
    found: int | None = tokenizer.convert_tokens_to_ids(piece)
    return None if found == tokenizer.unk_token_id else found


def _byte_level(text: str) -> str:
    """How byte-level BPE spells a text in its vocabulary."""
    return "".join(piece for piece, _ in ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))
