"""The kinds of lm-eval that are to be expected, made from copies of the installed one.

What they discover of a package's entry points: ``none`` (releases up to 0.4.13), ``models`` (merged after it), ``both``
(models, and tasks as proposed upstream). A host that discovers less than the installed lm-eval cannot be made from it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import lm_eval
import lm_eval.api.registry
import lm_eval.tasks.manager

DISCOVERS_MODELS = hasattr(lm_eval.api.registry, "load_plugins")
DISCOVERS_TASKS = hasattr(lm_eval.tasks.manager, "discover_plugin_task_paths")

HOSTS = {"none": (False, False), "models": (True, False), "both": (True, True)}
"""Whether each kind discovers models, and tasks."""

POSSIBLE_HOSTS = [
    kind for kind, (models, tasks) in HOSTS.items() if models >= DISCOVERS_MODELS and tasks >= DISCOVERS_TASKS
]


def copy_lm_eval(into: Path) -> Path:
    """Copy the installed lm-eval with few of its tasks, which it lists in seconds instead of half a minute."""
    source = Path(str(lm_eval.__file__)).parent

    def leave_out(folder: str, names: list[str]) -> set[str]:
        skipped = {"__pycache__"}
        if Path(folder) == source / "tasks":
            skipped |= {name for name in names if Path(folder, name).is_dir() and name != "hellaswag"}
        return skipped

    shutil.copytree(source, into / "lm_eval", ignore=leave_out)
    return into


def change(file: Path, old: str, new: str) -> None:
    """Replace a piece of text that stands in a file once."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times"
    file.write_text(text.replace(old, new), encoding="utf-8")


def make_host(kind: str, into: Path) -> Path:
    """Copy the installed lm-eval and make it discover what its kind does."""
    copy_lm_eval(into)
    models, tasks = HOSTS[kind]
    if models and not DISCOVERS_MODELS:
        _discover_models(into / "lm_eval" / "api" / "registry.py")
    if tasks and not DISCOVERS_TASKS:
        _discover_tasks(into / "lm_eval" / "tasks" / "manager.py")
    return into


def _discover_models(registry: Path) -> None:
    """As upstream's plugin guide has it.

    Looking a name up reads the group once, and keeps each entry point unimported; a name that is taken stays as it is;
    a class that registers itself replaces the entry point that names it.
    """
    change(
        registry,
        "        import lm_eval.models  # noqa: F401\n",
        '        import lm_eval.models  # noqa: F401\n    load_plugins("lm_eval.models", model_registry)\n',
    )
    change(registry, "isinstance(current, str)\n", "isinstance(current, (str, md.EntryPoint))\n")
    change(
        registry,
        'current == f"{target.__module__}:{target.__name__}"',
        'getattr(current, "value", current) == f"{target.__module__}:{target.__name__}"',
    )
    with registry.open("a", encoding="utf-8") as file:
        file.write(
            """
_read_groups = set()


def load_plugins(group, registry):
    if group in _read_groups:
        return []
    _read_groups.add(group)
    new = [point for point in md.entry_points(group=group) if point.name not in registry]
    for point in new:
        registry.register(point.name, target=point)
    return [point.name for point in new]
"""
        )


def _discover_tasks(manager: Path) -> None:
    """As proposed upstream: the packages' folders behind lm-eval's own and before the user's, and with no own ones too.

    The group is read once a process; an entry point that names no package is left out.
    """
    change(
        manager,
        "        if include_path:\n            all_paths += [",
        "        all_paths += discover_plugin_task_paths()\n        if include_path:\n            all_paths += [",
    )
    with manager.open("a", encoding="utf-8") as file:
        file.write(
            """
import functools
import importlib.metadata
import importlib.util


@functools.cache
def discover_plugin_task_paths():
    paths = []
    for point in importlib.metadata.entry_points(group="lm_eval.tasks"):
        try:
            spec = importlib.util.find_spec(point.value)
        except ImportError:
            spec = None
        if spec is not None:
            paths.append(Path(spec.origin).parent.resolve())
    return paths
"""
        )
