"""The questions: one folder a benchmark, in lm-evaluation-harness's own YAML form."""
