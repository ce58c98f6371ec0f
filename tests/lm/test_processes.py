"""Several processes: each asks its share of the questions, or holds its part of every layer. Scores stay the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import FAMILIES
from lm_eval.api.instance import Instance

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig
from lm_eval_baichuan.model_adapters.baichuan.tensor_parallel import heads_here
from lm_eval_baichuan.model_adapters.errors import CheckpointError
from lm_eval_baichuan.model_adapters.lm import processes
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

Make = Callable[..., Instance]
Write = Callable[..., str]

QUESTIONS = 31

TASK = """
task: tiny_shared
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
output_type: multiple_choice
test_split: test
doc_to_text: question
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""

# What a rank of a tensor-parallel run does: scores by the trie and by lm-eval's batches, generates, writes them down.
RANK = """
import json, os, sys
import torch
from lm_eval.api.instance import Instance
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

scores = {}
for folder in sys.argv[2:]:
    for trie in (True, False):
        lm = BaichuanLM(folder, device="cpu", tp_plan="auto", trie=trie, token_budget=64 if trie else "auto")
        texts = [(f"What is {i} name?", label) for i in range(9) for label in "AB"]
        asked = [Instance("loglikelihood", {}, text, 0, ("t", i, 1)) for i, text in enumerate(texts)]
        scores[f"{folder} {trie}"] = [score for score, _ in lm.loglikelihood(asked, disable_tqdm=True)]
    packed = lm.model.model.layers[0].self_attn.W_pack.weight
    assert packed.to_local().shape[0] * 2 == packed.shape[0]
    assert lm.get_model_info()["baichuan"]["tensor_parallel"] == 2
    ids = lm.model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=6, do_sample=False)
    scores[f"{folder} generated"] = ids[0].tolist()
with open(f"{sys.argv[1]}-{os.environ['RANK']}.json", "w") as file:
    json.dump(scores, file)
torch.distributed.barrier()
torch.distributed.destroy_process_group()  # left to the end of the process, its threads may abort it
"""


def run(command: list[str], cache: Path, *others: list[str]) -> None:
    """Runs a command, and beside it the commands of other machines."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU"):
        environment.pop(name, None)
    beside = [subprocess.Popen(other, env=environment, stderr=subprocess.DEVNULL) for other in others]
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
        assert result.returncode == 0, result.stderr[-3000:]
        assert [process.wait(timeout=60) for process in beside] == [0] * len(beside)
    finally:
        for process in beside:
            process.kill()


LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"],
    "accelerate": [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "29612"),
    ],
}

# As on two machines with one process each, which find each other by the address of the first.
MACHINES = [
    [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "2"),
        *("--machine_rank", str(rank), "--main_process_ip", "127.0.0.1", "--main_process_port", "29613"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
    ]
    for rank in (0, 1)
]


# One with a number of heads that is no power of two, whose slopes are not one series.
SPLIT_FAMILIES = {**FAMILIES, "13b": {**FAMILIES["13b"], "hidden_size": 48, "num_attention_heads": 6}}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [
        {"question": f"What is {'name ' * (i % 7)}{i}? 答案：", "answer": "ABCD"[i % 4], "label_tokens": "isolated"}
        for i in range(QUESTIONS)
    ]
    (folder / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "tiny_shared.yaml").write_text(TASK.replace("QUESTIONS", str(folder / "questions.jsonl")))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "family"),
    [("torchrun", "7b"), ("accelerate", "13b"), ("torchrun", "2-7b"), ("accelerate", "2-13b"), ("machines", "7b")],
)
def test_two_cpu_processes_ask_each_question_once(
    write_checkpoint: Write, instance: Make, tasks: Path, tmp_path: Path, launcher: str, family: str
) -> None:
    folder = write_checkpoint(**SPLIT_FAMILIES[family])
    evaluate = ["-m", "lm_eval_baichuan", "--model", "baichuan", "--model_args", f"pretrained={folder}"]
    evaluate += ["--tasks", "tiny_shared", "--include_path", str(tasks), "--device", "cpu", "--log_samples"]
    evaluate += ["--output_path", str(tmp_path / "out")]
    first, *others = MACHINES if launcher == "machines" else [LAUNCHERS[launcher]]
    run(
        [sys.executable, *first, *evaluate],
        tmp_path / "cache",
        *([sys.executable, *other, *evaluate] for other in others),
    )
    [file] = (tmp_path / "out").glob("*/samples_*.jsonl")
    samples = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    samples.sort(key=lambda sample: int(sample["doc_id"]))
    assert [sample["doc_id"] for sample in samples] == list(range(QUESTIONS))
    found = [float(score) for sample in samples for score, _ in sample["filtered_resps"]]

    alone = BaichuanLM(folder, device="cpu")
    requests = [
        instance(sample["doc"]["question"], label, sample["doc_id"], label_tokens="isolated")
        for sample in samples
        for label in "ABCD"
    ]
    expected = [score for score, _ in alone.loglikelihood(requests, disable_tqdm=True)]
    assert found == pytest.approx(expected, abs=1e-4)
    [results] = (tmp_path / "out").glob("*/results_*.json")
    facts = json.loads(results.read_text(encoding="utf-8"))["config"]["baichuan"]
    facts_alone = alone.get_model_info()["baichuan"]
    assert facts["processes"] == 2
    assert facts["label_tokens"] == {"isolated": ["tiny_shared"]}
    assert facts["tokens_sent"] == facts_alone["tokens_sent"]
    # Each process ran the beginning that all questions share, and only its own questions after it.
    assert facts_alone["tokens_run"] < facts["tokens_run"] < 2 * facts_alone["tokens_run"]


@pytest.mark.slow
def test_two_processes_share_every_layer(write_checkpoint: Write, instance: Make, tmp_path: Path) -> None:
    folders = [write_checkpoint(name=family, **config) for family, config in SPLIT_FAMILIES.items()]
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    run([sys.executable, *LAUNCHERS["torchrun"], str(script), str(tmp_path / "scores"), *folders], tmp_path / "cache")
    by_rank = [json.loads((tmp_path / f"scores-{rank}.json").read_text()) for rank in (0, 1)]
    assert by_rank[0] == by_rank[1]
    for folder in folders:
        lm = BaichuanLM(folder, device="cpu")
        requests = [instance(f"What is {i} name?", label, i) for i in range(9) for label in "AB"]
        expected = [score for score, _ in lm.loglikelihood(requests, disable_tqdm=True)]
        for trie in (True, False):
            assert by_rank[0][f"{folder} {trie}"] == pytest.approx(expected, abs=1e-4)
        ids = lm.model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=6, do_sample=False)
        assert by_rank[0][f"{folder} generated"] == ids[0].tolist()


def test_each_device_has_its_own_slice_of_the_heads() -> None:
    class Mesh:
        def __init__(self, rank: int) -> None:
            self.size = lambda: 4
            self.get_local_rank = lambda: rank

    class Part(torch.Tensor):
        device_mesh: Mesh

    slices = []
    for rank in range(4):
        w_pack = torch.nn.Linear(1, 1)
        w_pack.weight = torch.nn.Parameter(torch.zeros(1).as_subclass(Part))
        w_pack.weight.device_mesh = Mesh(rank)  # type: ignore[assignment]
        slices.append(heads_here(w_pack, 40))
    assert [i for part in slices for i in range(40)[part]] == list(range(40))
    assert heads_here(torch.nn.Linear(1, 1), 40) == heads_here(torch.nn.Identity(), 40) == slice(0, 40)


def test_what_tensor_parallelism_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check_tensor_parallel(BaichuanConfig(), None, {"tp_plan": "auto"})
    with pytest.raises(CheckpointError, match="does not split an adapter"):
        processes.check_tensor_parallel(BaichuanConfig(), "adapter", {"tp_plan": "auto"})
    with pytest.raises(CheckpointError, match="peft and delta"):
        processes.check_tensor_parallel(BaichuanConfig(), "adapter", {"delta": "other"})
    monkeypatch.setattr(BaichuanConfig, "base_model_tp_plan", None)
    with pytest.raises(CheckpointError, match="torch.distributed"):
        processes.check_tensor_parallel(BaichuanConfig(), None, {"tp_plan": "auto"})


def test_accelerates_cpu_option_that_starts_one_process_is_noticed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    processes.join_cpu_processes()
    assert "starts one process" in caplog.text
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    processes.join_cpu_processes()
    assert os.environ["ACCELERATE_USE_CPU"] == "true"
