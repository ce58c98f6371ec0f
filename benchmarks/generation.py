"""Generated answers behind the same shots: `--model hf-trie` beside `--model hf` on the same model, in one run.

    python benchmarks/generation.py --data DIR --tokenizer tokenizer.model       # 12 x 768 on the CPU, ten minutes

A Llama of random weights, or with --family another model, answers real MMLU questions behind the same eight shots, 32
tokens each, greedily. Each side runs at its own best batch size, found on a sample; then the two run in turn, and the
median of the ratios counts. The trie's time includes its certificates. The texts must be equal. DIR holds
mmlu/test/<subject>_test.csv; without --data and --tokenizer they are looked for in data/ under the folder that
LM_EVAL_BAICHUAN_SHARED names.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from statistics import median
from typing import Any

from any_model import build, read
from machine import machine, pair_options
from tqdm import tqdm

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "window": ("mistral", {"sliding_window": 512}),
    "states": ("qwen3_5_text", {"head_dim": 64}),  # three layers of four carry a state
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pair_options(parser)
    parser.add_argument("--family", default="llama", choices=FAMILIES)
    parser.add_argument("--subject", default="professional_accounting", help="of MMLU")
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--sample", type=int, default=16, help="questions on which the best batch sizes are found")
    return parser.parse_args()


def requests_of(options: argparse.Namespace) -> list[Any]:
    """The questions as lm-eval hands them to a model."""
    from lm_eval.api.instance import Instance

    rows = read(options.data / "mmlu" / "test" / f"{options.subject}_test.csv")
    shots, asked = rows[: options.shots], rows[options.shots :][: options.questions]
    assert len(asked) == options.questions, f"{options.subject} has {len(rows)} questions in all"

    def text(question: str, choices: list[str]) -> str:
        return f"Question: {question}\n{' '.join(choices)}\nAnswer:"

    told = "".join(f"{text(q, choices)} {choices['ABCD'.index(answer)]}\n\n" for q, choices, answer in shots)
    settings = {"until": ["\n\nQuestion:"], "max_gen_toks": options.new_tokens, "do_sample": False}
    return [
        Instance("generate_until", {}, (told + text(q, choices), settings), number)
        for number, (q, choices, _) in enumerate(asked)
    ]


def timed(lm: Any, requests: list[Any]) -> tuple[float, list[str]]:
    """Seconds, and the texts."""
    start = time.perf_counter()
    texts = lm.generate_until(requests, disable_tqdm=True)
    return time.perf_counter() - start, texts


def main() -> None:
    options = arguments()
    import torch
    from lm_eval.models.huggingface import HFLM

    from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if options.threads:
        torch.set_num_threads(options.threads)
    family, more = FAMILIES[options.family]
    model, tokenizer = build(options, family, **more)
    requests = requests_of(options)
    lengths = [len(tokenizer.encode(request.args[0])) for request in requests]
    common: dict[str, Any] = {"pretrained": model, "tokenizer": tokenizer, "max_length": 4096}
    sides: dict[str, Any] = {"hf": HFLM, "hf-trie": TrieLM}
    bar = tqdm(total=len(sides) * (len(options.batch_sizes) + options.repeat), desc="measurements", unit="run")
    tried: dict[str, dict[int, float]] = {side: {} for side in sides}
    for side, make in sides.items():
        timed(make(**common, batch_size=1), requests[:1])  # what is done once in a process is in no figure
        for size in options.batch_sizes if len(options.batch_sizes) > 1 else ():
            tried[side][size], _ = timed(make(**common, batch_size=size), requests[: max(size, options.sample)])
            tried[side][size] /= max(size, options.sample)
            bar.update()
    best = {side: min(options.batch_sizes, key=lambda size: tried[side].get(size, 0)) for side in sides}
    runs: dict[str, list[float]] = {side: [] for side in sides}
    texts: dict[str, list[str]] = {}
    facts: dict[str, Any] = {}
    for _ in range(options.repeat):
        for side, make in sides.items():
            lm = make(**common, batch_size=best[side])
            seconds, texts[side] = timed(lm, requests)
            runs[side].append(seconds)
            if side == "hf-trie":
                facts = lm.get_model_info()[lm.RESULTS_KEY]
            bar.update()
    bar.close()
    ratios = sorted(slow / fast for slow, fast in zip(runs["hf"], runs["hf-trie"], strict=True))
    figures = {
        "machine": machine(options, f"{options.layers}x{options.width} {model.config.model_type}"),
        "subject": options.subject, "shots": options.shots, "questions": len(requests),
        "new_tokens": options.new_tokens, "prompt_tokens": median(lengths), "batch_sizes": best,
        "seconds_a_question": tried, "seconds": runs, "ratio": median(ratios), "ratios": ratios,
        "equal": sum(a == b for a, b in zip(texts["hf"], texts["hf-trie"], strict=True)),
        "shared": facts["generation_shared"],
    }  # fmt: skip
    print(table(figures))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    seconds, best = figures["seconds"], figures["batch_sizes"]
    return "\n".join(
        (
            figures["machine"],
            "",
            "| shots | questions | tokens | hf, s (batch) | hf-trie, s (batch) | hf / hf-trie | equal texts |",
            "|---:|---:|---:|---:|---:|---:|---:|",
            f"| {figures['shots']} | {figures['questions']} | {figures['prompt_tokens']:.0f} + {figures['new_tokens']} "
            f"| {median(seconds['hf']):.1f} ({best['hf']}) | {median(seconds['hf-trie']):.1f} ({best['hf-trie']}) "
            f"| {figures['ratio']:.2f} ({figures['ratios'][0]:.2f} to {figures['ratios'][-1]:.2f}) "
            f"| {figures['equal']} of {figures['questions']} |",
        )
    )


if __name__ == "__main__":
    main()
