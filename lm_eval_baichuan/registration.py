"""Registers this package's models and tasks with a lm-eval that does not discover them.

Its command that evaluates is also looked after here: see `lm_eval_command`.

There are three kinds of lm-eval: releases up to 0.4.13 discover no plugins, later ones discover models, and discovering
tasks too is proposed. So there is one function for each half. Both read the entry points that ``pyproject.toml``
declares, so a lm-eval that reads them itself sees exactly the same; each does nothing where lm-eval discovers its half,
and nothing when called again. `complete_task_manager` also has lm-eval keep what it reads of the tasks' folders.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import task_index as kept_index
from .model_adapters.hosts.lm_eval import model_registry, reads_tasks, task_index, task_manager, wrap_command

DISTRIBUTION = "lm-eval-baichuan"


def register_models() -> None:
    """Add this package's models to lm-eval's registry, unimported, after lm-eval's own.

    lm-eval fills the registry only while it is empty, so the first entry must never be ours: that would hide ``hf`` and
    all the others. A name that lm-eval itself knows stays lm-eval's.
    """
    registry = model_registry()
    if registry is None:
        return  # this lm-eval reads the group itself
    for entry_point in _entry_points("lm_eval.models"):
        if entry_point.name not in registry:
            # As text, not as EntryPoint: when the class then registers itself under the same name, lm-eval 0.4.13
            # lets it replace a text and takes anything else for a clash.
            registry.register(entry_point.name, target=f"{entry_point.module}:{entry_point.attr}")


def complete_task_manager() -> None:
    """Add this package's folders of tasks, and keep what lm-eval reads of them and of its own for the next command."""
    keep_task_index()  # first, so that it sees the folders that the other adds
    add_task_directories()


def keep_task_index() -> None:
    """Let lm-eval read its own tasks and this package's from disk where their files haven't changed."""
    index = reads_tasks()
    if index is None or kept_index.switched_off() or hasattr(index.TaskIndex.build, "kept_folders"):
        return
    if not _takes_paths(index):
        return  # another way of building it: nothing is kept
    versions = {package: importlib.metadata.version(package) for package in ("lm_eval", "pyyaml", DISTRIBUTION)}
    kept_index.remember_files(index, [Path(str(index.__file__)).parent, *task_directories()], versions)
    manager = task_manager()
    if manager is not None:
        kept_index.remember_listing(manager, {**versions, "pytablewriter": importlib.metadata.version("pytablewriter")})


def add_task_directories() -> None:
    """Make lm-eval scan this package's tasks after its own and before those of ``--include_path``.

    Raises:
        RuntimeError: this lm-eval builds its index of tasks in a way that we don't know.
    """
    index = task_index()
    if index is None:
        return  # this lm-eval reads the group itself
    build = index.TaskIndex.build
    if hasattr(build, "plugin_directories"):
        return
    if not _takes_paths(index):
        parameters = list(inspect.signature(build).parameters)
        raise RuntimeError(f"expected a static method TaskIndex.build(paths, …) in {index.__file__}, got {parameters}")
    own_tasks = Path(str(index.__file__)).parent
    directories = task_directories()

    @functools.wraps(build)
    def build_with_plugins(paths: Iterable[Path], **options: Any) -> Any:
        return build(_insert_after(own_tasks, directories, list(paths)), **options)

    build_with_plugins.plugin_directories = directories  # type: ignore[attr-defined]
    index.TaskIndex.build = staticmethod(build_with_plugins)


def _takes_paths(index: Any) -> bool:
    """Whether lm-eval's index is built by a static method of paths, the only way that is known here."""
    static = isinstance(inspect.getattr_static(index.TaskIndex, "build"), staticmethod)
    return static and list(inspect.signature(index.TaskIndex.build).parameters)[:1] == ["paths"]


def look_after_command() -> None:
    """Have lm-eval's command that evaluates look for known mistakes first, and tell them in a line each."""
    from .lm_eval_command import run

    wrap_command(run)


def model_names() -> list[str]:
    """Return the names of this package's models."""
    return [entry_point.name for entry_point in _entry_points("lm_eval.models")]


def _entry_points(group: str) -> Sequence[importlib.metadata.EntryPoint]:
    """Return this package's own entry points of a group; other packages' are not ours to register."""
    return list(importlib.metadata.distribution(DISTRIBUTION).entry_points.select(group=group))


def task_directories() -> list[Path]:
    """Return the folders of the packages named by the entry points, importing none of them."""
    directories = []
    for entry_point in _entry_points("lm_eval.tasks"):
        spec = importlib.util.find_spec(entry_point.module)
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(f"the package {entry_point.module} of entry point {entry_point} is not installed")
        directories += [Path(location) for location in spec.submodule_search_locations]
    return directories


def _insert_after(own_tasks: Path, directories: Sequence[Path], paths: list[Path]) -> list[Path]:
    """Insert plugin directories behind lm-eval's own tasks: later paths win, so a user's still do.

    Args:
        own_tasks: lm-eval's own folder. Where it is not in the paths (``include_defaults=False``), the caller wants
            only what it names, and gets that.
        directories: the folders to insert. One that is there already was named by the user, or found by lm-eval itself.
        paths: what lm-eval is about to scan, in order.

    Returns:
        The paths to scan instead.
    """
    if own_tasks not in paths:
        return paths
    present = {Path(path).resolve() for path in paths}
    behind = paths.index(own_tasks) + 1
    return paths[:behind] + [path for path in directories if path.resolve() not in present] + paths[behind:]
