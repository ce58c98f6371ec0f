"""Tokens that a tokenizer has and the model's embedding has not.

Checkpoints are often saved with added tokens that the model was never resized for: the official Baichuan2-7B folders
bring ``<pad>`` with the first id after the embedding, and many fine-tunes ``[PAD]``. Only text that really holds such a
token cannot be asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import RequestError, TokenizerError
from ..trie_scorer.trie.build import TokenIds

_SHOWN = 12


class EmbeddingRows:
    """How many tokens the model has an embedding for, beside what its tokenizer may give.

    Args:
        tokenizer: A transformers tokenizer. If its padding token has no embedding, another token becomes the padding
            token: a batch is filled up with it, and what is padding is masked.
        model: A transformers model.
    """

    def __init__(self, tokenizer: Any, model: Any) -> None:
        """Compares the two."""
        self._tokenizer = tokenizer
        self._rows = int(model.get_input_embeddings().weight.shape[0])
        self._all_inside = max([tokenizer.vocab_size - 1, *tokenizer.get_added_vocab().values()]) < self._rows
        if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= self._rows:
            others = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, 0)
            tokenizer.pad_token_id = next(other for other in others if other is not None and other < self._rows)

    def require_all_but_added(self) -> None:
        """Stops where the tokenizer belongs to another model: its vocabulary as trained is larger than the embedding.

        Raises:
            TokenizerError: It is.
        """
        if self._tokenizer.vocab_size > self._rows:
            raise TokenizerError(
                f"The tokenizer has {self._tokenizer.vocab_size} tokens, but the model's embedding has {self._rows} "
                "rows: some text would have no embedding. Use the tokenizer that belongs to this checkpoint "
                "(tokenizer=FOLDER)."
            )

    def check(self, sequences: Iterable[TokenIds]) -> None:
        """Stops at an id without an embedding.

        Args:
            sequences: Token ids of requests.

        Raises:
            RequestError: An id has no embedding.
        """
        if self._all_inside:
            return
        for ids in map(np.asarray, sequences):
            places = np.flatnonzero(ids >= self._rows)
            if not len(places):
                continue
            place = int(places[0])
            token_id = int(ids[place])
            token = self._tokenizer.convert_ids_to_tokens(token_id)
            around = self._tokenizer.decode(ids[max(0, place - _SHOWN) : place + _SHOWN].tolist())
            raise RequestError(
                f"The text {around!r} has the token {token!r} (id {token_id}), but the model's embedding has "
                f"{self._rows} rows: the token was added to the tokenizer, and the model was not resized for "
                "it. Leave the token out of the text, or use a checkpoint that has it."
            )
