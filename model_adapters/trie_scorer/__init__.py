"""Runs a model over the token trie and reads out log-likelihoods."""

from .progress import Progress
from .reference import score_one_by_one
from .scorer import Score, TrieScorer

__all__ = ["Progress", "Score", "TrieScorer", "score_one_by_one"]
