"""Names of lm-eval that are private or have moved.

Nothing of lm-eval, nor torch, is imported until a function here is called: the front door registers itself through this
file, and tells what it has before lm-eval is loaded.
"""

from __future__ import annotations

import functools
import glob
import importlib
import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from . import Lean

MODELS = "lm_eval.models"
"""The module whose import fills lm-eval's registry of models."""

TASK_MANAGER = "lm_eval.tasks.manager"
"""The module that decides which folders hold tasks."""

COMMAND = "lm_eval._cli.run"
"""The module of the command that evaluates."""

TASK_INDEX = "lm_eval.tasks._index"
"""The module that finds tasks in folders."""


EVALUATOR = "lm_eval.evaluator"
"""The module of `simple_evaluate`."""

_OVERWRITING = "Overwriting default num_fewshot of"
"""How its warning about ``--num_fewshot`` begins, whose first argument is the task."""


def model_registry() -> Any | None:
    """lm-eval's registry of models, filled with its own; None where lm-eval reads the entry points itself."""
    importlib.import_module(MODELS)
    registry = importlib.import_module("lm_eval.api.registry")
    return None if hasattr(registry, "load_plugins") else registry.model_registry


def model_class(name: str) -> Any:
    """The class of a model that lm-eval knows by name; it is imported for that."""
    return importlib.import_module("lm_eval.api.registry").get_model(name)


def task_index() -> Any | None:
    """The module of `TaskIndex`; None where lm-eval reads the entry points itself."""
    manager = importlib.import_module(TASK_MANAGER)
    return None if hasattr(manager, "discover_plugin_task_paths") else importlib.import_module(TASK_INDEX)


def reads_tasks() -> Any | None:
    """The module of `TaskIndex` where it reads a file by a `load_yaml` of its own; None where it does otherwise."""
    try:
        index = importlib.import_module(TASK_INDEX)
    except ImportError:
        return None
    return index if hasattr(index, "load_yaml") and hasattr(index, "TaskIndex") else None


def task_manager() -> Any | None:
    """The class that lists tasks, where it does that by its `list_all_tasks` and `task_index`; else None."""
    manager = getattr(importlib.import_module(TASK_MANAGER), "TaskManager", None)
    return manager if hasattr(manager, "list_all_tasks") and hasattr(manager, "task_index") else None


def wrap_command(around: Callable[[Callable[[Any], None], Any], None]) -> None:
    """Has lm-eval's command that evaluates done by ``around(command, arguments)``; once, however often it is called.

    Args:
        around: Takes lm-eval's own function and the parsed arguments that it is to be called with.
    """
    run = importlib.import_module(COMMAND).Run
    command = run._execute
    if hasattr(command, "__wrapped__"):
        return

    @functools.wraps(command)
    def wrapped(arguments: Any) -> None:
        around(command, arguments)

    run._execute = staticmethod(wrapped)


@contextmanager
def around_choosing_tasks(before: Callable[[Any], None], after: Callable[[Any, Any], None]) -> Iterator[None]:
    """Inside this block, lm-eval's command calls back before it looks for the tasks by name, and once it found them.

    Args:
        before: Takes the settings of the command, an `EvaluatorConfig`.
        after: Takes the settings and the `TaskManager`. The model comes after that.
    """
    from lm_eval.config.evaluate_config import EvaluatorConfig

    process_tasks = EvaluatorConfig.process_tasks

    @functools.wraps(process_tasks)
    def wrapped(settings: Any, *arguments: Any, **options: Any) -> Any:
        before(settings)
        manager = process_tasks(settings, *arguments, **options)
        after(settings, manager)
        return manager

    EvaluatorConfig.process_tasks = wrapped
    try:
        yield
    finally:
        EvaluatorConfig.process_tasks = process_tasks


def quiet(tasks: Collection[str]) -> None:
    """Leaves out what lm-eval shows though nothing is wrong, or once for each task.

    The bars of building prompts, one a task, show only where a task takes long, and go when it is done; and git isn't
    asked for the commit of a folder that is in no repository, which it calls fatal.

    Args:
        tasks: Whose ``--num_fewshot`` is told by somebody else.
    """

    def told(record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not (str(record.msg).startswith(_OVERWRITING) and arguments[0] in tasks)

    logging.getLogger(EVALUATOR).addFilter(told)
    task: Any = importlib.import_module("lm_eval.api.task")
    if not isinstance(task.tqdm, functools.partial):
        task.tqdm = functools.partial(task.tqdm, delay=2, leave=False)
    evaluator: Any = importlib.import_module(EVALUATOR)
    ask_git = evaluator.get_git_commit_hash
    if hasattr(ask_git, "__wrapped__"):
        return

    @functools.wraps(ask_git)
    def ask_in_a_repository() -> str | None:
        here = Path.cwd()
        in_one = any((folder / ".git").exists() for folder in (here, *here.parents))
        return ask_git() if in_one else None

    evaluator.get_git_commit_hash = ask_in_a_repository


def answers_kept(path: str, but: str) -> dict[str, int]:
    """How many answers each database of ``--use_cache path`` holds; there is one a process.

    Args:
        path: What the option was given.
        but: A key that holds no answer.
    """
    import sqlite3  # this file is loaded where only tasks are listed, too

    kept = {}
    for file in sorted(glob.glob(f"{glob.escape(path)}_rank*.db")):
        with closing(sqlite3.connect(file)) as database:  # in the form that SqliteDict gives it
            kept[file] = database.execute("SELECT COUNT(*) FROM unnamed WHERE key != ?", (but,)).fetchone()[0]
    return kept


def rolling_windows(tokens: Sequence[int], prefix: int, length: int) -> Iterator[tuple[list[int], list[int]]]:
    """Cuts a text's token ids into windows as lm-eval scores them: pairs of context and continuation ids.

    Args:
        tokens: The text.
        prefix: The token before the first.
        length: The most tokens that the model takes at once.
    """
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    windows = get_rolling_token_windows(token_list=tokens, prefix_token=prefix, max_seq_len=length, context_len=1)
    return map(make_disjoint_window, windows)


class Generation(NamedTuple):
    """How an answer is to be generated.

    Attributes:
        tokens: The most to generate.
        until: Texts that end it; the text of the end-of-sequence token is one.
        options: All else: ``do_sample``, ``temperature`` and what the task says besides.
    """

    tokens: int
    until: list[str]
    options: dict[str, Any]


def generation(options: Mapping[str, Any], tokens: int, eos: str) -> Generation:
    """Reads a task's ``generation_kwargs`` as lm-eval's own models do.

    Args:
        options: As the request has them.
        tokens: The most tokens where they say nothing.
        eos: The text of the end-of-sequence token.
    """
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

    rest: dict[str, Any] = dict(normalize_gen_kwargs(dict(options), tokens))
    until = handle_stop_sequences(rest.pop("until", None), eos=eos)
    return Generation(rest.pop("max_gen_toks"), until, rest)


def cut_generated(text: str, until: Sequence[str]) -> str:
    """A generated text up to the first of the texts that end it, as lm-eval's own models cut it."""
    from lm_eval.models.utils import postprocess_generated_text

    cut: str = postprocess_generated_text(text, list(until), None)
    return cut


def evaluation_under_way() -> tuple[Any | None, str | None]:
    """What the `simple_evaluate` that this is called from was given: its tracker of results, and its ``use_cache``.

    A model isn't told where results and answers will go, and has to know before it loads hours of work.

    Returns:
        The tracker and the path; None of what there is none of, or no evaluation.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "simple_evaluate" and frame.f_globals.get("__name__") == EVALUATOR:
            given = frame.f_locals
            return given.get("evaluation_tracker"), given.get("use_cache")
        frame = frame.f_back
    return None, None


def results_table(results: dict[str, Any]) -> str:
    """The tables that lm-eval prints at the end of a run."""
    from lm_eval.utils import make_table

    parts = [None, *(["groups"] if results.get("groups") else [])]
    return "\n".join(make_table(results, *([part] if part else [])) for part in parts)


def answers_in(hook: Any) -> Any | None:
    """The database of ``--use_cache`` behind a cache hook: a SqliteDict; None where there is no cache."""
    return getattr(hook, "dbdict", None)


def keeps_answers(hook: Any) -> bool:
    """Whether a cache hook may keep what it is given; false for that of a run without ``--use_cache``."""
    return getattr(hook, "dbdict", hook) is not None


def remembered(hook: Any, request_type: str, key: Sequence[Any]) -> Any | None:
    """The answer that a cache hook's `add_partial` was given under `key`; None without one, or without a cache."""
    from lm_eval.api.model import hash_args

    answers = answers_in(hook)
    return None if answers is None else answers.get(hash_args(request_type, key))


def look_up_in_the_model() -> None:
    """Lets `CachingLM` pass all log-likelihood requests on to a model whose `looks_up_answers` is true.

    Otherwise it looks up answers by the requests' text, and shows the model only requests that it has none for.
    """
    from lm_eval.api.model import CachingLM

    if "loglikelihood" in vars(CachingLM):
        return

    def loglikelihood(self: Any, requests: list[Any]) -> Any:
        if getattr(self.lm, "looks_up_answers", False):
            return self.lm.loglikelihood(requests)
        return CachingLM.__getattr__(self, "loglikelihood")(requests)

    CachingLM.loglikelihood = loglikelihood


_TASK = "lm_eval.api.task:ConfigurableTask"
_HFLM = "lm_eval.models.huggingface:HFLM"
_TRACKER = "lm_eval.loggers.evaluation_tracker:EvaluationTracker"

LEANS = (
    Lean(
        f"{_HFLM}._loglikelihood_tokens",
        "lm.trie_lm overrides it: the trie scores",
        ("requests", "disable_tqdm", "override_bs"),
    ),
    Lean(f"{_HFLM}._encode_pair", "lm.trie_lm encodes context and continuation by it", ("context", "continuation")),
    Lean(f"{_HFLM}._get_config", "lm.baichuan_lm overrides it, to check the model type", ("pretrained",)),
    Lean(
        f"{_HFLM}._create_tokenizer",
        "lm.baichuan_lm overrides it, to take sentencepiece's ids",
        ("pretrained", "tokenizer", "add_bos_token"),
    ),
    Lean(
        f"{_HFLM}._create_model",
        "lm.baichuan_lm overrides it, to choose the dtype and to place adapters",
        ("pretrained", "dtype", "peft"),
    ),
    Lean(
        f"{_HFLM}._model_generate",
        "lm.trie_lm overrides it, so that prompts share their beginning",
        ("context", "max_length", "stop", "generation_kwargs"),
    ),
    Lean(f"{_HFLM}._max_length", "lm.baichuan_lm's max_length reads it"),
    Lean(f"{_HFLM}._config", "lm.baichuan_lm reads the configuration before the model is there"),
    Lean(f"{_HFLM}._model", "lm.baichuan_lm puts an adapter's model there"),
    Lean(f"{_HFLM}._device", "lm.baichuan_lm asks how much memory is free there"),
    Lean(f"{_HFLM}._rank", "lm.trie_lm shares the questions between processes without a GPU"),
    Lean(f"{_HFLM}._world_size", "lm.trie_lm shares the questions between processes without a GPU"),
    Lean(
        "lm_eval.utils:get_rolling_token_windows",
        "lm.trie_lm cuts whole texts by it",
        ("token_list", "prefix_token", "max_seq_len", "context_len"),
    ),
    Lean("lm_eval.utils:make_disjoint_window", "lm.trie_lm cuts whole texts by it", ("pair",)),
    Lean(f"{TASK_MANAGER}:TaskManager", "lm_eval_baichuan.registration asks its module what lm-eval discovers"),
    Lean(f"{TASK_MANAGER}:TaskManager.list_all_tasks", "lm_eval_baichuan.task_index keeps what it returns"),
    Lean(f"{TASK_INDEX}:TaskIndex.build", "lm_eval_baichuan.registration adds our tasks in it", ("paths",)),
    Lean(f"{TASK_INDEX}:load_yaml", "lm_eval_baichuan.task_index stands in for it", ("path",)),
    Lean("lm_eval.api.registry:model_registry.register", "lm_eval_baichuan.registration adds our models", ("target",)),
    Lean(
        "lm_eval.api.samplers:ContextSampler.sample",
        "tasks/*/utils.py subclass it, to take the shots that stand in a question's row",
        ("n", "eval_doc", "df"),
    ),
    Lean(
        f"{_TASK}.build_all_requests",
        "tasks/*/utils.py override it, to build requests anew whatever is cached",
        ("cache_requests",),
    ),
    Lean(f"{_TASK}.fewshot_docs", "tasks/*/utils.py override it: a question's row carries its own shots"),
    Lean(f"{EVALUATOR}:simple_evaluate", "lm.run_places reads where it writes", ("use_cache", "evaluation_tracker")),
    Lean(f"{_TRACKER}.output_path", "lm.run_places tries it before loading"),
    Lean(f"{_TRACKER}.date_id", "lm.run_places finds by it what was written"),
    Lean(f"{_TRACKER}.general_config_tracker", "lm.run_places finds by its model_name_sanitized what was written"),
    Lean(f"{_TRACKER}.save_results_aggregated", "lm.run_places looks whether it did", ("results", "samples")),
    Lean(f"{_TRACKER}.save_results_samples", "lm.run_places looks whether it did", ("task_name", "samples")),
    Lean("lm_eval.utils:make_table", "lm.run_places prints the results where they couldn't be kept"),
    Lean("lm_eval.api.model:LM.set_cache_hook", "lm.published_requests checks the cache in it", ("cache_hook",)),
    Lean(
        "lm_eval.api.model:CacheHook.add_partial", "lm.published_requests keeps answers by it", ("attr", "req", "res")
    ),
    Lean("lm_eval.api.model:hash_args", "lm.published_requests looks answers up by it", ("attr", "args")),
    Lean(
        "lm_eval.api.model:CachingLM.__getattr__",
        "lm.published_requests passes requests on by it",
        ("attr",),
    ),
    Lean(f"{COMMAND}:Run._execute", "lm_eval_baichuan.lm_eval_command is around it", ("args",)),
    Lean(
        "lm_eval.config.evaluate_config:EvaluatorConfig.process_tasks",
        "lm_eval_baichuan.before_the_run looks at what was asked for there",
        ("metadata",),
    ),
    Lean("lm_eval.api.registry:get_model", "lm_eval_baichuan.before_the_run asks a model's class", ("model_name",)),
    Lean(f"{TASK_MANAGER}:TaskManager.task_index", "lm_eval_baichuan.before_the_run knows our tasks by it"),
    Lean(f"{TASK_MANAGER}:TaskManager.load", "lm_eval_baichuan.before_the_run loads our tasks first", ("task_list",)),
    Lean("lm_eval.api.task:tqdm", "quiet replaces it: the bars of 52 subjects show only where they take long"),
    Lean("lm_eval.evaluator:get_git_commit_hash", "quiet wraps it: git is loud outside a repository"),
    Lean("lm_eval.models.utils:handle_stop_sequences", "engines.fastllm_lm stops generating by it", ("until", "eos")),
    Lean(
        "lm_eval.models.utils:normalize_gen_kwargs",
        "engines.fastllm_lm reads a task's options of generation by it",
        ("gen_kwargs", "default_max_gen_toks"),
    ),
    Lean(
        "lm_eval.models.utils:postprocess_generated_text",
        "engines.fastllm_lm cuts a generated text by it",
        ("generation", "stop", "think_end_token"),
    ),
    Lean("lm_eval.__main__:cli_evaluate", "python -m lm_eval_baichuan calls it"),
)
