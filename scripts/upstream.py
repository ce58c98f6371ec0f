"""Holds each folder of tasks to the bar of lm-evaluation-harness, as its maintainers would.

    LM_EVAL_BAICHUAN_DATA=PATH python scripts/upstream.py                  # all five folders
    LM_EVAL_BAICHUAN_DATA=PATH python scripts/upstream.py cmmlu_5shot      # one
    ... --form dataset_path                                                # the form of scripts/dataset_path_form.py
    ... --no-tests                                                         # style alone, in seconds

Copies a folder into lm-eval as it is released, in an environment that has lm-eval and not this package. There it runs
lm-eval's tests/test_tasks.py on every task of the folder, ruff by lm-eval's rules and at its line length, and
the hooks of its pre-commit configuration that look into lm_eval/tasks, and prints the row for lm-eval's table of tasks.
Everything is kept in .upstream/ and used again by the next run; one run at a time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from dataset_path_form import HOMES, TASKS, write_stand_in, write_tasks

RELEASE = "0.4.13"
WORK = TASKS.parent / ".upstream"
SOURCE = WORK / f"lm_eval-{RELEASE}"
BIN = WORK / "environment" / "bin"

ROWS = {
    "agieval_5shot": ("AGIEval's four-option questions, 5-shot, as Baichuan describes it.", "English, Chinese"),
    "ceval_5shot": ("C-Eval's test split (and val), 5-shot, asked as Baichuan's published script asks it.", "Chinese"),
    "cmmlu_5shot": ("CMMLU, 5-shot, asked as its authors' code asks it.", "Chinese"),
    "gaokao_5shot": ("GAOKAO-Bench's single-choice questions, 5-shot, as Baichuan describes it.", "Chinese"),
    "mmlu_5shot": ("MMLU, 5-shot, asked as its authors' code asks it.", "English"),
}

# lm-eval's hooks and the files that each looks at; its codespell and pymarkdown leave lm_eval/tasks out.
HOOKS = (
    ("check-added-large-files", "*"),
    ("check-ast", "*.py"),
    ("check-case-conflict", "*"),
    ("check-json", "*.json"),
    ("check-merge-conflict --assume-in-merge", "*"),
    ("check-yaml --unsafe", "*.yaml"),
    ("detect-private-key", "*"),
    ("end-of-file-fixer", "*"),
    ("fix-byte-order-marker", "*"),
    ("mixed-line-ending --fix=lf", "*"),
    ("trailing-whitespace-fixer --markdown-linebreak-ext=md", "*"),
)

# lm-eval's tests ask a helper that its archive leaves out for the names of the changed tasks.
NEW_TASKS = """\
import os
from pathlib import Path

import lm_eval.tasks
from lm_eval.tasks._index import Kind, TaskIndex


def new_tasks():
    folder = Path(lm_eval.tasks.__file__).parent / os.environ["FOLDER"]
    index = TaskIndex.build([folder])
    assert {entry.yaml_path for entry in index.values()} == set(folder.glob("*.yaml"))
    # Not the groups: lm-eval refuses to load a task twice, in a group and by itself.
    return sorted(name for name, entry in index.items() if entry.kind is not Kind.GROUP)
"""

# Prompts and candidates of the two forms, side by side.
SAME_PROMPTS = """\
import logging, sys
from lm_eval.tasks import TaskManager

logging.disable(logging.WARNING)
plain, loader = (TaskManager(include_path=path, include_defaults=False) for path in sys.argv[1:])
asked = same = 0
for name in sorted(plain.all_subtasks):
    both = []
    for manager in (plain, loader):
        task = manager.load([name])["tasks"][name]
        task.build_all_requests()
        both.append([(instance.args, task.doc_to_target(instance.doc)) for instance in task.instances])
    one, other = ([(args, t if isinstance(t, int) else "ABCD".index(t)) for args, t in each] for each in both)
    assert len(one) == len(other), name
    asked += len(one) // 4
    same += sum(one[n : n + 4] == other[n : n + 4] for n in range(0, len(one), 4))
print(f"{same} of {asked} questions are asked alike")
sys.exit(same != asked)
"""


def run(*command: str | Path, folder: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in the unpacked lm-eval, and show what it says unless it ends well."""
    environment = {**os.environ, "FOLDER": folder, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(WORK / "cache")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(  # noqa: S603
        [str(word) for word in command], cwd=SOURCE, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        print((done.stdout + done.stderr)[-6000:])
    return done


def prepare() -> None:
    """Unpack lm-eval's released archive, and make the environment."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if not SOURCE.is_dir():
        WORK.mkdir(exist_ok=True)
        archive = ["--no-binary", "lm_eval", "--no-deps", "--dest", str(WORK), f"lm_eval=={RELEASE}"]
        subprocess.run([*pip, "download", *archive], check=True)  # noqa: S603
        with tarfile.open(next(WORK.glob(f"lm_eval-{RELEASE}.tar.gz"))) as packed:
            packed.extractall(WORK, filter="data")
        (SOURCE / "tests" / "__init__.py").touch()
        subprocess.run(["git", "init", "--quiet", str(SOURCE)], check=True)  # noqa: S603, S607  # hooks ask git
    (SOURCE / "tests" / "utils.py").write_text(NEW_TASKS, "utf-8")
    if not (BIN / "check-yaml").is_file():
        venv.create(BIN.parent, with_pip=True, clear=True)
        tools = ["--editable", str(SOURCE), "pytest", "pre-commit-hooks", "ruff"]
        subprocess.run([*pip, "--python", str(BIN / "python"), "install", *tools], check=True)  # noqa: S603
    absent = "import importlib.util as u, sys; sys.exit(u.find_spec('lm_eval_baichuan') is not None)"
    if run(BIN / "python", "-c", absent).returncode:
        sys.exit(f"lm_eval_baichuan can be imported in {BIN.parent}, where it must be absent. Remove that folder.")


def names_of(folder: Path) -> set[str]:
    """Return the names of all tasks and groups below a folder, as its YAML files write them."""
    named = re.compile(r"""(?m)^["']?(?:task|group)["']?: *["']?([\w.-]+)["']?\s*$""")
    return {name for file in folder.rglob("*.yaml") for name in named.findall(file.read_text("utf-8"))}


def copy(folder: str, form: str) -> Path:
    """Put a folder, and none of the others, into the unpacked lm-eval."""
    for name in ROWS:
        shutil.rmtree(SOURCE / "lm_eval" / "tasks" / name, ignore_errors=True)
    theirs = names_of(SOURCE / "lm_eval" / "tasks")
    target = SOURCE / "lm_eval" / "tasks" / folder
    if form == "loader":
        shutil.copytree(TASKS / folder, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        write_tasks(folder, target)
    taken = names_of(target) & theirs
    if taken:
        sys.exit(f"{folder}: lm-eval has tasks of these names already: {', '.join(sorted(taken))}")
    return target


def style(target: Path) -> dict[str, str]:
    """Run ruff and the hooks; say for each what it found."""
    where = target.relative_to(SOURCE)
    found = {"ruff": "ok", "format": "ok", "hooks": "ok"}
    if list(target.glob("*.py")):
        if run(BIN / "ruff", "check", "--output-format", "concise", where).returncode:
            found["ruff"] = "FAILED"
        if run(BIN / "ruff", "format", "--check", "--diff", where).returncode:
            found["format"] = "FAILED"
    shutil.rmtree(target / "__pycache__", ignore_errors=True)
    run("git", "add", "--all", "--force", where)
    for hook, pattern in HOOKS:
        files = [file.relative_to(SOURCE) for file in sorted(target.rglob(pattern)) if file.is_file()]
        name, *options = hook.split()
        if files and run(BIN / name, *options, *files).returncode:
            found["hooks"] = f"FAILED: {name}"
    return found


def tests(folder: str) -> str:
    """Run lm-eval's own tests of tasks on a folder; return pytest's last line."""
    of_new_tasks = ["tests/test_tasks.py", "-k", "TestNewTasksElseDefault"]  # the others are on tasks of lm-eval's own
    done = run(BIN / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *of_new_tasks, folder=folder)
    last = (done.stdout.strip().splitlines() or ["nothing was said"])[-1]
    return last if done.returncode == 0 else f"FAILED: {last}"


def same_prompts(folder: str, target: Path) -> str:
    """Compare every prompt and candidate of the two forms over the real questions."""
    done = run(BIN / "python", "-c", SAME_PROMPTS, target, TASKS / folder)
    last = (done.stdout.strip().splitlines() or ["nothing was said"])[-1]
    return last if done.returncode == 0 else f"FAILED: {last}"


def main() -> None:
    """Check the folders that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--form", choices=("loader", "dataset_path"), default="loader")
    parser.add_argument("--no-tests", action="store_true", help="look at style alone")
    arguments = parser.parse_args()
    possible = ROWS if arguments.form == "loader" else HOMES
    unknown = set(arguments.folders) - set(possible)
    if unknown:
        parser.error(f"no folder {', '.join(sorted(unknown))} in this form; there are {', '.join(possible)}")
    data = os.environ.get("LM_EVAL_BAICHUAN_DATA")
    if not data and not arguments.no_tests:
        parser.error("set LM_EVAL_BAICHUAN_DATA to the folder with the benchmarks' files (lm-eval-baichuan data fetch)")
    prepare()
    failed = False
    for folder in arguments.folders or sorted(possible):
        target = copy(folder, arguments.form)
        found = {}
        if not arguments.no_tests:
            if arguments.form == "dataset_path":
                shutil.rmtree(SOURCE / HOMES[folder].repository, ignore_errors=True)
                write_stand_in(folder, Path(str(data)).resolve(), SOURCE)
                found["prompts"] = same_prompts(folder, target)
            found["tests"] = tests(folder)
        found |= style(target)
        failed |= any("FAILED" in text for text in found.values())
        print(folder, *(f"{check}: {text}" for check, text in found.items()), sep="\n  ", flush=True)
        print(f"  | [{folder}]({folder}/README.md) | {' | '.join(ROWS[folder])} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
