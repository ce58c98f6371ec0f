"""llama.cpp's measurement for benchmarks/scoring.py: its `--llama-cpp-python` runs this file, with cyllama and gguf.

Reads what to measure as JSON on standard input, prints the figures as one line of JSON on standard output. One slot, as
llama-server keeps one: of the prompt before, what the next one begins with stays in the KV cache, the rest is dropped
and the prompt's own tokens are computed.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cyllama.llama import llama_cpp
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors import safe_open

Request = tuple[list[int], list[int]]

# llama.cpp's names of a Llama's tensors, by transformers' (gguf-py's tensor_mapping.py)
LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name: str) -> str:
    """What llama.cpp calls a tensor of transformers' Llama."""
    stem, weight = name.rsplit(".", 1)
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{weight}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}.{weight}"


def write_gguf(folder: Path, path: Path) -> None:
    """A Llama checkpoint in float32 as one file of llama.cpp, without a vocabulary: only token ids are asked."""
    config = json.loads((folder / "config.json").read_text())
    heads = config["num_attention_heads"]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it can't be iterated
                tensor = tensors.get_tensor(name)
                if tensor.dtype != np.float32:
                    raise SystemExit(f"{file}: {name} is {tensor.dtype}; llama.cpp is measured in float32 only.")
                if ".q_proj." in name or ".k_proj." in name:
                    # transformers turns the halves of a head against each other, llama.cpp its even and odd rows
                    # (llama.cpp's convert_hf_to_gguf.py)
                    tensor = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
                writer.add_tensor(gguf_name(name), np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def open_context(path: Path, window: int, threads: int) -> Any:
    """The model with its KV cache in float32, for one sequence."""
    llama_cpp.ggml_backend_load_all()
    model = llama_cpp.LlamaModel(str(path), llama_cpp.LlamaModelParams())
    params = llama_cpp.LlamaContextParams()
    params.n_ctx = params.n_batch = window
    params.n_threads = params.n_threads_batch = threads or os.cpu_count()
    params.type_k = params.type_v = int(GGMLQuantizationType.F32)
    params.flash_attn_type = 0  # off: its fused attention rounds keys and values to half precision
    return llama_cpp.LlamaContext(model, params)


def scores(context: Any, requests: list[Request]) -> list[float]:
    """Log-probability of the one-token continuation of each request."""
    labels: dict[tuple[int, ...], dict[int, float]] = {}
    for tokens, (label,) in requests:
        labels.setdefault(tuple(tokens), {})[label] = 0.0
    context.kv_cache_clear()
    held: tuple[int, ...] = ()
    for tokens, asked in labels.items():
        pairs = zip(held, tokens, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(held), len(tokens)))
        shared = min(shared, len(tokens) - 1)
        context.memory_seq_rm(0, shared, -1)
        batch = llama_cpp.LlamaBatchExt(context)
        for position in range(shared, len(tokens)):
            batch.add_token(tokens[position], position, output=position == len(tokens) - 1)
        context.process(batch)
        held = tokens
        logits = np.asarray(context.get_logits_ith(-1), np.float64)
        top = logits.max()
        normalizer = top + np.log(np.exp(logits - top).sum())
        asked.update({label: float(logits[label] - normalizer) for label in asked})
    return [labels[tuple(tokens)][label] for tokens, (label,) in requests]


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Writes the checkpoint in llama.cpp's form if it isn't there, loads it, warms up, and scores the requests once."""
    path = Path(order["folder"]).with_suffix(".gguf")
    if not path.exists():
        write_gguf(Path(order["folder"]), path)
    start = time.perf_counter()
    context = open_context(path, order["window"], order["threads"])
    started = time.perf_counter() - start
    requests = [(context, label) for context, label in json.loads(Path(order["requests"]).read_text())]
    scores(context, [([5, *tokens[1:]], label) for tokens, label in requests[:4]])
    start = time.perf_counter()
    found = scores(context, requests)
    seconds = time.perf_counter() - start
    versions = {name: version(name) for name in ("cyllama", "numpy")}
    return {"seconds": seconds, "start_seconds": started, "logprobs": found, "versions": versions}


if __name__ == "__main__":
    told = json.load(sys.stdin)
    print("\n" + json.dumps(measure(told)))
