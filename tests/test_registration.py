"""The host's own command line sees the models and the tasks, and every other process is left alone.

The tests hold on every lm-eval, whatever it discovers by itself; `lm_eval_hosts` makes the kinds to be expected.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lm_eval_hosts import (
    DISCOVERS_MODELS,
    DISCOVERS_TASKS,
    HOSTS,
    POSSIBLE_HOSTS,
    change,
    copy_lm_eval,
    make_host,
)

import lm_eval_baichuan

TASKS = Path(next(iter(importlib.util.find_spec("lm_eval_baichuan.tasks").submodule_search_locations)))  # type: ignore[union-attr,arg-type]
GROUPS = sorted(folder.name for folder in TASKS.iterdir() if folder.is_dir() and list(folder.glob("*.yaml")))


def run(
    *arguments: str, path: Path | None = None, bridge: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a fresh process, away from the source tree, with `path` in front of site-packages."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LM_EVAL_BAICHUAN_")}
    environment |= {"PYTHONPATH": str(path or ""), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if not bridge:
        environment["LM_EVAL_BAICHUAN_NO_BRIDGE"] = "1"
    environment |= variables
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd="/", timeout=300
    )


def evaluate(code: str, path: Path | None = None, bridge: bool = True, **variables: str) -> str:
    """Run code in a fresh process and return what it printed; a failure is the test's."""
    done = run("-c", code, path=path, bridge=bridge, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    try:
        importlib.metadata.distribution("lm-eval-baichuan")
    except importlib.metadata.PackageNotFoundError:
        pytest.fail("install the package first (pip install '.[test]'): these tests run the installed one")


@pytest.fixture(scope="module")
def small_lm_eval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of lm-eval with few tasks, which it lists in seconds instead of half a minute."""
    return copy_lm_eval(tmp_path_factory.mktemp("small"))


# ------------------------------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def listing() -> subprocess.CompletedProcess[str]:
    return run("-m", "lm_eval", "ls", "tasks")


@pytest.mark.slow
def test_lm_eval_lists_our_tasks_beside_its_own(listing: subprocess.CompletedProcess[str]) -> None:
    assert listing.returncode == 0, listing.stderr
    names = set(re.findall(r"^\|(\S+)", listing.stdout, re.MULTILINE))
    assert GROUPS and set(GROUPS) <= names
    assert {"hellaswag", "ceval-valid", "mmlu"} <= names


@pytest.mark.slow
def test_no_name_of_ours_is_one_of_lm_evals(listing: subprocess.CompletedProcess[str]) -> None:
    assert "overrides existing task" not in listing.stderr


def test_lm_eval_validates_our_tasks(small_lm_eval: Path) -> None:
    done = run("-m", "lm_eval", "validate", "--tasks", ",".join(GROUPS), path=small_lm_eval)
    assert (done.returncode, "All tasks found and valid" in done.stdout) == (0, True), done.stdout + done.stderr
    assert run("-m", "lm_eval", "validate", "--tasks", "no_such_5shot", path=small_lm_eval).returncode == 1


def test_module_command_line_needs_no_bridge(small_lm_eval: Path) -> None:
    validate = ["validate", "--tasks", GROUPS[0]]
    without = run("-m", "lm_eval", *validate, path=small_lm_eval, bridge=False)
    assert ("Tasks not found" in without.stdout) is not DISCOVERS_TASKS, without.stderr
    module = run("-m", "lm_eval_baichuan", *validate, path=small_lm_eval, bridge=False)
    assert (module.returncode, "All tasks found and valid" in module.stdout) == (0, True), module.stderr
    both = run("-m", "lm_eval_baichuan", *validate, path=small_lm_eval)
    assert (both.returncode, "overrides existing task" in both.stderr) == (0, False), both.stderr


def test_accelerate_launch_sees_our_tasks(small_lm_eval: Path) -> None:
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
    options = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    done = run(*launch, *options, "-m", "lm_eval", "validate", "--tasks", GROUPS[0], path=small_lm_eval)
    assert (done.returncode, "All tasks found and valid" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_helper_command_is_installed() -> None:
    commands = importlib.metadata.distribution("lm-eval-baichuan").entry_points.select(group="console_scripts")
    assert [(command.name, command.value) for command in commands] == [
        ("lm-eval-baichuan", "lm_eval_baichuan.cli:main")
    ]


# ---------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("order", [("baichuan", "hf", "hf-trie"), ("hf", "hf-trie", "baichuan")])
def test_get_model_finds_ours_and_all_of_lm_evals(order: tuple[str, ...]) -> None:
    found = evaluate(
        f"""
from lm_eval.api.registry import get_model, model_registry
for name in {order!r}:
    print(name, get_model(name).__name__)
from lm_eval.models import MODEL_MAPPING
print(set(MODEL_MAPPING) - set(model_registry.keys()), sorted(set(model_registry.keys()) - set(MODEL_MAPPING)))
"""
    )
    classes = {"baichuan": "baichuan BaichuanLM", "hf": "hf HFLM", "hf-trie": "hf-trie TrieLM"}
    assert found.splitlines() == [*(classes[name] for name in order), "set() ['baichuan', 'baichuan-vllm', 'hf-trie']"]


def test_importing_the_adapter_itself_is_no_clash() -> None:
    code = "from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM\n"
    code += "from lm_eval.api.registry import get_model\n"
    assert evaluate(code + "print(get_model('baichuan') is BaichuanLM, get_model('hf').__name__)") == "True HFLM"


def test_a_model_of_lm_evals_own_called_baichuan_stays_lm_evals(tmp_path: Path) -> None:
    copy_lm_eval(tmp_path)
    models = tmp_path / "lm_eval" / "models" / "__init__.py"
    change(models, "MODEL_MAPPING = {\n", 'MODEL_MAPPING = {\n    "baichuan": "lm_eval.models.dummy:DummyLM",\n')
    code = "from lm_eval.api.registry import get_model; print(get_model('baichuan').__name__)"
    assert evaluate(code, path=tmp_path) == "DummyLM"


def test_without_model_args_the_published_checkpoint_is_evaluated() -> None:
    # lm-eval's command line hands over an empty dictionary, simple_evaluate an empty string; there is no hub in tests.
    code = """
from lm_eval.api.registry import get_model
model = get_model("baichuan")
for create, nothing in (model.create_from_arg_obj, {}), (model.create_from_arg_string, ""):
    try:
        create(nothing)
    except ValueError as error:
        print(error)
"""
    found = evaluate(code).splitlines()
    assert len(found) == 2
    assert all(line.startswith("baichuan-inc/Baichuan-7B: ") for line in found), found


# ----------------------------------------------------------------------------------------------------------- tasks


def test_registering_again_changes_nothing(small_lm_eval: Path) -> None:
    code = """
import lm_eval.models
from lm_eval.api.registry import model_registry
from lm_eval.tasks._index import TaskIndex
from lm_eval_baichuan.registration import add_task_directories, register_models
before = TaskIndex.build, dict(model_registry.items())
register_models()
add_task_directories()
print(before == (TaskIndex.build, dict(model_registry.items())), "baichuan" in model_registry)
"""
    assert evaluate(code, path=small_lm_eval) == f"True {not DISCOVERS_MODELS}"


def test_every_yaml_file_is_indexed() -> None:
    # lm-eval skips a file that it cannot read without a word at the default level of logging.
    from lm_eval.tasks._index import TaskIndex

    indexed = {entry.yaml_path for entry in TaskIndex.build([TASKS]).values()}
    files = set(TASKS.glob("**/*.yaml"))
    assert files and files - indexed == set()


def index_code(options: str) -> str:
    return f"""
from lm_eval.tasks import TaskManager
index = TaskManager({options}).task_index
print({GROUPS[0]!r} in index and index[{GROUPS[0]!r}].yaml_path, "hellaswag" in index, len(index))
"""


def test_include_path_wins_over_ours_and_ours_over_lm_evals(small_lm_eval: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text(f"task: {GROUPS[0]}\ndataset_path: none\noutput_type: multiple_choice\n")
    path, hellaswag, _ = evaluate(index_code(f"include_path={str(tmp_path)!r}"), path=small_lm_eval).split()
    assert (path, hellaswag) == (str(theirs), "True")

    copied = copy_lm_eval(tmp_path / "lm-eval-with-the-same-name")
    shutil.copy(theirs, copied / "lm_eval" / "tasks" / "theirs.yaml")
    path, _, _ = evaluate(index_code(""), path=copied).split()
    assert Path(path).is_relative_to(TASKS)


def test_include_defaults_false_means_only_what_the_caller_names(small_lm_eval: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("task: theirs\ndataset_path: none\noutput_type: multiple_choice\n")
    code = index_code(f"include_path={str(tmp_path)!r}, include_defaults=False")
    found = evaluate(code, path=small_lm_eval)
    assert found == evaluate(code, path=small_lm_eval, bridge=False)
    if not DISCOVERS_TASKS:  # where lm-eval does, it takes them to be no defaults
        assert found == "False False 1"


def test_what_lm_eval_read_is_kept_for_the_next_command(small_lm_eval: Path, tmp_path: Path) -> None:
    code = """
import lm_eval.tasks._index as index
from lm_eval.tasks import TaskManager
read, load = [], index.load_yaml
index.load_yaml = lambda path, **options: read.append(path) or load(path, **options)
names = list(TaskManager().task_index)
print(len(read), len(names))
"""
    for file in (small_lm_eval / "lm_eval" / "tasks").rglob("*"):
        os.utime(file, (1_600_000_000, 1_600_000_000))
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    (first, count), (second, same), (off, also) = (
        evaluate(code, small_lm_eval, **environment, **more).split()
        for more in ({}, {}, {"LM_EVAL_BAICHUAN_NO_TASK_INDEX": "1"})
    )
    assert int(first) == int(off) > 250 and int(second) < 10 and count == same == also


def test_our_folder_as_include_path_is_not_scanned_twice(small_lm_eval: Path) -> None:
    done = run("-c", index_code(f"include_path={str(TASKS)!r}"), path=small_lm_eval)
    assert (done.returncode, "overrides existing task" in done.stderr) == (0, DISCOVERS_TASKS), done.stderr


def test_listing_tasks_imports_nothing_heavy_because_of_us(small_lm_eval: Path) -> None:
    code = "import sys; from lm_eval.tasks import TaskManager; TaskManager().list_all_tasks(); print(*sys.modules)"
    ours, theirs = (set(evaluate(code, small_lm_eval, bridge).split()) for bridge in (True, False))
    added = {name for name in ours - theirs if not name.startswith("lm_eval_baichuan")}
    assert "torch" not in ours
    assert added == set()


# ------------------------------------------------------------------------------------ the bridge as a good neighbour


def test_the_bridge_imports_nothing_and_takes_under_two_milliseconds() -> None:
    # -X importtime: "import time: self [us] | cumulative | name", a nested import before and deeper than its importer.
    cumulative = []
    for _ in range(20):
        lines = run("-X", "importtime", "-c", "pass").stderr.splitlines()
        table = [line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")]
        ours = [(int(total), name) for _, total, name in table if name.strip().startswith("lm_eval_baichuan")]
        depth = min(len(name) - len(name.lstrip()) for _, name in ours)
        cumulative.append(sum(total for total, name in ours if len(name) - len(name.lstrip()) == depth))
    assert min(cumulative) < 2000, f"microseconds: {sorted(cumulative)}"

    beside = Path(str(lm_eval_baichuan.__file__)).parent.parent
    code = f"import os, sys; sys.path = [{str(beside)!r}]; before = set(sys.modules)"
    code += "; import lm_eval_baichuan.startup_bridge; print(*set(sys.modules) - before)"
    added = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert set(added.stdout.split()) == {"lm_eval_baichuan", "lm_eval_baichuan.startup_bridge"}


def test_the_environment_variable_switches_the_bridge_off() -> None:
    code = "import sys; print('FollowingFinder' in [getattr(finder, '__name__', '') for finder in sys.meta_path])"
    assert (evaluate(code), evaluate(code, bridge=False)) == ("True", "False")


@pytest.mark.skipif(DISCOVERS_TASKS, reason="this lm-eval finds the tasks itself")
def test_an_lm_eval_that_indexes_otherwise_still_runs(tmp_path: Path) -> None:
    changed = copy_lm_eval(tmp_path)
    index = changed / "lm_eval" / "tasks" / "_index.py"
    change(index, "    @staticmethod\n    def build(\n        paths", "    def build(\n        self,\n        paths")
    done = run("-m", "lm_eval", "validate", "--tasks", "hellaswag", path=changed)
    assert (done.returncode, "All tasks found and valid" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "lm-eval-baichuan could not register itself" in done.stderr
    module = run("-m", "lm_eval_baichuan", "validate", "--tasks", "hellaswag", path=changed)
    assert module.returncode != 0  # here the user asked for us, so the reason is shown
    assert "expected a static method TaskIndex.build(paths, …)" in module.stderr


@pytest.mark.skipif(DISCOVERS_MODELS, reason="this lm-eval finds the models itself")
def test_a_registry_that_refuses_us_keeps_lm_evals_models(tmp_path: Path) -> None:
    changed = copy_lm_eval(tmp_path)
    with (changed / "lm_eval" / "models" / "__init__.py").open("a") as models:
        models.write("from lm_eval.api.registry import model_registry\nmodel_registry.freeze()\n")
    done = run("-c", "import lm_eval.models as m; print('hf' in m.model_registry)", path=changed)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
    assert "lm-eval-baichuan could not register itself" in done.stderr


# --------------------------------------------------------------------------------------- what each lm-eval discovers

WHAT_A_HOST_SEES = """
import importlib.metadata, json, logging, sys

warned = []
logging.getLogger("lm_eval").addHandler(handler := logging.Handler())
handler.emit = lambda record: warned.append(record.getMessage())
from lm_eval.api.registry import get_model, model_registry
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import TaskIndex

get_model("dummy")
entry_points = importlib.metadata.distribution("lm-eval-baichuan").entry_points
ours = [entry_point.name for entry_point in entry_points.select(group="lm_eval.models")]
kept = {name: type(model_registry._objs.get(name)).__name__ for name in ours}
index = TaskManager().task_index
tasks = [name for name, entry in index.items() if str(entry.yaml_path).startswith(sys.argv[1])]
theirs = TaskManager(include_path=sys.argv[2]).task_index["ceval_5shot"].yaml_path
print(json.dumps({
    "kept": kept, "tasks": len(tasks), "theirs": str(theirs),
    "wrapped": hasattr(TaskIndex.build, "plugin_directories"), "warned": warned,
    "models": [get_model(name).__name__ for name in ("hf", *ours) if name != "baichuan-vllm"],  # its class needs vLLM
}))
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's task with the name of one of ours."""
    file = tmp_path_factory.mktemp("theirs") / "theirs.yaml"
    file.write_text("task: ceval_5shot\ndataset_path: none\noutput_type: multiple_choice\n")
    return file


def what_it_sees(host: Path, theirs: Path, bridge: bool) -> dict[str, Any]:
    done = run("-c", WHAT_A_HOST_SEES, str(TASKS), str(theirs.parent), path=host, bridge=bridge)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


@pytest.mark.parametrize("kind", POSSIBLE_HOSTS)
def test_every_lm_eval_sees_our_models_and_tasks_once_and_we_stand_aside_where_it_finds_them(
    kind: str, theirs: Path, tmp_path: Path
) -> None:
    discovers_models, discovers_tasks = HOSTS[kind]
    seen = what_it_sees(make_host(kind, tmp_path), theirs, bridge=True)
    assert set(seen["kept"].values()) == {"EntryPoint" if discovers_models else "str"}  # lm-eval's entry, or our text
    assert seen["models"][:2] == ["HFLM", "BaichuanLM"]
    assert seen["tasks"] == len(list(TASKS.glob("**/*.yaml")))
    assert seen["wrapped"] is not discovers_tasks
    assert seen["theirs"] == str(theirs)
    # The user's task overrides ours, which lm-eval says; nothing else is there twice.
    assert [line for line in seen["warned"] if "overrides" in line and str(theirs) not in line] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in POSSIBLE_HOSTS if kind != "none"])
def test_without_the_bridge_a_lm_eval_sees_the_half_that_it_discovers(kind: str, theirs: Path, tmp_path: Path) -> None:
    discovers_tasks = HOSTS[kind][1]
    seen = what_it_sees(make_host(kind, tmp_path), theirs, bridge=False)
    assert set(seen["kept"].values()) == {"EntryPoint"}
    assert seen["models"][:2] == ["HFLM", "BaichuanLM"]
    assert seen["tasks"] == (len(list(TASKS.glob("**/*.yaml"))) if discovers_tasks else 0)


@pytest.mark.skipif("none" not in POSSIBLE_HOSTS, reason="this lm-eval discovers plugins itself")
def test_a_lm_eval_that_finds_our_folder_under_a_name_we_do_not_know_scans_it_once(tmp_path: Path) -> None:
    manager = make_host("both", tmp_path) / "lm_eval" / "tasks" / "manager.py"
    manager.write_text(manager.read_text("utf-8").replace("discover_plugin_task_paths", "folders_of_plugins"), "utf-8")
    done = run("-c", index_code(""), path=tmp_path)
    assert (done.returncode, "overrides existing task" in done.stderr) == (0, False), done.stderr
    assert Path(done.stdout.split()[0]).is_relative_to(TASKS)
