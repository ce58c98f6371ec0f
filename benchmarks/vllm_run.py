"""vLLM's measurement for benchmarks/scoring.py, in the environment that has vLLM: its `--vllm-python` runs this file.

Reads what to measure as JSON on standard input, prints the figures as one line of JSON on standard output. Each
context is one prompt, whose labels' log-probabilities are asked for by their ids: the cheapest way to have them.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

Request = tuple[list[int], list[int]]


def scores(llm: Any, requests: list[Request]) -> list[float]:
    """Log-probability of the one-token continuation of each request."""
    from vllm import SamplingParams

    labels: dict[tuple[int, ...], list[int]] = {}
    for context, (label,) in requests:
        labels.setdefault(tuple(context), []).append(label)
    outputs = llm.generate(
        [{"prompt_token_ids": list(context)} for context in labels],
        [
            SamplingParams(max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=sorted(set(asked)))
            for asked in labels.values()
        ],
        use_tqdm=False,
    )
    told = {context: output.outputs[0].logprobs[0] for context, output in zip(labels, outputs, strict=True)}
    return [told[tuple(context)][label].logprob for context, (label,) in requests]


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Starts vLLM with its prefix cache, warms it up with other tokens, and scores the requests once."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    if order["threads"]:
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{order['threads'] - 1}")
    import torch
    import vllm

    start = time.perf_counter()
    llm = vllm.LLM(
        model=order["folder"], skip_tokenizer_init=True, dtype=order["dtype"], max_model_len=order["window"],
        enable_prefix_caching=True, logprobs_mode="raw_logprobs", max_logprobs=20,
    )  # fmt: skip
    started = time.perf_counter() - start
    requests = [(context, label) for context, label in json.loads(Path(order["requests"]).read_text())]
    scores(llm, [([5, *context[1:]], label) for context, label in requests[:4]])
    start = time.perf_counter()
    found = scores(llm, requests)
    seconds = time.perf_counter() - start
    versions = {"vllm": vllm.__version__, "torch": torch.__version__}
    return {"seconds": seconds, "start_seconds": started, "logprobs": found, "versions": versions}


if __name__ == "__main__":
    told = json.load(sys.stdin)
    print("\n" + json.dumps(measure(told)))
