"""The answers: checkpoints in, log-likelihoods out. Knows no benchmark."""
