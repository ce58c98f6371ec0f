"""The patch that keeps lm-eval's parsed task files, applied to a copy of the installed lm-eval."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lm_eval_hosts import copy_lm_eval

PATCH = Path(__file__).resolve().parents[1] / "docs" / "upstream" / "kept-task-index.patch"
LONG_AGO = 1_600_000_000
COUNT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lm_eval.tasks import _index
read, own = [], _index.load_yaml
def load_yaml(path, **options):
    read.append(path)
    return own(path, **options)
_index.load_yaml = load_yaml
index = _index.TaskIndex.build([Path(_index.__file__).parent, *map(Path, sys.argv[2:])])
print(len(read))
print({name: (str(entry.yaml_path), entry.kind, entry.cfg, sorted(entry.tags)) for name, entry in index.items()})
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.metadata.version("lm_eval") != "0.4.13", reason="the patch is for lm-eval 0.4.13"),
    pytest.mark.skipif(shutil.which("patch") is None, reason="there is no command `patch` here"),
]


@pytest.fixture
def patched(tmp_path: Path) -> Path:
    host = copy_lm_eval(tmp_path / "host")
    subprocess.run(["patch", "-p1", "--input", str(PATCH)], cwd=host, check=True, capture_output=True)  # noqa: S603,S607
    for file in (host / "lm_eval" / "tasks").rglob("*"):
        os.utime(file, (LONG_AGO, LONG_AGO))
    return host


def built(host: Path, *include: Path, **environment: str) -> tuple[int, str]:
    """How many files a new process parses, and the index that it builds."""
    cache = {"XDG_CACHE_HOME": str(host.parent / "cache")}
    command = [sys.executable, "-S", "-c", COUNT, str(host), *map(str, include)]
    where = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))}
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **cache, **where, **environment}, capture_output=True, text=True, check=True
    )
    read, index = done.stdout.strip().split("\n", 1)
    return int(read), index


def test_files_are_parsed_once_and_the_index_is_the_same(patched: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "one.yaml").write_text("task: one\n")
    parsed, index = built(patched, mine, LM_EVAL_NO_TASK_CACHE="1")
    assert parsed > 1 and "hellaswag" in index and "'one'" in index
    assert built(patched, mine) == (parsed, index)
    assert built(patched, mine) == (1, index)  # a folder of --include_path is parsed each time
    changed = patched / "lm_eval" / "tasks" / "hellaswag" / "hellaswag.yaml"
    changed.write_text(changed.read_text("utf-8").replace("task: hellaswag", "task: changed_name"), encoding="utf-8")
    os.utime(changed, (LONG_AGO + 1, LONG_AGO + 1))
    parsed_again, other = built(patched, mine)
    assert parsed_again == parsed and "'changed_name'" in other and "'hellaswag'" not in other
