"""Data from its public homes: pinned revisions are asked for, the prompts are the same, the cache serves later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_in_hub import github_files, hub_files, serve

TASKS = Path(__file__).resolve().parent.parent.parent / "tasks"
GROUPS = ("ceval_5shot_hard", "ceval_5shot_val_hard", "mmlu_5shot_humanities", "cmmlu_5shot_china_specific")
GITHUB_GROUPS = ("gaokao_5shot", "agieval_5shot")
# In a process of its own: the libraries read HF_ENDPOINT and the places of their caches once, when they are imported.
LOADER = """
import json, logging, sys
logging.disable(logging.WARNING)
from lm_eval.tasks import TaskManager
manager = TaskManager(include_path=sys.argv[1], include_defaults=False, metadata=json.loads(sys.argv[2]))
prompts = {}
for name, task in manager.load(sys.argv[3:])["tasks"].items():
    task.build_all_requests()
    prompts[name] = [[request.args[0], request.args[1], request.doc["answer"]] for request in task.instances]
print(json.dumps(prompts))
"""


def load_elsewhere(address: str, home: Path, *groups: str, **metadata: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": address, "LM_EVAL_BAICHUAN_GITHUB": address, "TQDM_DISABLE": "1"}
    environment |= {"HF_HOME": str(home), "HF_DATASETS_CACHE": str(home / "datasets")}
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_CACHE", "LM_EVAL_BAICHUAN_DATA"):
        environment.pop(name, None)
    command = [sys.executable, "-c", LOADER, str(TASKS), json.dumps({"own_data": True, **metadata}), *groups]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def prompts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_the_prompts_are_those_of_the_folder(
    small_data: Path, tmp_path: Path, load: Callable[..., dict[str, Any]]
) -> None:
    expected = {}
    for name, task in load(*GROUPS, *GITHUB_GROUPS, data_dir=str(small_data), own_data=True).items():
        task.build_all_requests()
        expected[name] = [[request.args[0], request.args[1], request.doc["answer"]] for request in task.instances]
    with serve(hub_files(small_data), github_files(small_data)) as (address, requests):
        assert prompts(load_elsewhere(address, tmp_path, *GROUPS, *GITHUB_GROUPS)) == expected
        files = [request for request in requests if "/resolve/" in request]
        assert {request.split("/resolve/")[1].split("/")[0] for request in files} == {
            "617524a00b307ff6f9933702f724131fe12ca7ce",
            "c30699e8356da336a370243923dbaf21066bb9fe",
            "efcc940752ea4a1ea94d2727f11f83858d64fc8e",
        }
        raw = {request.split("/")[3] for request in requests if request.endswith((".json", ".jsonl"))}
        assert raw == {"5f7f7a0a5654bcfc8a9a5fab7307e3a00bcc635e", "b1187aa0bf0e14125cb9a6c58f25288a4e272e64"}
        # Of MMLU only the humanities' files were fetched.
        assert not any("/abstract_algebra/" in request for request in files)
    # The server is gone: all comes from the caches now.
    assert prompts(load_elsewhere(address, tmp_path, *GROUPS, *GITHUB_GROUPS)) == expected


def test_a_hub_without_answers_to_the_test_split(small_data: Path, tmp_path: Path) -> None:
    with serve(hub_files(small_data, test_answers=False), {}) as (address, _):
        done = load_elsewhere(address, tmp_path, "ceval_5shot_law")
        assert "no question of C-Eval law, test has an answer" in done.stderr
        assert len(prompts(load_elsewhere(address, tmp_path, "ceval_5shot_val_law"))) == 1


def test_a_mirror_that_lacks_the_files(small_data: Path, tmp_path: Path) -> None:
    files = {path: content for path, content in hub_files(small_data).items() if "/law/" not in path}
    with serve(files, {}) as (address, _):
        done = load_elsewhere(address, tmp_path, "ceval_5shot_law")
        assert "has no file law/dev-*. If HF_ENDPOINT names a mirror, the mirror is incomplete" in done.stderr
        done = load_elsewhere(address, tmp_path, "gaokao_5shot_physics")
        assert "2010-2022_Physics_MCQs.json could not be downloaded" in done.stderr
        assert "LM_EVAL_BAICHUAN_GITHUB" in done.stderr


@pytest.mark.network
def test_the_real_homes_hold_the_published_questions(tmp_path: Path) -> None:
    groups = ("ceval_5shot", "ceval_5shot_val", "mmlu_5shot", "cmmlu_5shot", "gaokao_5shot", "agieval_5shot")
    home = "https://huggingface.co"
    environment = {**os.environ, "HF_ENDPOINT": home, "HF_HOME": str(tmp_path), "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", LOADER, str(TASKS), "{}", *groups]
    found = prompts(subprocess.run(command, env=environment, capture_output=True, text=True))
    assert sum(len(requests) for requests in found.values()) // 4 == 12342 + 1346 + 14042 + 11582 + 1458 + 4776
