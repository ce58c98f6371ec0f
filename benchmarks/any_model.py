"""`--model hf-trie` beside lm-eval's hf on the same model, in one run.

    python benchmarks/any_model.py --data DIR --tokenizer tokenizer.model       # 12 x 768 on the CPU, half an hour

A Llama of random weights answers real MMLU questions, asked in three ways: letters behind the same five shots
(``first_n``), four full-text options behind ten shots drawn anew for each question, and prompts that share nothing. hf
runs at its best batch size of 1, 4, 8, 16, found on a sample; then the two run in turn, and the median of the ratios
counts. The trie's time includes its certificate. DIR holds mmlu/{dev,test}/<subject>_<split>.csv; without --data and
--tokenizer they are looked for in data/ under the folder that LM_EVAL_BAICHUAN_SHARED names.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from machine import pair_options
from tqdm import tqdm

BATCH_SIZES = (1, 4, 8, 16)
SUBJECTS = ("astronomy", "marketing")
Encoded = tuple[None, list[int], list[int]]
Row = tuple[str, list[str], str]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pair_options(parser)
    parser.add_argument("--questions", type=int, default=40, help="a subject and way of asking")
    parser.add_argument("--sample", type=int, default=12, help="questions on which the best batch size is found")
    return parser.parse_args()


def read(file: Path) -> list[Row]:
    """Question, four options and the answer's letter of every row."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [(row[0], row[1:5], row[5]) for row in csv.reader(lines)]


def letters(folder: Path, subject: str, count: int, encode: Callable[[str], list[int]]) -> list[Encoded]:
    """Five fixed shots, one token a label."""

    def text(row: Row, answer: str) -> str:
        options = "".join(f"\n{letter}. {option}" for letter, option in zip("ABCD", row[1], strict=True))
        return f"{row[0]}{options}\nAnswer:{answer}"

    shots = "\n\n".join(text(row, f" {row[2]}") for row in read(folder / "dev" / f"{subject}_dev.csv"))
    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n{shots}\n\n"
    labels = [encode(f" {letter}")[-1:] for letter in "ABCD"]
    contexts = [encode(head + text(row, "")) for row in read(folder / "test" / f"{subject}_test.csv")[:count]]
    return [(None, context, label) for context in contexts for label in labels]


def texts(folder: Path, subject: str, count: int, encode: Callable[[str], list[int]]) -> list[Encoded]:
    """Ten shots of other questions, drawn anew for each; the options' own texts are ranked."""
    chance = random.Random(0)  # noqa: S311 - not cryptography
    rows = read(folder / "test" / f"{subject}_test.csv")
    asked: list[Encoded] = []
    for row in rows[:count]:
        shots = chance.sample([other for other in rows if other is not row], 10)
        told = [f"Question: {q}\nAnswer: {options['ABCD'.index(answer)]}\n\n" for q, options, answer in shots]
        context = encode("".join(told) + f"Question: {row[0]}\nAnswer:")
        asked += [(None, context, encode(f" {option}")) for option in row[1]]
    return asked


def nothing_shared(folder: Path, subject: str, count: int, encode: Callable[[str], list[int]]) -> list[Encoded]:
    """One continuation a prompt, and prompts that differ from their first token on."""
    asked = letters(folder, subject, count, encode)[::4]
    first = 1000 + 1000 * SUBJECTS.index(subject)
    return [(None, [first + i, *context[1:]], label) for i, (_, context, label) in enumerate(asked)]


WAYS = {
    "letters, 5 shots, first_n": letters,
    "four texts, 10 shots at random": texts,
    "nothing shared": nothing_shared,
}


def build(options: argparse.Namespace, family: str = "llama", **more: Any) -> tuple[Any, Any]:
    """A random model of a family, with `more` in its configuration, and a tokenizer, for its vocabulary only."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from lm_eval_baichuan.model_adapters.baichuan import BaichuanTokenizer

    tokenizer = BaichuanTokenizer(str(options.tokenizer))
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer),
        hidden_size=options.width, intermediate_size=8 * options.width // 3 // 64 * 64,
        num_hidden_layers=options.layers, num_attention_heads=options.width // 64,
        num_key_value_heads=options.width // 64, max_position_embeddings=4096,
        **more,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    return model.to(getattr(torch, options.dtype)).to(options.device).eval(), tokenizer


def timed(lm: Any, requests: list[Encoded]) -> tuple[float, list[tuple[float, bool]]]:
    """Seconds, and the scores."""
    start = time.perf_counter()
    found = lm._loglikelihood_tokens(requests, disable_tqdm=True)
    return time.perf_counter() - start, found


def main() -> None:
    options = arguments()
    import torch
    from lm_eval.models.huggingface import HFLM

    from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if options.threads:
        torch.set_num_threads(options.threads)
    model, tokenizer = build(options)
    ids: dict[str, list[int]] = {}

    def encode(text: str) -> list[int]:
        if text not in ids:
            ids[text] = tokenizer.encode(text)
        return ids[text]

    common: dict[str, Any] = {"pretrained": model, "tokenizer": tokenizer, "max_length": 4096}
    bar = tqdm(total=len(WAYS) * (len(BATCH_SIZES) + 2 * options.repeat), desc="measurements", unit="run")
    figures = []
    for name, way in WAYS.items():
        requests = [each for s in SUBJECTS for each in way(options.data / "mmlu", s, options.questions, encode)]
        labels = 1 if way is nothing_shared else 4
        sample = requests[: labels * options.sample]
        seconds = {}
        for size in BATCH_SIZES:
            hf = HFLM(**common, batch_size=size)
            seconds[size], _ = timed(hf, sample)
            bar.update()
        best = min(seconds, key=seconds.__getitem__)
        runs = []
        for _ in range(options.repeat):
            hf, trie = HFLM(**common, batch_size=best), TrieLM(**common, trie=True)
            slow, theirs = timed(hf, requests)
            fast, ours = timed(trie, requests)
            bar.update(2)
            runs.append((slow, fast))
        facts = trie.get_model_info()[trie.RESULTS_KEY]
        difference = max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True))
        ratios = sorted(slow / fast for slow, fast in runs)
        figures.append(
            {"way": name, "requests": len(requests), "sent": facts["tokens_sent"], "run": facts["tokens_run"],
             "batch": best, "hf": median(slow for slow, _ in runs), "trie": median(fast for _, fast in runs),
             "ratio": median(ratios), "least": ratios[0], "most": ratios[-1], "difference": difference}
        )  # fmt: skip
    bar.close()
    print(f"{options.layers} x {options.width}, {options.dtype}, {options.device}, {torch.get_num_threads()} threads")
    print("\n| asked | requests | tokens sent / run | hf, s (batch) | hf-trie, s | hf / hf-trie | largest difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in figures:
        print(
            f"| {row['way']} | {row['requests']} | {row['sent'] / row['run']:.2f} | {row['hf']:.1f} ({row['batch']}) "
            f"| {row['trie']:.1f} | {row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f}) "
            f"| {row['difference']:.1g} |"
        )
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
