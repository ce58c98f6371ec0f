"""Names of transformers that its releases have moved or keep private."""

from __future__ import annotations

import inspect

from transformers.masking_utils import create_causal_mask

CACHE_KEYWORD = "cache" if "cache" in inspect.signature(create_causal_mask).parameters else "past_key_values"
"""How models, masks and outputs name the KV cache: ``cache`` since 5.24, ``past_key_values`` before."""
