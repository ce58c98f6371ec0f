"""Runs a model over the token trie and reads out log-likelihoods."""
