"""One measurement of benchmarks/scoring.py, in a process of its own so that its peak memory is its own.

Reads what to measure as JSON on standard input, prints the figures as one line of JSON on standard output.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM, BaichuanTokenizer
from lm_eval_baichuan.model_adapters.trie_scorer import Progress, TrieScorer
from lm_eval_baichuan.model_adapters.trie_scorer.memory_plan import ModelSizes, Run, estimate

Request = tuple[list[int], list[int]]

SHAPES: dict[str, dict[str, Any]] = {
    "2x64": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
    "12x768": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "12x768-alibi": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "13b": {"hidden_size": 5120, "intermediate_size": 13696, "num_hidden_layers": 40, "num_attention_heads": 40},
}
ALIBI = ("13b", "12x768-alibi")
WINDOW = 4096


def build(shape: str, dtype: str, device: str) -> BaichuanForCausalLM:
    """A Baichuan of random weights, the same ones in every process."""
    position = {"model_max_length": WINDOW} if shape in ALIBI else {"max_position_embeddings": WINDOW}
    config = BaichuanConfig(vocab_size=64000, norm_head=False, **SHAPES[shape], **position)  # type: ignore[arg-type]
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            return BaichuanForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def as_llama(model: BaichuanForCausalLM) -> LlamaForCausalLM:
    """The same weights as a Llama, its tensors shared with the Baichuan's where they are the same."""
    config = model.config
    sizes = {name: getattr(config, name) for name in SHAPES["7b"]}
    with torch.device("meta"):
        llama = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.vocab_size, rms_norm_eps=config.rms_norm_eps, max_position_embeddings=WINDOW, **sizes
            )
        )
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("W_pack.weight"):
            parts = tensor.chunk(3)
            weights |= {name.replace("W_pack", f"{part}_proj"): rows for part, rows in zip("qkv", parts, strict=True)}
        else:
            weights[name] = tensor
    llama.load_state_dict(weights, assign=True)
    with torch.device(model.device):  # its frequencies are no weights, so they are still on the meta device
        llama.model.rotary_emb = type(llama.model.rotary_emb)(llama.config)
    return llama.eval()


class Peak:
    """Memory above what the loaded model takes: the process's on CPU, the allocator's on CUDA."""

    def __init__(self, device: str) -> None:
        """Starts counting."""
        self.cuda = device.startswith("cuda")
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
            self.before = self._status("VmRSS")

    def above(self) -> int:
        """Bytes above the start, at the highest."""
        return (torch.cuda.max_memory_allocated() if self.cuda else self._status("VmHWM")) - self.before

    @staticmethod
    def _status(field: str) -> int:
        (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(kilobytes) * 1024


def hf_scores(model: PreTrainedModel, requests: list[Request], tokenizer: str, batch_size: int) -> list[float]:
    """lm-eval's own hf model over the same token ids."""
    lm = HFLM(
        pretrained=model,
        tokenizer=BaichuanTokenizer.from_pretrained(tokenizer),
        batch_size=batch_size,
        max_length=WINDOW,
    )
    keyed = [((str(index), ""), context, continuation) for index, (context, continuation) in enumerate(requests)]
    return [logprob for logprob, _ in lm._loglikelihood_tokens(keyed, disable_tqdm=True)]


def pairs_of(tokens: int, length: int) -> int:
    """Query-key pairs of so many tokens in causal sequences of one length, the last of them shorter."""
    whole, rest = divmod(tokens, length)
    return int(whole * length * (length + 1) // 2 + rest * (rest + 1) // 2)


def length_of(tokens: int, pairs: int) -> int:
    """The length of the sequences in which so many tokens have about so many query-key pairs."""
    return min(range(1, tokens + 1), key=lambda length: abs(pairs_of(tokens, length) - pairs))


@torch.inference_mode()
def plain_forward(model: PreTrainedModel, tokens: int, length: int) -> None:
    """So many tokens in plain causal sequences, logits at the last position of each only."""
    done = 0
    while done < tokens:
        size = min(length, tokens - done)
        ids = torch.randint(0, 64000, (1, size), device=model.device)
        model(input_ids=ids, use_cache=False, logits_to_keep=1)
        done += size


def matrix_rate(model: BaichuanForCausalLM) -> float:
    """Multiply-adds twice, per second, of the model's largest layer over 4096 rows."""
    weight = model.model.layers[0].mlp.up_proj.weight
    rows = torch.randn(4096, weight.shape[1], dtype=weight.dtype, device=weight.device)
    seconds = min(timed(lambda: rows @ weight.T, weight.device.type) for _ in range(5))
    return 2 * rows.numel() * weight.shape[0] / seconds


def timed(work: Callable[[], object], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Runs what the order names: trie (and a plain forward after it), hf, or rate."""
    if order["threads"]:
        torch.set_num_threads(order["threads"])
    device = order["device"]
    baichuan = build(order["shape"], order["dtype"], device)
    if order["what"] == "rate":
        decoder = sum(p.numel() for p in baichuan.model.parameters()) - baichuan.model.embed_tokens.weight.numel()
        return {"matrix_rate": matrix_rate(baichuan), "flops_per_token": 2 * decoder}
    if order["what"] == "export":
        as_llama(baichuan).save_pretrained(order["folder"])
        return {}
    requests = [(context, continuation) for context, continuation in json.loads(Path(order["requests"]).read_text())]
    warm_up = requests[:4]
    if order["what"] == "hf":
        model = baichuan if order["shape"] in ALIBI else as_llama(baichuan)
        del baichuan
        hf_scores(model, warm_up, order["tokenizer"], 1)
        peak = Peak(device)
        found: list[float] = []
        seconds = timed(
            lambda: found.extend(hf_scores(model, requests, order["tokenizer"], order["batch_size"])), device
        )
        return {"seconds": seconds, "peak": peak.above(), "logprobs": found}

    last: list[Progress] = []
    scorer = TrieScorer(baichuan, max_length=WINDOW, token_budget=order["token_budget"], attention=order["attention"])
    list(scorer.score(warm_up))
    trie = scorer.build(requests)
    tokens, pairs = len(trie), int(trie.depth.astype("int64").sum()) + len(trie)
    length = length_of(tokens, pairs)
    plain_forward(baichuan, min(tokens, length), length)
    peak = Peak(device)
    scores: list[Any] = []
    seconds: list[float] = []
    above: list[int] = []
    plain: list[float] = []
    for _ in range(order["repeat"]):
        scores.clear()
        seconds.append(timed(lambda: scores.extend(sorted(scorer.score(requests, on_progress=last.append))), device))
        above.append(peak.above())
        plain.append(timed(lambda: plain_forward(baichuan, tokens, length), device))
    (need,) = estimate(ModelSizes.of(baichuan.config), Run(baichuan.dtype, None, WINDOW, scorer.token_budget))
    return {
        "seconds": seconds,
        "plain_seconds": plain,
        "peak": above[0],
        "planned": need.cache + need.working,
        "logprobs": [score.logprob for score in scores],
        "tokens": tokens,
        "pairs": pairs,
        "plain_length": length,
        "plain_pairs": pairs_of(tokens, length),
        "sent": last[-1].tokens_sent,
        "attention": scorer.attention,
        "token_budget": scorer.token_budget,
    }


if __name__ == "__main__":
    print("\n" + json.dumps(measure(json.load(sys.stdin))))
