"""The demo models' vocabulary: a small SentencePiece model that behaves like Baichuan-7B's where it matters.

A dummy prefix (so a letter encoded alone is another piece than the letter inside a prompt), user-defined symbols,
byte fallback for everything else, no normalisation, white space kept. Every word of an option is one piece.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import sentencepiece
from questions import LETTERS, SUBJECTS, make_question, prompt, told

SEED = 20261
PIECES = 512


def sentences(seed: int) -> Iterator[str]:
    """Yield what the pieces are learned from: prompts, and the letters alone as often as it takes to be pieces."""
    rng = random.Random(seed)  # noqa: S311 - reproducible text, no secrets
    for _ in range(300):
        for subject in SUBJECTS.values():
            kind = rng.choice(sorted(subject.kinds))
            shot, question = (make_question(rng, subject, kind) for _ in range(2))
            yield prompt(subject, [shot], told(question, kind))
    for letter in LETTERS:
        yield from [letter] * 2000


def train_vocabulary(seed: int = SEED) -> bytes:
    """Train the SentencePiece model and return its file's content; the same seed gives the same pieces."""
    kinds = [kind for subject in SUBJECTS.values() for kind in subject.kinds]
    words = [word for subject in SUBJECTS.values() for words in subject.kinds.values() for word in words]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(seed),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        # "▁" is SentencePiece's space: the words stand behind one, as in "A. 苹果".
        user_defined_symbols=["\n", *kinds, *("▁" + word for word in words)],
        byte_fallback=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        character_coverage=1.0,
        num_threads=1,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    return model.getvalue()
