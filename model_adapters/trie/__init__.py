"""The token trie: requests to rows of distinct tokens. Index arithmetic only; no model, no text."""
