"""The answers: Baichuan checkpoints in, log-likelihoods out. Knows no benchmark."""
