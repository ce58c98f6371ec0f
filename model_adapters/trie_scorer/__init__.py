"""Runs a model over the token trie and reads out log-likelihoods."""

from .certificate import Certificate, certify_scores, joined
from .generation_certificate import certify_generation
from .progress import Progress
from .reference import score_one_by_one
from .scorer import Score, TrieScorer

__all__ = [
    "Certificate",
    "Progress",
    "Score",
    "TrieScorer",
    "certify_generation",
    "certify_scores",
    "joined",
    "score_one_by_one",
]
