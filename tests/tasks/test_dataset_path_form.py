"""The form without a loader asks what the folders ask, from a local stand-in for the hub's data sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "dataset_path_form.py"
LOADER = """
import json, logging, sys
logging.disable(logging.WARNING)
from lm_eval.tasks import TaskManager
manager = TaskManager(include_path=".", include_defaults=False)
asked = {}
for name, task in manager.load(sys.argv[1:])["tasks"].items():
    task.build_all_requests()
    asked[name] = [[*request.args, task.doc_to_target(request.doc)] for request in task.instances]
print(json.dumps([asked, sorted(manager.all_subtasks), sorted(manager.all_groups)]))
"""


def write(folder: str, into: Path, data: Path) -> None:
    subprocess.run([sys.executable, SCRIPT, folder, into, "--data", data], check=True, capture_output=True)


def load_plain(folder: Path, *groups: str) -> tuple[dict[str, Any], list[str], list[str]]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    environment |= {"TQDM_DISABLE": "1", "LM_EVAL_BAICHUAN_NO_BRIDGE": "1"}
    environment.pop("LM_EVAL_BAICHUAN_DATA", None)
    command = [sys.executable, "-c", LOADER, *groups]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    asked, tasks, known_groups = json.loads(done.stdout.splitlines()[-1])
    return asked, tasks, known_groups


@pytest.mark.parametrize(
    "folder, groups",
    [
        ("ceval_5shot", ("ceval_5shot_hard", "ceval_5shot_val_hard")),
        ("cmmlu_5shot", ("cmmlu_5shot_china_specific",)),
        ("mmlu_5shot", ("mmlu_5shot_humanities",)),
    ],
)
def test_it_asks_the_same(
    folder: str, groups: tuple[str, ...], small_data: Path, tmp_path: Path, load: Callable[..., dict[str, Any]]
) -> None:
    write(folder, tmp_path, small_data)
    asked, tasks, known_groups = load_plain(tmp_path, *groups)
    expected = {}
    for name, task in load(*groups, data_dir=str(small_data), own_data=True).items():
        task.build_all_requests()
        letters = "ABCD".index if folder == "mmlu_5shot" else str  # cais/mmlu numbers the answers
        expected[name] = [[*request.args, letters(task.doc_to_target(request.doc))] for request in task.instances]
    assert asked and asked == expected
    assert folder in known_groups
    assert not any("submission" in name for name in (*tasks, *known_groups))


def test_its_readme_tells_of_nothing_that_only_the_loader_has(small_data: Path, tmp_path: Path) -> None:
    for folder in ("ceval_5shot", "cmmlu_5shot", "mmlu_5shot"):
        write(folder, tmp_path, small_data)
        readme = (tmp_path / folder / "README.md").read_text("utf-8")
        for word in ("data_dir", "shots_seed", "submission", "own_data", "LM_EVAL_BAICHUAN", "max_prompt_tokens"):
            assert word not in readme, f"{folder}: {word}"
        assert "dataset_path" in readme and "### Data\n" in readme


def test_a_folder_whose_shots_are_drawn_has_no_such_form(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "gaokao_5shot", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2 and "gaokao_5shot" in done.stderr
