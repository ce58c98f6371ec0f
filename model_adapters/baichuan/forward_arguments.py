"""What the forward passes accept: the KV cache under either of its names, and no request that is not carried out."""

from __future__ import annotations

from transformers import Cache


def one_cache(cache: Cache | None, past_key_values: Cache | None) -> Cache | None:
    """The KV cache, under whichever name it came.

    Raises:
        ValueError: It came under both.
    """
    if cache is not None and past_key_values is not None:
        raise ValueError("cache and past_key_values are two names of the KV cache. Pass one of them.")
    return past_key_values if cache is None else cache


def refuse_requests(**carried_out: bool) -> None:
    """Stops where a keyword asks for something that this model does not compute.

    Args:
        carried_out: For each keyword whether what it asks for is done.

    Raises:
        TypeError: Names the first that is not.
    """
    for keyword, done in carried_out.items():
        if not done:
            raise TypeError(f"forward() does not compute what {keyword} asks for. Leave the argument out.")
