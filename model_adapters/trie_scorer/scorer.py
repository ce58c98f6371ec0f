"""TrieScorer: log-likelihoods of many requests, every distinct token run once."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import nn

from ..errors import NonFiniteLogitsError, OptionError, RequestError, UnsupportedModelError
from ..hosts.accelerate import input_device
from ..hosts.transformers import attending_by, tensor_parallel_size
from .attention import Attend, DenseAttention
from .budget import automatic_token_budget, is_out_of_memory
from .flex import FlexAttention, Layout
from .merged_attention import MergedAttention
from .nonfinite import non_finite_error
from .path_cache import PathCache
from .progress import Progress
from .read_out import NonFiniteAtError, logits_in_parts, read_out
from .reference import score_one_by_one
from .refusals import decoder_of, plain_model, same_rope_up_to
from .row_attention import ATTENTION_NAME, RowAttention, running
from .trie import Row, TokenTrie, ancestors_within, build_trie, cut_row
from .trie.build import TokenIds

AttentionKind = Literal["blockwise", "dense", "flex"]


def check_attention(kind: str) -> None:
    """Refuses what is no way to compute attention.

    Raises:
        OptionError: It is none.
    """
    kinds = ("auto", *get_args(AttentionKind))
    if kind not in kinds:
        raise OptionError(f"attention is {kind!r}; expected one of {', '.join(kinds)}.")


class Score(NamedTuple):
    """The answer to one request.

    Attributes:
        request: Its number, counted from 0.
        logprob: Log-likelihood of the continuation given the context, in nats, summed over its tokens.
        is_greedy: Whether every token of the continuation is the arg-max.
    """

    request: int
    logprob: float
    is_greedy: bool


class TrieScorer:
    """Scores requests over a trie of their tokens.

    Works with any causal model whose attention goes through transformers' attention interface: full, sliding or
    chunked, with softcaps or sinks, values of any width; positions by RoPE or learned, or by ALiBi with an
    `alibi_slopes` attribute on the attention layers. docs/families.md lists the families.

    Attributes:
        attention: How attention is computed: "blockwise", "dense" or "flex".
        token_budget: Tokens in one row; smaller after an out-of-memory.
        max_length: The most tokens a request may feed.
        same_rope_up_to: The most tokens for which the rotary frequencies do not depend on a request's length, in models
            where they do ("longrope", "dynamic"); None elsewhere. `build` refuses longer requests.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        max_length: int,
        token_budget: int | Literal["auto"] = "auto",
        attention: AttentionKind | Literal["auto"] = "auto",
    ) -> None:
        """Prepares a model for scoring; its weights and settings stay as they are.

        Args:
            model: A loaded causal language model in eval mode, or a peft model around one.
            max_length: The most tokens a request may feed, the model's context length as a rule.
            token_budget: Tokens to run at once, or "auto" to choose by free memory.
            attention: "blockwise" (what many queries share without a mask, the rest in blocks; best on CPU), "flex"
                (FlexAttention's compiled kernel, best on CUDA), "dense" (one mask over the whole row, for comparison),
                or "auto": flex on CUDA, blockwise elsewhere.

        Raises:
            OptionError: An argument is out of range.
            UnsupportedModelError: The trie cannot serve the model; why, and the way round.
        """
        self._model = plain_model(model)
        self._decoder = decoder_of(self._model)
        self._calls = 0
        self._alibi = any(getattr(module, "alibi_slopes", None) is not None for module in self._decoder.modules())
        if token_budget != "auto" and token_budget < 1:
            raise OptionError(f"token_budget is {token_budget}; expected at least 1 token, or 'auto'.")
        check_attention(attention)
        self._shares_layers = tensor_parallel_size(self._model) > 1
        embedding: Any = self._model.get_input_embeddings()
        self._embedding: torch.Tensor = embedding.weight
        self._device = input_device(self._model)
        self.max_length = max_length
        self.attention: str = (
            ("flex" if self._device.type == "cuda" else "blockwise") if attention == "auto" else attention
        )
        self.token_budget: int = (
            automatic_token_budget(self._model, max_length, self._device) if token_budget == "auto" else token_budget
        )
        self._layout: Layout | None = None
        self.same_rope_up_to = same_rope_up_to(self._model)
        self._try_it()

    def score(
        self,
        requests: Sequence[tuple[TokenIds, TokenIds]],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Score]:
        """Scores all requests, yielding each as soon as it is known.

        Args:
            requests: Pairs of context ids and continuation ids, both non-empty.
            on_progress: Called at the start and after every row.

        Yields:
            The score of each request once, in the order of the trie, not of the requests.

        Raises:
            RequestError: A request is empty, too long, or has an id outside the vocabulary.
            UnsupportedModelError: A request is longer than `same_rope_up_to`.
            NonFiniteLogitsError: The model returned NaN or infinity.
            torch.OutOfMemoryError: Not even a row of one token fits.
        """
        yield from self.score_trie(self.build(requests), on_progress)

    def build(self, requests: Sequence[tuple[TokenIds, TokenIds]]) -> TokenTrie:
        """Puts requests in one trie that this model can run.

        Args:
            requests: Pairs of context ids and continuation ids, both non-empty.

        Raises:
            RequestError: A request is empty, too long, or has an id outside the vocabulary.
            UnsupportedModelError: A request is longer than `same_rope_up_to`.
        """
        trie = build_trie(requests, self.max_length)
        self._check_vocabulary(trie)
        if self.same_rope_up_to is not None and trie.depths > self.same_rope_up_to:
            raise UnsupportedModelError(
                f"A request feeds {trie.depths} tokens; beyond {self.same_rope_up_to} the rotary frequencies of this "
                f"model depend on a request's length. Use trie=False, or max_length={self.same_rope_up_to}."
            )
        return trie

    def score_trie(
        self,
        trie: TokenTrie,
        on_progress: Callable[[Progress], None] | None = None,
        most_tokens: int | None = None,
    ) -> Iterator[Score]:
        """Scores all requests of a trie; see `score`.

        Args:
            trie: From `build`.
            on_progress: Called at the start and after every row.
            most_tokens: Cut rows this short, where the token budget would allow longer ones.
        """
        requests = len(trie.reads_per_request)
        progress = Progress(requests, len(trie), trie.sent_tokens, self.token_budget)
        if on_progress:
            on_progress(progress)
        cache, self._layout = PathCache(), None
        logprob = np.zeros(requests)
        is_greedy = np.ones(requests, dtype=bool)
        reads_left = trie.reads_per_request.copy()
        start, path = 0, np.empty(0, dtype=np.int64)
        while start < len(trie):
            row, (row_logprob, row_greedy) = self._run_what_fits(trie, start, path, cache, most_tokens)
            reads = trie.reads_between(row.start, row.stop)
            request = trie.read_request[reads]
            np.add.at(logprob, request, row_logprob)
            np.logical_and.at(is_greedy, request, row_greedy)
            np.subtract.at(reads_left, request, 1)
            done = [int(index) for index in dict.fromkeys(request.tolist()) if reads_left[index] == 0]
            start, path = row.stop, row.keys[row.keep]
            progress.tokens_done, progress.token_budget = row.stop, self.token_budget
            progress.requests_done += len(done)
            if on_progress:
                on_progress(progress)
            for index in done:
                yield Score(index, float(logprob[index]), bool(is_greedy[index]))

    def _try_it(self) -> None:
        """Runs a trie of a few tokens in two rows, so that what a model asks of its attention is known at once.

        Raises:
            UnsupportedModelError: The model cannot run so.
        """
        trie = build_trie([([1, 2, 3][: self.max_length], [1]), ([1, 2, 4][: self.max_length], [1])])
        cache = PathCache()
        start, path = 0, np.empty(0, dtype=np.int64)
        try:
            while start < len(trie):
                row = cut_row(trie, start, path, 3)
                self._run(trie, row, cache)
                cache.commit()
                start, path = row.stop, row.keys[row.keep]
        except UnsupportedModelError as error:
            name = type(self._model).__name__
            raise UnsupportedModelError(str(error) if name in str(error) else f"{name}: {error}") from error
        except NonFiniteLogitsError:
            return  # scoring meets it again and stops there, if its requests do
        except Exception as error:
            if is_out_of_memory(error):
                return  # scoring meets it with shorter rows
            score_one_by_one(self._model, [([1, 2, 3][: self.max_length], [1])])  # raises what has no need of the trie
            raise UnsupportedModelError(
                f"{type(self._model).__name__} does not run with the attention of the trie "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}). Use trie=False."
            ) from error

    def _check_vocabulary(self, trie: TokenTrie) -> None:
        pieces = len(self._embedding)
        for name, ids in (("context", trie.token), ("continuation", trie.read_target)):
            if len(ids) and ids.max() >= pieces:
                raise RequestError(
                    f"A {name} holds token id {ids.max()}, but the model's embedding has {pieces} rows. "
                    "The tokenizer does not belong to this model."
                )

    def _run_what_fits(
        self, trie: TokenTrie, start: int, path: np.ndarray, cache: PathCache, most_tokens: int | None
    ) -> tuple[Row, tuple[np.ndarray, np.ndarray]]:
        """Runs the next row, halving the budget until it fits in memory."""
        while True:
            row = cut_row(trie, start, path, min(self.token_budget, most_tokens or self.token_budget))
            try:
                answer = self._run(trie, row, cache)
            except Exception as error:
                cache.discard()
                # Devices that share every layer must run the same rows: one cannot halve its own alone.
                if self.token_budget == 1 or self._shares_layers or not is_out_of_memory(error):
                    raise
                # Only the text of the error leaves this block: the error itself holds the row's tensors.
                message = f"{type(error).__name__}: {error}".partition("\n")[0]
            else:
                cache.commit()
                return row, answer
            # A row may be shorter than the budget; halving what did not fit is what helps.
            self.token_budget = max(1, len(row) // 2)
            warnings.warn(
                f"Out of memory with {len(row)} tokens at once; continuing with {self.token_budget} ({message})",
                RuntimeWarning,
                stacklevel=3,
            )
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    @torch.inference_mode()
    def _run(self, trie: TokenTrie, row: Row, cache: PathCache) -> tuple[np.ndarray, np.ndarray]:
        """One forward pass over a row: log-probability and arg-max flag of its read-outs, `[reads]` each."""
        reads = trie.reads_between(row.start, row.stop)
        position = torch.from_numpy(trie.read_node[reads] - row.start)
        target = torch.from_numpy(trie.read_target[reads])

        nodes = slice(row.start, row.stop)
        token = torch.from_numpy(trie.token[nodes]).to(self._device, torch.int64)[None]
        depth = torch.from_numpy(trie.depth[nodes]).to(self._device, torch.int64)[None]
        # Without a mask of ones, restarting positions are taken for packed sequences.
        ones = torch.ones_like(token)
        inputs = {"input_ids": token, "position_ids": depth, "attention_mask": ones, "use_cache": False}
        attention = RowAttention(self._kind(), trie, row, cache, alibi=self._alibi)
        logits_at = partial(logits_in_parts, self._model, self._decoder, inputs)
        try:
            with attending_by(self._decoder, ATTENTION_NAME), running(attention):
                logprob, is_greedy = read_out(logits_at, position, target)
        except NonFiniteAtError as bad:
            node = bad.node
        else:
            self._check_calls(attention.calls)
            return logprob.numpy(), is_greedy.numpy()
        keys = row.keys[: len(row.path) + node + 1]
        request = [*keys[ancestors_within(trie, keys, row.start + node)], row.start + node]
        raise non_finite_error(self._model, torch.from_numpy(trie.token[request])[None].to(self._device))

    def _check_calls(self, calls: int) -> None:
        """Every row must attend equally often, or a call does not find its own path."""
        if calls != (self._calls or calls) or not calls:
            raise UnsupportedModelError(
                f"{type(self._model).__name__} attends {calls} times in a row of the trie"
                f"{f', {self._calls} times in the row before' if calls else ' through the attention interface'}. "
                "Use trie=False."
            )
        self._calls = calls

    def _kind(self) -> Callable[..., Attend]:
        if self.attention != "flex":
            return MergedAttention if self.attention == "blockwise" else DenseAttention
        if self._layout is None or self._layout.most_queries != self.token_budget:
            self._layout = Layout(self.token_budget, self.max_length + self.token_budget)
        return partial(FlexAttention, layout=self._layout)
