"""Evaluate Baichuan models with lm-evaluation-harness under the published protocol."""

__version__ = "0.1.0"
