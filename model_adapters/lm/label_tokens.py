"""Which token ids stand for an answer label such as "A".

The published scripts do not rank the ids that the label has inside the prompt. Which encoding a benchmark publishes is
the task's business and stands in its documents (field ``label_tokens``); which ids that gives is the tokenizer's.

* ``isolated``: the last id of the label encoded alone, as Baichuan's C-Eval and MMLU scripts take it. With Baichuan 1's
  dummy prefix this is the piece with a leading space (703 for "A"), although the shots show the bare piece (31132).
* ``bare``: the id of the piece that is exactly the label, as the CMMLU script takes it.
* ``joint``: whatever ids the label has when context and label are encoded together: lm-eval's usual way.
"""

from __future__ import annotations

from typing import Any

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
        found = tokenizer.convert_tokens_to_ids(label)
        if found == tokenizer.unk_token_id:
            found = None
    if found is None or tokenizer.decode([found]).strip() != label:
        shown = "no piece" if found is None else f"piece {tokenizer.convert_ids_to_tokens(found)!r} ({found})"
        raise RequestError(
            f"Label {label!r} has no single token of its own under label_tokens={encoding}: found {shown}. "
            "The published protocol ranks single-token labels; use label_tokens=joint for other labels."
        )
    return int(found)
