"""The four kinds of files from outside: small whole ones, and what is measured from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import Kind
from results_builder import write_results, write_samples
from small_data import write_small_data

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LAW, LOGIC, VIROLOGY = "ceval_5shot_law", "ceval_5shot_logic", "mmlu_5shot_virology"


def checkpoints(folder: Path, tokenizer: Path) -> Kind:
    """A checkpoint in two shards, one pickled, and an adapter: every file of them."""
    import peft
    import torch
    from lm_eval.api.instance import Instance
    from safetensors.torch import save_file

    from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
    from lm_eval_baichuan.model_adapters.errors import EvaluationError
    from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

    torch.manual_seed(5)
    sizes = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "norm_head": False, "max_position_embeddings": 512}
    model = BaichuanForCausalLM(BaichuanConfig(**sizes, **heads))
    state = model.state_dict()
    for name in ("shards", "pickle"):
        model.save_pretrained(folder / name)
        (folder / name / "model.safetensors").unlink()
        shutil.copy(tokenizer, folder / name / "tokenizer.model")
        _write(
            folder / name / "tokenizer_config.json", {"tokenizer_class": "BaichuanTokenizer", "add_bos_token": False}
        )
        _write(folder / name / "special_tokens_map.json", {"bos_token": "<s>", "eos_token": {"content": "</s>"}})
        _write(folder / name / "added_tokens.json", {"<extra>": 390})
    torch.save(state, folder / "pickle" / "pytorch_model.bin")
    parts = {f"model-0000{n + 1}-of-00002.safetensors": sorted(state)[n::2] for n in range(2)}
    for file, names in parts.items():
        save_file({name: state[name] for name in names}, folder / "shards" / file, metadata={"format": "pt"})
    weight_map = {name: file for file, names in parts.items() for name in names}
    _write(folder / "shards" / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})

    contexts = [f"以下是考试题{n}。\nA. one\nB. two\n答案：" for n in range(2)]
    requests = [
        Instance("loglikelihood", {}, (context, label), 0, ("task", n, 1))
        for n, context in enumerate(contexts)
        for label in "AB"
    ]

    (folder / "adapter").mkdir()
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["W_pack"], task_type="CAUSAL_LM"))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    wrapped.save_pretrained(folder / "adapter", save_embedding_layers=False)
    (folder / "adapter" / "README.md").unlink()

    def measure(file: Path) -> Any:
        adapter = file.parent if file.parent.name == "adapter" else None
        base = folder / "shards" if adapter else file.parent
        options = {"peft": str(adapter)} if adapter else {}
        lm = BaichuanLM(str(base), device="cpu", dtype="float32", batch_size=1, self_check=False, **options)
        return [logprob for logprob, _ in lm.loglikelihood(requests, disable_tqdm=True)], None

    return Kind("checkpoints", _files(folder), measure, (EvaluationError,))


def results(folder: Path) -> Kind:
    """Results of two models with their samples, and what ``compare`` makes of them."""
    return _of_results("results", folder, lambda outcome, _: outcome)


def reports(folder: Path) -> Kind:
    """The same, on a page with its charts."""
    from lm_eval_baichuan.html_report.page import build_page
    from lm_eval_baichuan.results import read_logged

    def write(outcome: Any, runs: Any) -> Any:
        build_page(runs, outcome, [read_logged(run) for run in runs]).encode("utf-8", "surrogatepass")
        return outcome

    return _of_results("reports", folder, write)


def _of_results(name: str, folder: Path, write: Callable[[Any, Any], Any]) -> Kind:
    from lm_eval_baichuan.comparison.command import find_outcome
    from lm_eval_baichuan.model_adapters.errors import EvaluationError
    from lm_eval_baichuan.results import read_logged, read_runs

    lost = {"prompts": 2, "shots": 3}
    facts = {
        "shortened_prompts": {VIROLOGY: {**lost, "limits": [{"limit": 2048, "by_window": False, **lost}]}},
        "truncated_prompts": {LAW: 1},
        "quantization": None,
        "remembered_answers": 0,
    }
    foreign = {"ceval-valid_law": (2, 4)}
    tasks = {LAW: (5, 8), LOGIC: (3, 8), VIROLOGY: (4, 8), **foreign}
    extra = {"date": 1.7e9, "chat_template": None}
    write_results(folder / "ours", tasks, facts=facts, limit=8, available=24, extra=extra)
    write_results(folder / "theirs", {LAW: (4, 8), **foreign}, model="hf", pretrained="their/model")
    for place in ("ours", "theirs"):
        logged = {LAW: (5, 8) if place == "ours" else (4, 8), **foreign}
        write_samples(folder / place, logged, seed=len(place))

    def measure(file: Path) -> Any:
        runs = read_runs(sorted(folder.rglob("results_*.json")))
        logged = [read_logged(run) for run in runs]
        outcome = write(find_outcome(runs, "Baichuan-7B", 0.95, logged), runs)
        list(outcome.tables(None))
        lines = [line for comparison in outcome.comparisons for line in comparison.lines]
        intervals = [(line.ours.value, line.ours.low, line.ours.high) for line in lines]
        numbers = [[(line.suite, line.part, line.asked) for line in lines], intervals]
        return numbers, [(line.verdict, line.reasons, line.ties_warning) for line in lines]

    return Kind(name, _files(folder), measure, (EvaluationError,))


def data_files(folder: Path) -> Kind:
    """Questions of each benchmark, as its task reads them."""
    from lm_eval.tasks import TaskManager

    tables = {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in (REPOSITORY / "scripts" / "task_tables").glob("*.json")
    }
    write_small_data(folder, tables)
    files = {
        "ceval/test/law_test.csv": LAW,
        "ceval/dev/logic_dev.csv": LOGIC,
        "mmlu/test/virology_test.csv": VIROLOGY,
        "cmmlu/test/arts.csv": "cmmlu_5shot_arts",
        "gaokao-bench/Data/Objective_Questions/2010-2022_Physics_MCQs.json": "gaokao_5shot_physics",
        "agieval/data/v1/sat-math.jsonl": "agieval_5shot_sat_math",
    }
    place = {folder / file: task for file, task in files.items()}
    metadata = {"data_dir": str(folder), "own_data": True}
    folders = sorted({str(REPOSITORY / "tasks" / f"{task.partition('_5shot')[0]}_5shot") for task in files.values()})
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)

    def measure(file: Path) -> Any:
        task = manager.load([place[file]])["tasks"][place[file]]
        return [sorted((key, str(value)) for key, value in doc.items()) for doc in task.eval_docs], None

    # The tasks import nothing of this package, so their errors are Python's own.
    return Kind("data files", list(place), measure, (ValueError, FileNotFoundError), any_text_asks=True)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _write(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data), encoding="utf-8")
