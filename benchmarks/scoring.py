"""The token trie side by side with lm-eval's hf model, vLLM and llama.cpp, in one run.

    python benchmarks/scoring.py --data DIR --tokenizer tokenizer.model             # 12 x 768 on the CPU, about an hour
    python benchmarks/scoring.py ... --device cuda --dtype bfloat16 --shape 7b      # or 13b, on a GPU

DIR holds ceval/{dev,val}/<subject>_<split>.csv. Without --data and --tokenizer they are looked for in data/ under the
folder that LM_EVAL_BAICHUAN_SHARED names. A Baichuan of random weights on the real vocabulary answers ceval_5shot_val:

(a) by lm-eval's hf model, the same weights as a Llama checkpoint (a RoPE Baichuan is exactly a Llama; an ALiBi one runs
    as it is), at the best batch size of 1, 4, 8, 16, found on a sample of the questions;
(b) by a plain forward over as many tokens as the trie has, with as many query-key pairs, and logits at the last
    position of each sequence only: the least that these tokens can cost;
(c) by vLLM with its prefix cache and by llama.cpp with a slot's, the same Llama, where --vllm-python and
    --llama-cpp-python name a Python that has them;
(d) and, with --whole-command, by the two command lines from start to end.

The task is asked in pieces of --piece questions, each by all of them in turn: machines change their pace, and the
ratio of each piece shows by how much; and by the trie at once, which shares across the pieces too. Then with nothing
shared, and how it grows with the questions behind a prefix and the prefix's length. Every figure is one process's own;
its peak memory is counted above the loaded model.

With --journal FILE each measurement is kept as it is made; the same command, started again with the same file, goes on
from there. --minutes ends a run between two measurements.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from machine import data_options, device_options, machine
from scoring_run import SHAPES, WINDOW
from scoring_table import table
from tqdm import tqdm

HERE = Path(__file__).parent
PEERS = {"vllm": "vllm_run.py", "llama_cpp": "llama_cpp_run.py"}
BATCH_SIZES = (1, 4, 8, 16)
GROWTH_BATCH = 8
QUESTIONS_PER_PREFIX = (1, 4, 16, 64, 256)
PREFIX_LENGTHS = (100, 500, 1500, 3000)
QUESTION_TOKENS = 70  # C-Eval's mean

Request = tuple[list[int], list[int]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_options(parser)
    parser.add_argument("--shape", default="12x768", choices=SHAPES, help="2x64 only tries the script out")
    device_options(parser)
    parser.add_argument("--task", default="ceval_5shot_val")
    parser.add_argument("--own-data", action="store_true", help="DIR's questions are not the published ones")
    parser.add_argument("--limit", type=int, help="questions a subject, for a quick try")
    parser.add_argument("--questions", type=int, help="so many of the task's questions only, from the first on")
    parser.add_argument("--piece", type=int, default=170, help="questions of one piece")
    parser.add_argument("--sample", type=int, default=64, help="questions on which the best batch size is found")
    parser.add_argument(
        "--repeat", type=int, default=3, help="runs of the trie and of (b) in turn, whose median counts"
    )
    parser.add_argument("--token-budget", default="auto", type=lambda text: text if text == "auto" else int(text))
    parser.add_argument("--attention", default="auto", choices=("auto", "blockwise", "dense", "flex"))
    parser.add_argument("--vllm-python", type=Path, help="the python of an environment with vLLM, for (c)")
    parser.add_argument("--llama-cpp-python", type=Path, help="one with cyllama, gguf and safetensors, for (c)")
    parser.add_argument("--no-task", action="store_true", help="leave out the task: only how it grows")
    parser.add_argument("--no-growth", action="store_true", help="leave out how it grows")
    parser.add_argument("--prefixes", type=int, nargs="*", default=PREFIX_LENGTHS, help="of how it grows")
    parser.add_argument("--whole-command", action="store_true", help="measure (d) too")
    parser.add_argument("--journal", type=Path, help="keep each measurement here, and go on from what it has")
    parser.add_argument("--minutes", type=float, help="start no measurement after so many")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON as well")
    return parser.parse_args()


class TimeIsUp(Exception):
    """So many minutes as --minutes says have gone by."""


class Bench:
    """Runs measurements in processes of their own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        """Puts the tokenizer where the measurements find it."""
        self.options, self.folder = options, folder
        self.tokenizer = folder / "tokenizer"
        self.tokenizer.mkdir()
        shutil.copy(options.tokenizer, self.tokenizer / "tokenizer.model")
        self.bar = tqdm(desc="measurements", unit="run")
        self.start = time.monotonic()
        self.done: dict[str, dict[str, Any]] = {}
        if options.journal and options.journal.exists():
            lines = map(json.loads, options.journal.read_text().splitlines())
            self.done = {line["key"]: line["figures"] for line in lines}

    def run(
        self, what: str, requests: list[Request] | None = None, python: Path | str = sys.executable, **more: Any
    ) -> dict[str, Any]:
        """One measurement; see scoring_run.measure, and measure in each of PEERS."""
        names = ("shape", "dtype", "device", "threads", "token_budget", "attention")
        order = {"what": what} | {name: getattr(self.options, name) for name in names} | more
        text = json.dumps([order, requests])
        key = f"{what} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
        if key in self.done:
            return self.done[key]
        if self.options.minutes and time.monotonic() - self.start > 60 * self.options.minutes:
            raise TimeIsUp
        path = self.folder / "requests.json"
        path.write_text(json.dumps(requests or []))
        self.bar.set_postfix_str(f"{what} {more or ''}, {len(requests or [])} requests")
        order |= {"requests": str(path), "tokenizer": str(self.tokenizer), "folder": str(self.folder / "llama")}
        script = HERE / PEERS.get(what, "scoring_run.py")
        done = subprocess.run(
            [str(python), str(script)], input=json.dumps(order), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"The measurement {what} {more} failed:\n{done.stderr[-4000:]}")
        self.bar.update()
        # Not the last line: an engine may still say that it ends.
        figures: dict[str, Any] = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
        if what != "export":
            self.done[key] = figures
            if self.options.journal:
                with self.options.journal.open("a") as journal:
                    journal.write(json.dumps({"key": key, "figures": figures}) + "\n")
        return figures

    def trie(self, requests: list[Request], repeat: int) -> dict[str, Any]:
        """The trie and (b) in one process, in turn."""
        found = self.run("trie", requests, repeat=repeat)
        ratios = [ours / plain for ours, plain in zip(found["seconds"], found["plain_seconds"], strict=True)]
        medians = {name: median(found[name]) for name in ("seconds", "plain_seconds")}
        return {**found, "ratios": ratios, "runs": found["seconds"], **medians}

    def hf(self, requests: list[Request], batch_size: int) -> dict[str, Any]:
        """lm-eval's hf model, once."""
        return self.run("hf", requests, batch_size=batch_size)

    def peer(self, name: str, requests: list[Request]) -> dict[str, Any]:
        """One of PEERS, once, on the same weights as a Llama."""
        if not (self.folder / "llama").exists():
            self.run("export")
        return self.run(name, requests, python=getattr(self.options, f"{name}_python"), window=WINDOW)


def task_requests(options: argparse.Namespace, folder: Path) -> list[Request]:
    """The token ids that `--model baichuan` scores for a task, caught on their way to the scorer."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

    caught: list[Request] = []
    metadata = {"data_dir": str(options.data)} | ({"own_data": True} if options.own_data else {})

    class Catching(BaichuanLM):
        def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
            caught.extend(([int(i) for i in context], [int(i) for i in ids]) for _, context, ids in requests)
            return [(-float(number), False) for number in range(len(requests))]  # no ties, of which lm-eval would warn

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    save_checkpoint(folder, options.tokenizer, sizes)
    lm_eval.simple_evaluate(
        model=Catching(pretrained=str(folder), device="cpu", max_length=4096),
        tasks=[options.task],
        limit=options.limit,
        task_manager=TaskManager(include_path=str(HERE.parent / "tasks"), metadata=metadata),
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
    figures: dict[str, Any] = {
        "machine": machine(options, options.shape),
        "arguments": told(options),
        "question_tokens": QUESTION_TOKENS,
        "growth_batch": GROWTH_BATCH,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(options, folder)
        try:
            if not options.no_task:
                requests = task_requests(options, folder / "caught")
                figures["task"] = compare(bench, requests, options)
                figures["nothing shared"] = nothing_shared(bench, requests, options, figures["task"]["batch_size"])
            if not options.no_growth:
                figures["growth"] = growth(bench, options.repeat, options.prefixes)
            if options.whole_command:
                figures["whole command"] = whole_command(options, folder, figures["task"]["batch_size"])
        except TimeIsUp:
            raise SystemExit(f"\n{options.minutes:g} minutes are over; the same command goes on.") from None
        finally:
            bench.bar.close()
    print(table(figures))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def told(options: argparse.Namespace) -> dict[str, Any]:
    """The options that say what was measured."""
    left_out = ("data", "tokenizer", "journal", "minutes", "out", "vllm_python", "llama_cpp_python")
    return {name: value for name, value in vars(options).items() if name not in left_out}


def sampled(requests: list[Request], options: argparse.Namespace) -> list[Request]:
    """As many different contexts as --sample says, always the same ones."""
    contexts = sorted({tuple(context): (context, label) for context, label in requests}.values())
    return random.Random(0).sample(contexts, min(options.sample, len(contexts)))  # noqa: S311 - not cryptography


def pieces(requests: list[Request], questions: int | None, size: int) -> list[list[Request]]:
    """The task's first questions, as many a piece as it says; a question is a context."""
    asked: dict[tuple[int, ...], list[Request]] = {}
    for request in requests:
        asked.setdefault(tuple(request[0]), []).append(request)
    groups = list(asked.values())[:questions]
    count = max(1, round(len(groups) / size))
    ends = [len(groups) * piece // count for piece in range(count + 1)]
    return [[request for group in groups[a:b] for request in group] for a, b in zip(ends, ends[1:], strict=False)]


def compare(bench: Bench, requests: list[Request], options: argparse.Namespace) -> dict[str, Any]:
    """The task, piece by piece: the trie and (b), (a), and (c) where there are others."""
    tried = {size: bench.hf(sampled(requests, options), size) for size in BATCH_SIZES}
    best = min(tried, key=lambda size: float(tried[size]["seconds"]))
    parts = pieces(requests, options.questions, options.piece)
    found = []
    for piece in parts:
        trie, hf = bench.trie(piece, options.repeat), bench.hf(piece, best)
        row = {
            "questions": len({tuple(context) for context, _ in piece}),
            "requests": len(piece),
            **{name: trie[name] for name in ("tokens", "sent", "pairs", "plain_pairs", "attention", "token_budget")},
            "trie": trie["seconds"],
            "trie_runs": trie["runs"],
            "plain": trie["plain_seconds"],
            "plain_ratios": trie["ratios"],
            "trie_peak": trie["peak"],
            "planned": trie["planned"],
            "hf": hf["seconds"],
            "hf_peak": hf["peak"],
            "difference": difference(trie, hf),
        }
        for peer in PEERS:
            if getattr(options, f"{peer}_python"):
                asked = bench.peer(peer, piece)
                row[peer] = {
                    "seconds": asked["seconds"],
                    "start": asked["start_seconds"],
                    "versions": asked["versions"],
                    "difference": difference(trie, asked),
                }
        found.append(row)
    whole = bench.trie([request for piece in parts for request in piece], 1) if len(parts) > 1 else None
    rate = bench.run("rate")
    speed = sum(row["tokens"] for row in found) / sum(row["trie"] for row in found)
    return {
        "pieces": found,
        **({"at_once": {"tokens": whole["tokens"], "trie": whole["seconds"]}} if whole else {}),
        "hf_sample_seconds": {size: run["seconds"] for size, run in tried.items()},
        "hf_peak_batch_1": tried[1]["peak"],
        "batch_size": best,
        "matrix_share": speed * rate["flops_per_token"] / rate["matrix_rate"],
        **rate,
    }


def difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest between two scores of a request."""
    return max(abs(x - y) for x, y in zip(a["logprobs"], b["logprobs"], strict=True))


def nothing_shared(bench: Bench, requests: list[Request], options: argparse.Namespace, size: int) -> dict[str, Any]:
    """The sample's contexts, each with a first token of its own."""
    sample = enumerate(sampled(requests, options))
    unshared = [([1000 + number, *context[1:]], label) for number, (context, label) in sample]
    trie, hf = bench.trie(unshared, options.repeat), bench.hf(unshared, size)
    return {"requests": len(unshared), "trie_seconds": trie["seconds"], "hf_seconds": hf["seconds"]}


def growth(bench: Bench, repeat: int, prefixes: list[int]) -> list[dict[str, Any]]:
    """Random tokens: questions behind one prefix, and the prefix's length. hf on 16 questions at most, scaled up."""
    chance = random.Random(0)  # noqa: S311 - not cryptography
    rows = []
    for length in prefixes:
        prefix = [chance.randrange(64000) for _ in range(length)]
        questions: list[Request] = [
            (prefix + [number, *(chance.randrange(64000) for _ in range(QUESTION_TOKENS - 1))], [703])
            for number in range(max(QUESTIONS_PER_PREFIX))
        ]
        for count in QUESTIONS_PER_PREFIX:
            trie = bench.trie(questions[:count], repeat)
            timed = min(count, 16)
            hf = bench.hf(questions[:timed], min(GROWTH_BATCH, timed))
            rows.append(
                {"prefix": length, "questions": count, "trie": trie["seconds"], "plain": trie["plain_seconds"],
                 "plain_ratios": trie["ratios"], "hf": hf["seconds"] * count / timed, "hf_questions": timed,
                 "trie_peak": trie["peak"], "hf_peak": hf["peak"]}
            )  # fmt: skip
    return rows


def whole_command(options: argparse.Namespace, folder: Path, batch_size: int) -> dict[str, float]:
    """Wall time of the two command lines, start-up and building contexts included."""
    baichuan, llama = folder / "baichuan", folder / "llama"
    save_checkpoint(baichuan, options.tokenizer, SHAPES[options.shape])
    ours = [sys.executable, "-m", "lm_eval_baichuan"]
    export = "from lm_eval_baichuan.cli import main; raise SystemExit(main())"
    subprocess.run([sys.executable, "-c", export, "export", str(baichuan), str(llama)], check=True)
    metadata = f"data_dir={options.data}" + (",own_data=true" if options.own_data else "")
    common = ["--tasks", options.task, "--metadata", metadata, "--device", options.device]
    common += [] if options.limit is None else ["--limit", str(options.limit)]
    seconds = {}
    for model, path, more in (("baichuan", baichuan, []), ("hf", llama, ["--batch_size", str(batch_size)])):
        start = time.perf_counter()
        model_args = f"pretrained={path},dtype={options.dtype}"
        subprocess.run([*ours, "--model", model, "--model_args", model_args, *common, *more], check=True)
        seconds[model] = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    main()
