"""What the ``lm_eval`` command looks at before a model is loaded: the model's arguments, and the data of our tasks."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .model_adapters.demo import demo_folder
from .model_adapters.errors import OptionError
from .model_adapters.hosts import without_warnings_of
from .model_adapters.hosts.bitsandbytes import KERNEL_LOGGER
from .model_adapters.hosts.lm_eval import model_class, quiet
from .model_adapters.hosts.torchao import TOLD_AT_IMPORT
from .registration import model_names, task_directories

logger = logging.getLogger(__name__)


class BeforeTheRun:
    """What is known of one run before it begins.

    Attributes:
        concerns_us: Whether the run is of a model or a task of this package.
        use_cache: The path given to ``--use_cache``, if any.
    """

    def __init__(self, arguments: Any) -> None:
        """Reads the parsed command line."""
        self.concerns_us = arguments.model in model_names()
        self.use_cache: str | None = None
        self._device_named = arguments.device is not None
        self._settings: Any = None

    def check_model(self, settings: Any) -> None:
        """Finds mistakes in the arguments of a model of ours, and names the device that the run is really on.

        Args:
            settings: Of the command, an `EvaluatorConfig`.

        Raises:
            EvaluationError: The model would not load, or not as asked.
        """
        self._settings = settings
        self.use_cache = settings.use_cache
        self.concerns_us = settings.model in model_names()
        if not self.concerns_us:
            return
        _check_limit(settings.limit)
        logging.getLogger(KERNEL_LOGGER).setLevel(logging.ERROR)  # peft imports it, quantized or not
        with without_warnings_of(*TOLD_AT_IMPORT):
            adapter = model_class(settings.model)
            from .model_adapters.lm.model_args import LM_EVAL_DEFAULT, check_device, devices_here

        default = not self._device_named and settings.device == LM_EVAL_DEFAULT
        check_device(settings.device, may_be_default=default)
        if default and devices_here() == ["cpu"]:
            settings.device = "cpu"  # where lm-eval puts the model then, though its results say otherwise
        for name in ("device", "batch_size", "max_batch_size"):
            if name in settings.model_args:  # lm-eval would give the model two of them
                raise OptionError(f"--model_args: {name} is an option of its own: --{name} {settings.model_args[name]}")
        options = {**settings.model_args, "batch_size": settings.batch_size, "max_batch_size": settings.max_batch_size}
        adapter.check_model_args(options, chat_form=bool(settings.apply_chat_template))

    def load_tasks(self, settings: Any, manager: Any) -> None:
        """Loads the tasks of this package, before the model is loaded, and has lm-eval take them when it asks for them.

        Args:
            settings: Of the command, an `EvaluatorConfig`, with the tasks' names.
            manager: lm-eval's `TaskManager`.

        Raises:
            OptionError: More shots are asked for than there are, no questions at all, or fewer than processes.
        """
        folders = [folder.resolve() for folder in task_directories()]
        names = [name for name in settings.tasks if isinstance(name, str) and name in manager.task_index]
        loaded: dict[str, Any] = {}
        ours: set[str] = set()
        for name in names:
            file = manager.task_index[name].yaml_path
            if file is not None and any(folder in Path(file).resolve().parents for folder in folders):
                found = manager.load([name])
                loaded[name] = (found["groups"] if name in found["groups"] else found["tasks"])[name]
                ours.update(found["tasks"])
                _check_shots(settings.num_fewshot, name, found["tasks"].values())
                _check_shares(settings, found["tasks"])
        if loaded:
            _check_limit(settings.limit)
            self.concerns_us = True
            quiet(ours)
            manager.load = _taking(loaded, manager.load)

    def meaning_of_the_demo(self) -> str | None:
        """What the score of the demo says, after a run of it as it is meant; None after any other run."""
        settings = self._settings
        if settings is None or settings.model != "baichuan" or settings.tasks != ["demo_5shot"]:
            return None
        name = settings.model_args.get("pretrained")
        as_meant = settings.num_fewshot is None and not settings.apply_chat_template
        if set(settings.metadata) != {"pretrained"} or not as_meant or demo_folder(str(name)) is None:
            return None
        return (
            f"{name} answers every question, acc 1.0, where prompts, tokens and arithmetic are right; it was trained "
            "to guess\n(0.25) where they are not. Below 1.0, trust no other score from this installation either: run "
            "its tests.\nNext, a checkpoint of your own, and its results beside the published table:\n"
            "  lm_eval --model baichuan --model_args pretrained=FOLDER --tasks ceval_5shot_val --output_path results\n"
            "  lm-eval-baichuan compare results"
        )


def _check_limit(asked: float | None) -> None:
    if asked is not None and not 0 < asked < float("inf"):
        raise OptionError(f"--limit {asked:g}: asks no questions. Give a number above 0, or a share such as 0.1.")


def _check_shares(settings: Any, tasks: Mapping[str, Any]) -> None:
    """Refuses fewer questions than processes that share them: lm-eval fails in a process without any."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if settings.model not in model_names() or settings.samples or settings.model_args.get("tp_plan"):
        return
    for name, task in tasks.items():
        there, limit = len(task.eval_docs), settings.limit
        asked = there if limit is None else math.ceil(there * limit) if limit < 1 else min(there, int(limit))
        if asked < processes:
            raise OptionError(
                f"{name}: {asked} of {there} questions for {processes} processes, so some would have none, which "
                "lm-eval cannot do. Ask more questions (--limit), or start fewer processes."
            )


def _check_shots(asked: int | None, name: str, tasks: Any) -> None:
    published = {task.config.num_fewshot for task in tasks}
    if asked is None or published == {asked}:
        return
    if asked > min(published):
        raise OptionError(f"--num_fewshot {asked}: the questions of {name} have {min(published)} shots. Ask for fewer.")
    logger.warning(
        "--num_fewshot %d: the protocol of %s is %s-shot, so its score does not compare with the published one. The "
        "results record it.",
        asked,
        name,
        " and ".join(map(str, sorted(published))),
    )


def _taking(loaded: dict[str, Any], load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`TaskManager.load` with these tasks and groups in the place of their names."""

    def load_rest(tasks: Any) -> Any:
        specs = tasks if isinstance(tasks, list) else [tasks]
        return load([loaded.get(spec, spec) if isinstance(spec, str) else spec for spec in specs])

    return load_rest
