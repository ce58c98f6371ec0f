"""The token trie side by side with lm-eval's hf model, in one run.

    python benchmarks/scoring.py --data DIR --tokenizer tokenizer.model             # 12 x 768 on the CPU, about an hour
    python benchmarks/scoring.py ... --device cuda --dtype bfloat16 --shape 7b      # or 13b, on a GPU

DIR holds ceval/{dev,val}/<subject>_<split>.csv. Without --data and --tokenizer they are looked for in data/ under the
folder that LM_EVAL_BAICHUAN_SHARED names. A Baichuan of random weights on the real vocabulary answers ceval_5shot_val:

(a) by lm-eval's hf model, the same weights as a Llama checkpoint (a RoPE Baichuan is exactly a Llama; an ALiBi one runs
    as it is), at the best batch size of 1, 4, 8, 16, found on a sample of the questions;
(b) by a plain forward over as many tokens as the trie has, in sequences of the requests' mean length, with logits at
    the last position of each only: the least that these tokens can cost;
(c) and, with --whole-command, by the two command lines from start to end.

Then with nothing shared, and how it grows with the questions behind a prefix and the prefix's length. Every figure is
one process's own; its peak memory is counted above the loaded model.
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from scoring_run import SHAPES
from tqdm import tqdm

HERE = Path(__file__).parent
BATCH_SIZES = (1, 4, 8, 16)
QUESTIONS_PER_PREFIX = (1, 4, 16, 64, 256)
PREFIX_LENGTHS = (100, 500, 1500, 3000)
QUESTION_TOKENS = 70  # C-Eval's mean

Request = tuple[list[int], list[int]]


def arguments() -> argparse.Namespace:
    shared = os.environ.get("LM_EVAL_BAICHUAN_SHARED")
    data = Path(shared) / "data" if shared else None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    tokenizer = data / "tokenizer" / "baichuan-7b.tokenizer.model" if data else None
    parser.add_argument("--tokenizer", type=Path, default=tokenizer, required=data is None)
    parser.add_argument("--shape", default="12x768", choices=SHAPES, help="2x64 only tries the script out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to PyTorch")
    parser.add_argument("--task", default="ceval_5shot_val")
    parser.add_argument("--limit", type=int, help="questions a subject, for a quick try")
    parser.add_argument("--sample", type=int, default=64, help="questions on which the best batch size is found")
    parser.add_argument("--repeat", type=int, default=3, help="runs of the trie and of (b), whose median counts")
    parser.add_argument("--token-budget", default="auto", type=lambda text: text if text == "auto" else int(text))
    parser.add_argument("--attention", default="auto", choices=("auto", "blockwise", "dense", "flex"))
    parser.add_argument("--no-growth", action="store_true", help="leave out how it grows")
    parser.add_argument("--whole-command", action="store_true", help="measure (c) too")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON as well")
    return parser.parse_args()


class Bench:
    """Runs measurements in processes of their own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Puts the tokenizer where the measurements find it."""
        self.options, self.folder = options, folder
        self.tokenizer = folder / "tokenizer"
        self.tokenizer.mkdir()
        shutil.copy(options.tokenizer, self.tokenizer / "tokenizer.model")
        self.bar = tqdm(desc="measurements", unit="run")

    def run(self, what: str, requests: list[Request] | None = None, **more: Any) -> dict[str, Any]:
        """One measurement; see scoring_run.measure."""
        path = self.folder / "requests.json"
        path.write_text(json.dumps(requests or []))
        names = ("shape", "dtype", "device", "threads", "token_budget", "attention")
        order = {name: getattr(self.options, name) for name in names}
        order |= {"what": what, "requests": str(path), "tokenizer": str(self.tokenizer), **more}
        self.bar.set_postfix_str(f"{what} {more or ''}, {len(requests or [])} requests")
        done = subprocess.run(
            [sys.executable, str(HERE / "scoring_run.py")],
            input=json.dumps(order), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"The measurement {what} {more} failed:\n{done.stderr[-4000:]}")
        self.bar.update()
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures

    def trie(self, requests: list[Request], repeat: int = 1) -> dict[str, Any]:
        """The trie and (b) in one process, one after the other; the median over processes."""
        runs = [self.run("trie", requests) for _ in range(repeat)]
        ratios = [run["seconds"] / run["plain_seconds"] for run in runs]
        medians = {name: median(run[name] for run in runs) for name in ("seconds", "plain_seconds", "peak")}
        return {**runs[0], **medians, "ratio": median(ratios)}

    def hf(self, requests: list[Request], batch_size: int) -> dict[str, Any]:
        """lm-eval's hf model, once."""
        return self.run("hf", requests, batch_size=batch_size)


def task_requests(options: argparse.Namespace, folder: Path) -> list[Request]:
    """The token ids that `--model baichuan` scores for a task, caught on their way to the scorer."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

    caught: list[Request] = []

    class Catching(BaichuanLM):
        def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
            caught.extend((context, continuation) for _, context, continuation in requests)
            return [(0.0, False)] * len(requests)

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    save_checkpoint(folder, options.tokenizer, sizes)
    lm_eval.simple_evaluate(
        model=Catching(pretrained=str(folder), device="cpu", max_length=4096),
        tasks=[options.task],
        limit=options.limit,
        task_manager=TaskManager(include_path=str(HERE.parent / "tasks"), metadata={"data_dir": str(options.data)}),
        bootstrap_iters=0,
    )
    return caught


def save_checkpoint(folder: Path, tokenizer: Path, sizes: dict[str, Any]) -> None:
    """A random RoPE Baichuan in the official layout."""
    from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM

    config = BaichuanConfig(**sizes, max_position_embeddings=4096, norm_head=False)
    BaichuanForCausalLM(config).save_pretrained(folder)
    shutil.copy(tokenizer, folder / "tokenizer.model")


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = task_requests(options, folder / "caught")
        bench = Bench(options, folder)
        figures: dict[str, Any] = {"machine": machine(options), "main": compare(bench, requests, options)}
        figures["nothing shared"] = nothing_shared(bench, requests, options, figures["main"]["batch_size"])
        if not options.no_growth:
            figures["growth"] = growth(bench, figures["main"]["batch_size"])
        if options.whole_command:
            figures["whole command"] = whole_command(options, folder, figures["main"]["batch_size"])
        bench.bar.close()
    print(table(figures))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False))


def sampled(requests: list[Request], options: argparse.Namespace) -> list[Request]:
    """As many different contexts as --sample says, always the same ones."""
    contexts = sorted({tuple(context): (context, label) for context, label in requests}.values())
    return random.Random(0).sample(contexts, min(options.sample, len(contexts)))  # noqa: S311 - not cryptography


def compare(bench: Bench, requests: list[Request], options: argparse.Namespace) -> dict[str, Any]:
    """The trie, (a) and (b) over the whole task."""
    found = bench.trie(requests, options.repeat)
    tried = {size: bench.hf(sampled(requests, options), size) for size in BATCH_SIZES}
    seconds = {size: run["seconds"] for size, run in tried.items()}
    best = min(seconds, key=seconds.__getitem__)
    hf = bench.hf(requests, best)
    single = hf if best == 1 else tried[1]
    rate = bench.run("rate")
    return {
        "requests": len(requests),
        "trie": {key: value for key, value in found.items() if key != "logprobs"},
        "hf": {"seconds": hf["seconds"], "peak": hf["peak"], "peak_batch_1": single["peak"]},
        "hf_sample_seconds": seconds,
        "batch_size": best,
        "difference": max(abs(a - b) for a, b in zip(found["logprobs"], hf["logprobs"], strict=True)),
        "matrix_share": found["tokens"] / found["seconds"] * rate["flops_per_token"] / rate["matrix_rate"],
        **rate,
    }


def nothing_shared(bench: Bench, requests: list[Request], options: argparse.Namespace, size: int) -> dict[str, Any]:
    """The sample's contexts, each with a first token of its own."""
    sample = enumerate(sampled(requests, options))
    unshared = [([1000 + number, *context[1:]], label) for number, (context, label) in sample]
    trie, hf = bench.trie(unshared), bench.hf(unshared, size)
    return {"requests": len(unshared), "trie_seconds": trie["seconds"], "hf_seconds": hf["seconds"]}


def growth(bench: Bench, batch_size: int) -> list[dict[str, Any]]:
    """Random tokens: questions behind one prefix, and the prefix's length. hf on 16 questions at most, scaled up."""
    chance = random.Random(0)  # noqa: S311 - not cryptography
    rows = []
    for length in PREFIX_LENGTHS:
        prefix = [chance.randrange(64000) for _ in range(length)]
        questions: list[Request] = [
            (prefix + [number, *(chance.randrange(64000) for _ in range(QUESTION_TOKENS - 1))], [703])
            for number in range(max(QUESTIONS_PER_PREFIX))
        ]
        for count in QUESTIONS_PER_PREFIX:
            trie = bench.trie(questions[:count])
            timed = min(count, 16)
            hf = bench.hf(questions[:timed], min(batch_size, timed))
            seconds = hf["seconds"] * count / timed
            rows.append(
                {"prefix": length, "questions": count, "trie": trie["seconds"], "plain": trie["plain_seconds"],
                 "hf": seconds, "hf_questions": timed, "trie_peak": trie["peak"], "hf_peak": hf["peak"]}
            )  # fmt: skip
    return rows


def whole_command(options: argparse.Namespace, folder: Path, batch_size: int) -> dict[str, float]:
    """Wall time of the two command lines, start-up and building contexts included."""
    baichuan, llama = folder / "baichuan", folder / "llama"
    save_checkpoint(baichuan, options.tokenizer, SHAPES[options.shape])
    ours = [sys.executable, "-m", "lm_eval_baichuan"]
    export = "from lm_eval_baichuan.cli import main; raise SystemExit(main())"
    subprocess.run([sys.executable, "-c", export, "export", str(baichuan), str(llama)], check=True)
    common = ["--tasks", options.task, "--metadata", f"data_dir={options.data}", "--device", options.device]
    common += [] if options.limit is None else ["--limit", str(options.limit)]
    seconds = {}
    for model, path, more in (("baichuan", baichuan, []), ("hf", llama, ["--batch_size", str(batch_size)])):
        start = time.perf_counter()
        model_args = f"pretrained={path},dtype={options.dtype}"
        subprocess.run([*ours, "--model", model, "--model_args", model_args, *common, *more], check=True)
        seconds[model] = time.perf_counter() - start
    return seconds


def machine(options: argparse.Namespace) -> str:
    """What this ran on, in one line."""
    import torch
    import transformers

    if options.device.startswith("cuda"):
        device = torch.cuda.get_device_name()
    else:
        names = [
            line.partition(":")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
        ]
        threads = options.threads or torch.get_num_threads()
        device = f"{names[0].strip() if names else platform.machine()}, {threads} threads of {os.cpu_count()} cores"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{device}; {options.dtype}; {options.shape}; {versions}"


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    main_, trie, hf = figures["main"], figures["main"]["trie"], figures["main"]["hf"]
    unshared = figures["nothing shared"]
    mega = 2**20
    lines = [
        figures["machine"],
        "",
        f"{main_['requests']} requests, {trie['sent']} tokens as sent, {trie['tokens']} distinct "
        f"({trie['sent'] / trie['tokens']:.1f} times fewer); {trie['attention']} attention, "
        f"{trie['token_budget']} tokens at once; largest difference of a score to hf {main_['difference']:.1g}",
        "",
        "| | seconds | distinct tokens/s | peak memory above the model, MiB | against the trie |",
        "|---|---|---|---|---|",
        f"| trie | {trie['seconds']:.1f} | {trie['tokens'] / trie['seconds']:.0f} | {trie['peak'] / mega:.0f} | 1 |",
        f"| (a) hf, batches of {main_['batch_size']} | {hf['seconds']:.1f} | {trie['tokens'] / hf['seconds']:.0f} "
        f"| {hf['peak'] / mega:.0f} (batches of 1: {hf['peak_batch_1'] / mega:.0f}) "
        f"| {hf['seconds'] / trie['seconds']:.2f} |",
        f"| (b) plain forward | {trie['plain_seconds']:.1f} | {trie['tokens'] / trie['plain_seconds']:.0f} | "
        f"| {1 / trie['ratio']:.2f} (the trie takes {trie['ratio']:.2f} of it) |",
        f"| nothing shared, {unshared['requests']} requests | {unshared['trie_seconds']:.1f} | | "
        f"| hf takes {unshared['hf_seconds'] / unshared['trie_seconds']:.2f} of the trie |",
    ]
    if "whole command" in figures:
        ours, theirs = figures["whole command"]["baichuan"], figures["whole command"]["hf"]
        lines.append(
            f"| (c) the whole command | {ours:.1f} | | | hf takes {theirs / ours:.2f} of it ({theirs:.1f} s) |"
        )
    lines += [
        "",
        f"Measured matrix rate {main_['matrix_rate'] / 1e12:.2f} TFLOP/s; the distinct tokens alone use "
        f"{main_['matrix_share']:.0%} of it. hf on the sample, seconds by batch size: "
        + ", ".join(f"{size}: {seconds:.1f}" for size, seconds in main_["hf_sample_seconds"].items()),
    ]
    if "growth" in figures:
        lines += [
            "",
            "| prefix | questions | trie, s | plain forward, s | hf, s | hf / trie | peak MiB, trie | peak MiB, hf |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in figures["growth"]:
            scaled = "" if row["hf_questions"] == row["questions"] else f" (from {row['hf_questions']})"
            lines.append(
                f"| {row['prefix']} | {row['questions']} | {row['trie']:.2f} | {row['plain']:.2f} "
                f"| {row['hf']:.2f}{scaled} | {row['hf'] / row['trie']:.1f} "
                f"| {row['trie_peak'] / mega:.0f} | {row['hf_peak'] / mega:.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
