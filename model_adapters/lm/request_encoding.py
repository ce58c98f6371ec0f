"""Requests of text become token ids: the published label tokens, prompts that fit, and every distinct text once.

Few-shot prompts share most of their text, and all answers to a question share its prompt. So texts are encoded in
batches: line by line where the tokenizer can (`baichuan.line_encoding`), by the tokenizer's own threads where it has
any, and one by one elsewhere. The ids are those of lm-eval's `tok_encode` in each case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import RequestError
from ..trie_scorer.trie.build import TokenIds
from .chat import ChatForm
from .label_tokens import check_encoding, label_id
from .prompt_shortening import fit, shot_layout
from .run_facts import RunFacts

Encoded = tuple[tuple[str, str] | None, TokenIds, TokenIds]
"""The request's context and continuation as text, or None for what has none of its own; token ids of both."""

_AT_ONCE = 4096
"""Requests whose texts are encoded in one batch."""


class RequestEncoding:
    """Encodes the requests of one model.

    Args:
        lm: The lm-eval model; its `tok_encode` must look into `known` first.
        facts: Where it is noted what became of the prompts.
        chat: The model's chat form.
        label_override: The label encoding instead of the one that a task publishes, if any.

    Attributes:
        known: Token ids of texts, `[tokens]`, while requests with them are encoded.
    """

    def __init__(self, lm: Any, facts: RunFacts, chat: ChatForm, label_override: str | None) -> None:
        """Knows no text yet."""
        self._lm, self._facts, self._chat, self._label_override = lm, facts, chat, label_override
        self.known: dict[str, NDArray[np.int32]] = {}
        self._fitted: dict[str, tuple[str, TokenIds]] = {}
        self._label_ids: dict[tuple[str, str], int] = {}

    def encode(self, requests: Sequence[Instance], *, hidden: bool = True) -> list[Encoded]:
        """Encodes log-likelihood requests.

        Args:
            requests: Instances whose ``args`` are (context, continuation).
            hidden: Whether to hide the progress bar.

        Raises:
            RequestError: A label has no token of its own, or a continuation is empty or longer than the window.
        """
        encoded: list[Encoded] = []
        self._batch = encode = self._batch_encoder()
        self._max_length, self._prefix = self._lm.max_length, self._lm.prefix_token_id  # asked for, they take a while
        try:
            with tqdm(total=len(requests), desc="Tokenizing", delay=1, leave=False, disable=hidden) as bar:
                for start in range(0, len(requests), _AT_ONCE):
                    some = requests[start : start + _AT_ONCE]
                    texts = list(dict.fromkeys(text for request in some for text in self._texts(request)))
                    self.known = dict(zip(texts, encode(texts), strict=True))
                    encoded += [self._encode(request) for request in some]
                    bar.update(len(some))
        finally:
            self.known, self._fitted, self._label_ids = {}, {}, {}
            del self._batch  # with the lines that it knows
        return encoded

    def _batch_encoder(self) -> Callable[[Sequence[str]], Iterable[NDArray[np.int32]]]:
        """What encodes many texts, each as the model's `tok_encode` does."""
        lm, tokenizer = self._lm, self._lm.tokenizer
        by_line: Callable[[Sequence[str]], Iterable[NDArray[np.int32]]] | None
        by_line = getattr(tokenizer, "batch_encoder", lambda: None)()
        if by_line is not None:
            return by_line

        def one_by_one(texts: Sequence[str]) -> Iterator[NDArray[np.int32]]:
            return (np.asarray(lm.tok_encode(text), dtype=np.int32) for text in texts)

        if not getattr(tokenizer, "is_fast", False):
            return one_by_one
        # As in lm-eval's tok_encode; which leaves special tokens out where a text brings the first along.
        options = {} if lm.add_bos_token is None else {"add_special_tokens": lm.add_bos_token}
        begins = tokenizer.decode(lm.prefix_token_id)

        def in_threads(texts: Sequence[str]) -> Iterator[NDArray[np.int32]]:
            usual = [text for text in texts if not text.startswith(begins)]
            found = iter(tokenizer(usual, **options)["input_ids"] if usual else ())
            for text in texts:
                ids = lm.tok_encode(text) if text.startswith(begins) else next(found)
                yield np.asarray(ids, dtype=np.int32)

        return in_threads

    def _texts(self, request: Instance) -> Iterator[str]:
        """The texts that `_encode` will ask the ids of, as a rule; any other is encoded when it is needed."""
        context, continuation = request.args
        if not context:
            return
        doc = _doc(request)
        joint = self._encoding(doc, request) == "joint"
        if not joint or "shot_lengths" in doc:
            yield context
        if joint:
            if self._lm.backend == "causal":
                yield context + continuation
            yield context.rstrip()

    def _encode(self, request: Instance) -> Encoded:
        context, continuation = request.args
        lm, doc, task = self._lm, _doc(request), request.task_name or "unnamed"
        encoding = self._encoding(doc, request)
        if "label_tokens" in doc and doc["label_tokens"] is not None:
            self._facts.label_encodings[encoding].add(task)
        context_ids: TokenIds = [self._prefix]
        continuation_ids: TokenIds
        if context and (encoding != "joint" or "shot_lengths" in doc):
            if context not in self._fitted:
                self._fitted[context] = self._fit(context, doc, task)
            context, context_ids = self._fitted[context]
        if encoding == "joint":
            context_ids, continuation_ids = self._jointly(context, continuation)
        else:
            continuation_ids = [self._label_id(continuation.strip(), encoding)]
        if not 0 < len(continuation_ids) <= self._max_length:
            raise RequestError(
                f"Task {task}: the continuation {continuation[:80]!r} has {len(continuation_ids)} tokens; expected 1 "
                f"to {self._max_length}, the context length of this model."
            )
        # A decoder reads context and continuation together, but for the last token, which it only predicts.
        window = self._max_length - (len(continuation_ids) - 1 if lm.backend == "causal" else 0)
        if len(context_ids) > window:
            self._facts.truncated[task].add(request.doc_id)
            context_ids = context_ids[-window:]
        return request.args, context_ids, continuation_ids

    def _label_id(self, label: str, encoding: str) -> int:
        if (label, encoding) not in self._label_ids:
            self._label_ids[label, encoding] = label_id(self._lm.tokenizer, label, encoding)
        return self._label_ids[label, encoding]

    def _encoding(self, doc: dict[str, Any], request: Instance) -> str:
        """How the continuation is encoded."""
        published = doc.get("label_tokens")
        if published is None:
            return "joint"
        return self._label_override or check_encoding(published, f"task {request.task_name or 'unnamed'}")

    def _jointly(self, context: str, continuation: str) -> tuple[TokenIds, TokenIds]:
        lm = self._lm
        if context:
            pair: tuple[TokenIds, TokenIds] = lm._encode_pair(context, continuation)
            return pair
        ids = lm.tok_encode(continuation, add_special_tokens=False)
        # As lm-eval does: an empty context is one prefix token, unless the continuation brings it along.
        return (ids[:1], ids[1:]) if ids[:1] == [self._prefix] else ([self._prefix], ids)

    def _fit(self, context: str, doc: dict[str, Any], task: str) -> tuple[str, TokenIds]:
        """Drops shots by the task's rule where the context is too long: its text and token ids."""
        ids = self._ids(context)
        published = int(doc.get("max_prompt_tokens") or 0)
        limit = min(self._max_length, published or self._max_length)
        layout = (self._chat.layout(context, doc) or shot_layout(context, doc)) if len(ids) > limit else None
        if layout is None:
            return context, ids
        text, loss = fit(layout, self._ids, published=published, window=self._max_length)
        if loss.shots:
            self._facts.shortened[task][loss] += 1
        return text, self._ids(text)

    def _ids(self, text: str) -> NDArray[np.int32]:
        """Token ids of a text that may not be known yet, `[tokens]`."""
        if text not in self.known:
            (self.known[text],) = self._batch([text])
        return self.known[text]


def _doc(request: Instance) -> dict[str, Any]:
    return request.doc if isinstance(request.doc, dict) else {}
