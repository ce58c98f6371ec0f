"""lm-eval's models: thin subclasses of `HFLM` over the families and the trie scorer."""
