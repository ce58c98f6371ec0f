"""From requests to a trie of token ids in depth-first order."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import RequestError

# Big-endian ids compare byte by byte as they compare as numbers, so sorting their bytes sorts token sequences.
_KEY_DTYPE = np.dtype(">i4")

TokenIds = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True)
class TokenTrie:
    """Every distinct token of all requests once, in depth-first order, and where requests read their logits.

    Two requests share a node when they agree on that token and on all before it. Nodes of one request are a path from
    a root; several roots may stand side by side (requests that differ in their first token).

    Attributes:
        token: The token id of each node, `[nodes]`, int32.
        depth: Tokens before it in its requests, which is its position, `[nodes]`, int32.
        end: One past its last descendant, `[nodes]`, int64.
        parent: The node before it in its requests, -1 for a root, `[nodes]`, int64.
        read_node: Node at whose logits a read-out looks, ascending, `[reads]`, int64.
        read_target: The token id looked up there, `[reads]`, int64.
        read_request: The request it belongs to, `[reads]`, int64.
        reads_per_request: Number of read-outs (continuation tokens) of each request, `[requests]`, int64.
        sent_tokens: Tokens that would be run with nothing shared: the sum over distinct fed sequences.
    """

    token: NDArray[np.int32]
    depth: NDArray[np.int32]
    end: NDArray[np.int64]
    parent: NDArray[np.int64]
    read_node: NDArray[np.int64]
    read_target: NDArray[np.int64]
    read_request: NDArray[np.int64]
    reads_per_request: NDArray[np.int64]
    sent_tokens: int

    def __len__(self) -> int:
        """The number of nodes: distinct tokens to run."""
        return len(self.token)

    @functools.cached_property
    def depths(self) -> int:
        """The number of different depths: the longest request's tokens."""
        return int(self.depth.max(initial=-1)) + 1

    def reads_between(self, start: int, stop: int) -> slice:
        """The read-outs at nodes `start <= node < stop`, as a slice of the three read_ arrays."""
        low, high = np.searchsorted(self.read_node, [start, stop])
        return slice(int(low), int(high))


def build_trie(requests: Sequence[tuple[TokenIds, TokenIds]], max_length: int | None = None) -> TokenTrie:
    """Put all requests in one trie.

    A request is fed to the model as `context + continuation[:-1]`; the logits at `context[-1]` and after predict the
    continuation's tokens. Requests that feed the same tokens (the labels of one question, or the same question twice)
    share all nodes and differ in what they read. The result does not depend on the order of the requests, but for
    the request numbers in it.

    Args:
        requests: Pairs of context ids and continuation ids, both non-empty.
        max_length: The most tokens a request may feed; None for no limit.

    Returns:
        The trie in depth-first order; siblings by ascending token id.

    Raises:
        RequestError: A context or a continuation is empty, an id is no 32-bit number from 0 on, or a request feeds
            more than max_length tokens.
    """
    leaf_of: dict[bytes, list[int]] = {}  # fed sequence -> the requests that feed it
    last_context: TokenIds | None = None
    context_key = b""
    for index, (context, continuation) in enumerate(requests):
        if len(context) == 0:
            raise RequestError(
                f"Request {index} has an empty context, so no position predicts its first token. "
                "Put a prefix token (usually bos or eos) before the continuation."
            )
        if len(continuation) == 0:
            raise RequestError(f"Request {index} has an empty continuation; there is nothing to score.")
        fed = len(context) + len(continuation) - 1
        if max_length is not None and fed > max_length:
            raise RequestError(
                f"Request {index} feeds {fed} tokens ({len(context)} of context, {len(continuation)} of continuation "
                f"less the last), the model takes {max_length}. Shorten the context before scoring."
            )
        # The labels of one question follow each other with the same context; converting it once is most of the work.
        if context is not last_context:
            context_key = _key(context, index)
            last_context = context
        key = context_key if len(continuation) == 1 else context_key + _key(continuation[:-1], index)
        leaf_of.setdefault(key, []).append(index)
    return _lay_out(requests, leaf_of)


def _key(ids: TokenIds, index: int) -> bytes:
    return _ids(ids, index).astype(_KEY_DTYPE).tobytes()


def _ids(ids: TokenIds, index: int) -> NDArray[np.integer]:
    """The ids as an array; floats, booleans, text and nested lists are refused rather than rounded."""
    array = np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > np.iinfo(np.int32).max:
        raise RequestError(
            f"Request {index}: token ids must be a flat list of whole numbers from 0 to 2**31 - 1, "
            f"found {str(ids)[:80]}."
        )
    return array


def _lay_out(requests: Sequence[tuple[TokenIds, TokenIds]], leaf_of: dict[bytes, list[int]]) -> TokenTrie:
    """Walk the fed sequences in lexicographic order; each adds the nodes past its common prefix with the one before."""
    keys = sorted(leaf_of)
    sequences = [np.frombuffer(key, dtype=_KEY_DTYPE) for key in keys]
    shared = [0] * len(keys)
    for k in range(1, len(keys)):
        shared[k] = common_prefix(sequences[k - 1], sequences[k])
    size = sum(len(sequence) - lcp for sequence, lcp in zip(sequences, shared, strict=True))

    token = np.empty(size, dtype=np.int32)
    depth = np.empty(size, dtype=np.int32)
    end = np.empty(size, dtype=np.int64)
    parent = np.empty(size, dtype=np.int64)
    reads = sum(len(continuation) for _, continuation in requests)
    read_node = np.empty(reads, dtype=np.int64)
    read_target = np.empty(reads, dtype=np.int64)
    read_request = np.empty(reads, dtype=np.int64)

    path = np.empty(max(map(len, sequences), default=0), dtype=np.int64)  # the nodes of the current sequence
    start, read, previous_length = 0, 0, 0
    for key, sequence, lcp in zip(keys, sequences, shared, strict=True):
        length = len(sequence)
        stop = start + length - lcp
        end[path[lcp:previous_length]] = start  # what the previous sequence had to itself is finished
        path[lcp:length] = np.arange(start, stop)
        token[start:stop] = sequence[lcp:]
        depth[start:stop] = np.arange(lcp, length)
        parent[start:stop] = np.arange(start - 1, stop - 1)
        parent[start] = path[lcp - 1] if lcp else -1
        for index in leaf_of[key]:
            continuation = requests[index][1]
            count = len(continuation)
            read_node[read : read + count] = path[length - count : length]
            read_target[read : read + count] = _ids(continuation, index)
            read_request[read : read + count] = index
            read += count
        start, previous_length = stop, length
    end[path[:previous_length]] = size

    order = np.argsort(read_node, kind="stable")
    return TokenTrie(
        token=token,
        depth=depth,
        end=end,
        parent=parent,
        read_node=read_node[order],
        read_target=read_target[order],
        read_request=read_request[order],
        reads_per_request=np.bincount(read_request, minlength=len(requests)).astype(np.int64),
        sent_tokens=sum(map(len, sequences)),
    )


def common_prefix(a: NDArray[np.integer], b: NDArray[np.integer]) -> int:
    """The number of tokens that two sequences of ids begin with alike."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
