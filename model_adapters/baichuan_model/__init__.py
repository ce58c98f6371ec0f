"""The Baichuan model family for current transformers: configuration, model, tokenizer, chat format, checkpoints."""
