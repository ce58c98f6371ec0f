"""Token ids of texts whose lines come again and again, as few-shot prompts do: every distinct line is encoded once.

A vocabulary whose only piece with a line break is the line break itself joins nothing across it, so a text's ids are
those of its lines, one after the other. Baichuan's vocabularies are of this kind (the line break is a user-defined
symbol of sentencepiece). `splits_at_lines` looks, and compares a few texts; where it says no, texts are encoded whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece
from numpy.typing import NDArray

_PROBES = (
    "", "\n", "\n\n", "a", "a\n", "\na", "a\nb", " a \n  b\t\n\n c ", "\n \n", "▁\n▁a", "　一\n　二　\n",
    "1. A\n2. B\n\nC", "答案：\nA. e\u0301\n\r\nﬁ \u00a0\n", "🙂\n\x00\n\ufffd", "the\nthe the\n the",
)  # fmt: skip
"""Texts that show a vocabulary which trims, normalises or marks words across lines."""


class LineEncoder:
    """Encodes texts line by line, and remembers the lines.

    Args:
        pieces: A vocabulary for which `splits_at_lines` is true.
    """

    def __init__(self, pieces: sentencepiece.SentencePieceProcessor) -> None:
        """Knows no line yet."""
        self._pieces = pieces
        self._before_break = max(0, len(pieces.encode("\n")) - 1)  # a dummy prefix, which only a text's beginning has
        self._beginnings: dict[str, bytes] = {}
        self._lines: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Returns the token ids of each text, those of `pieces.encode(text)`."""
        cut = [_cut(text) for text in texts]
        self._learn(self._beginnings, (beginning for beginning, _ in cut), "", 0)
        self._learn(self._lines, (line for _, lines in cut for line in lines), "\n", self._before_break)
        beginnings, known = self._beginnings, self._lines
        return [
            np.frombuffer(b"".join([beginnings[beginning], *[known[line] for line in lines]]), dtype=np.int32)
            for beginning, lines in cut
        ]

    def _learn(self, known: dict[str, bytes], texts: Iterable[str], before: str, skipped: int) -> None:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        for text, ids in zip(new, self._pieces.encode([before + text for text in new]), strict=True):
            known[text] = np.array(ids[skipped:], dtype=np.int32).tobytes()


def splits_at_lines(pieces: sentencepiece.SentencePieceProcessor) -> bool:
    """Whether a text's ids are always those of its lines: no piece reaches across a line break, and probes agree."""
    broken = [piece for piece in map(pieces.id_to_piece, range(len(pieces))) if "\n" in piece]
    if broken != ["\n"]:
        return False
    return all(
        ids.tolist() == pieces.encode(text)
        for text, ids in zip(_PROBES, LineEncoder(pieces).encode(_PROBES), strict=True)
    )


def _cut(text: str) -> tuple[str, list[str]]:
    """The beginning of a text, and what stands behind each line break after it."""
    beginning, *lines = text.split("\n")
    return (f"\n{lines[0]}", lines[1:]) if not beginning and lines else (beginning, lines)
