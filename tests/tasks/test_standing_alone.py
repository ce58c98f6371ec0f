"""Each folder is ready to go into lm-eval: it works there without this package, and has the form asked for there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TASKS = REPOSITORY / "tasks"
FOLDERS = ("ceval_5shot", "mmlu_5shot", "cmmlu_5shot", "gaokao_5shot", "agieval_5shot")

# What lm-eval's own tests ask of a new task (tests/test_tasks.py there), for every task of a folder, in a process whose
# lm_eval is a copy holding the folder and which cannot import this package.
UPSTREAMS_CHECKS = r"""
import importlib.abc, json, logging, sys

already = set(sys.modules)  # where the package is installed, its bridge comes in before all else

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("lm_eval_baichuan", "tasks", "model_adapters"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
sys.path[:] = [p for p in sys.path if p != sys.argv[3]]
sys.path.insert(0, sys.argv[1])
import lm_eval
assert lm_eval.__file__.startswith(sys.argv[1]), lm_eval.__file__
logging.disable(logging.WARNING)
from lm_eval.tasks import TaskManager

metadata = {"data_dir": sys.argv[2], "own_data": True, "submission": sys.argv[1] + "/answers.json"}
manager = TaskManager(metadata=metadata)
names = [n for n in manager.all_subtasks if str(manager._index[n].yaml_path).startswith(sys.argv[1])]
limit = 10
for name in names:
    task = manager.load([name])["tasks"][name]
    docs = task.eval_docs
    assert len(docs) > 0 and len(task.dataset["dev"] if "dev" in task.dataset else [1]) > 0
    for doc in docs.select(range(min(limit, len(docs)))):
        text = task.doc_to_text(doc)
        assert isinstance(text, str)
        assert not (task.config.target_delimiter.isspace() and text[-1].isspace())
        choices = task.doc_to_choice(doc)
        assert isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
        assert isinstance(task.doc_to_target(doc), (int, str, list))
    task.build_all_requests(limit=limit)
    assert len(task.instances) == 4 * min(limit, len(docs))
assert not any(name.startswith("lm_eval_baichuan") for name in set(sys.modules) - already)
groups = [n for n in manager.all_groups if str(manager._index[n].yaml_path).startswith(sys.argv[1])]
import lm_eval.evaluator
lm_eval.evaluator.add_env_info = lambda results: None
lm_eval.evaluator.add_tokenizer_info = lambda results, lm: None
(whole,) = [group for group in groups if group in sys.argv[4:]]
results = lm_eval.simple_evaluate(model="dummy", tasks=[whole], task_manager=manager, bootstrap_iters=0)
print(json.dumps([len(names), len(groups), results["results"][whole]["acc,none"]]))
"""


@pytest.mark.parametrize(
    "folder", [pytest.param(name, marks=() if name == "ceval_5shot" else pytest.mark.slow) for name in FOLDERS]
)
def test_copied_into_lm_eval_it_works_without_this_package(folder: str, small_data: Path, tmp_path: Path) -> None:
    import lm_eval

    # A copy of lm-eval without its own tasks' folders (several hundred), holding ours.
    package = Path(lm_eval.__file__).parent
    own_tasks = {path.name for path in (package / "tasks").iterdir() if path.is_dir()}

    def without_tasks(directory: str, names: list[str]) -> set[str]:
        return own_tasks & set(names) if Path(directory) == package / "tasks" else {"__pycache__"} & set(names)

    shutil.copytree(package, tmp_path / "lm_eval", ignore=without_tasks)
    shutil.copytree(TASKS / folder, tmp_path / "lm_eval" / "tasks" / folder)
    command = [sys.executable, "-c", UPSTREAMS_CHECKS, str(tmp_path), str(small_data), str(REPOSITORY), folder]
    environment = {**os.environ, "LM_EVAL_BAICHUAN_NO_BRIDGE": "1", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    tasks, groups, accuracy = json.loads(done.stdout.splitlines()[-1])
    files = [path.name for path in (TASKS / folder).glob("*.yaml")]
    assert tasks + groups == len(files)
    assert groups == sum(name.startswith("_") for name in files)
    assert 0 <= accuracy <= 1


def test_each_folder_has_the_sections_in_common_that_it_needs() -> None:
    sections: dict[str, set[str]] = {}
    for folder in (*FOLDERS, "demo_5shot"):
        for name in re.findall(r"(?m)^# ---- Common: (.*) ----$", (TASKS / folder / "utils.py").read_text("utf-8")):
            sections.setdefault(name, set()).add(folder.removesuffix("_5shot"))
    everywhere = {"ceval", "mmlu", "cmmlu", "gaokao", "agieval", "demo"}
    assert sections == {
        "questions": everywhere,
        "data files": everywhere,
        "CSV files": {"ceval", "mmlu", "cmmlu", "demo"},
        "hub files": {"ceval", "mmlu", "cmmlu"},
        "parquet files": {"ceval", "mmlu"},
        "drawn shots": {"gaokao", "agieval"},
        "GitHub files": {"gaokao", "agieval"},
    }


def test_the_generator_sees_a_section_that_was_changed_in_one_folder(tmp_path: Path) -> None:
    for room in ("scripts", "tasks"):
        shutil.copytree(REPOSITORY / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    check = [sys.executable, str(tmp_path / "scripts" / "generate_tasks.py"), "--check"]
    utils = tmp_path / "tasks" / "mmlu_5shot" / "utils.py"
    utils.write_text(utils.read_text("utf-8").replace("def draw_key(*parts", "def draw_key(*pieces"), "utf-8")
    done = subprocess.run(check, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "differs: tasks/mmlu_5shot/utils.py\n")
    subprocess.run(check[:-1], check=True, capture_output=True)
    assert utils.read_bytes() == (TASKS / "mmlu_5shot" / "utils.py").read_bytes()


@pytest.mark.parametrize("folder", [*FOLDERS, "baichuan_5shot"])
def test_readme_has_the_form_that_lm_eval_asks_for(folder: str) -> None:
    text = (TASKS / folder / "README.md").read_text("utf-8")
    headings = re.findall(r"(?m)^#{2,4} (.*)$", text)
    asked = ["Paper", "Citation", "Groups, Tags, and Tasks", "Groups", "Tags", "Tasks", "Checklist", "Changelog"]
    assert [heading for heading in headings if heading in asked] == asked
    for word in ("Abstract", "Homepage", "```bibtex", "Is the task an existing benchmark", "reference implementation"):
        assert word in text
    named = set(re.findall(rf"`({folder}[a-z_]*)`", text))
    groups = {path.stem.removeprefix("_") for path in (TASKS / folder).glob("_*.yaml")}
    parts = {group for group in groups if any(group.startswith(f"{whole}_") for whole in named)}
    assert groups <= named | parts
    assert named <= groups | {path.stem for path in (TASKS / folder).glob("*.yaml")}


def test_bases_have_no_yaml_ending_and_every_task_a_version() -> None:
    for folder in FOLDERS:
        bases = {path.name for path in (TASKS / folder).iterdir() if path.name.endswith("_yaml")}
        used = set()
        for path in (TASKS / folder).iterdir():
            if path.suffix == ".yaml" or path.name.endswith("_yaml"):
                used |= set(re.findall(r"(?m)^include: (\S+)$", path.read_text("utf-8")))
        assert used == bases
        for path in (TASKS / folder).glob("_*.yaml"):
            assert re.search(r"(?m)^metadata:\n  version: \d", path.read_text("utf-8"))
