"""The token trie: requests in, depth-first arrays and rows to run out. Pure index arithmetic on token ids."""

from .build import TokenTrie, build_trie
from .rows import Row, ancestors_within, cut_row
from .rule import visible

__all__ = ["Row", "TokenTrie", "ancestors_within", "build_trie", "cut_row", "visible"]
