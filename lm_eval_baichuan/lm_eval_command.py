"""What the ``lm_eval`` command shows of a known mistake, of Ctrl-C and of SIGTERM: one line each.

The exit status is 2 after an error that this package or its tasks raise on purpose, 130 after Ctrl-C and 143 after
SIGTERM; everything else keeps its traceback. Only the command comes here: from Python, errors are exceptions.
"""

from __future__ import annotations

import dis
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .before_the_run import BeforeTheRun
from .model_adapters.errors import EvaluationError
from .model_adapters.hosts.lm_eval import answers_kept, around_choosing_tasks
from .registration import task_directories
from .stopping import Terminated, ignore_further_signals, raising_sigterm


def run(command: Callable[[Any], None], arguments: Any) -> None:
    """Does lm-eval's command that evaluates.

    Args:
        command: lm-eval's own function.
        arguments: What it takes: the parsed command line.

    Raises:
        SystemExit: After a known mistake, Ctrl-C or SIGTERM; a line about it stands on stderr.
    """
    before = BeforeTheRun(arguments)
    try:
        with raising_sigterm(lambda: before.concerns_us), around_choosing_tasks(before.check_model, before.load_tasks):
            command(arguments)
    except Exception as error:
        if not is_ours(error):
            raise
        if _debugging(arguments):
            traceback.print_exc()
        which = f" (process {_rank()})" if _rank() else ""
        message = " ".join(line.strip() for line in str(error).splitlines())
        print(f"lm_eval: error{which}: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        if not before.concerns_us:
            raise
        _stopped("Ctrl-C", before, 130)
    except Terminated:
        _stopped("SIGTERM", before, 143)
    meaning = before.meaning_of_the_demo()
    if meaning and not _rank():
        print(meaning)


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised on purpose: it is of our hierarchy, or a ``raise`` in a file of our tasks gave it.

    Tasks import nothing of this package, so their errors are Python's own.
    """
    if isinstance(error, EvaluationError):
        return True
    step = error.__traceback__
    if step is None:
        return False
    while step.tb_next is not None:
        step = step.tb_next
    code = step.tb_frame.f_code
    raised = code.co_code[step.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    file = Path(code.co_filename).resolve()
    return raised and any(folder.resolve() in file.parents for folder in task_directories())


def what_is_kept(use_cache: str | None) -> str:
    """What a stopped run leaves behind, and how to go on.

    Args:
        use_cache: The path given to ``--use_cache``, if any.
    """
    if use_cache is None:
        return "No answers are kept: with --use_cache PATH they would be, and the same command would go on from there."
    from .model_adapters.lm.cache_fingerprint import KEY

    kept = answers_kept(use_cache, but=KEY)
    return (
        f"{sum(kept.values())} answers are kept in {', '.join(kept) or use_cache}; the same command goes on from there."
    )


def _debugging(arguments: Any) -> bool:
    return "DEBUG" in (str(arguments.verbosity).upper(), os.environ.get("LMEVAL_LOG_LEVEL", "").upper())


def _rank() -> int:
    """The number of this process; 0 of the one that speaks for all, and where there is but one."""
    return int(os.environ.get("RANK", "0"))


def _stopped(what: str, before: BeforeTheRun, status: int) -> None:
    ignore_further_signals()
    if not _rank():
        print(f"lm_eval: stopped by {what}. {what_is_kept(before.use_cache)}", file=sys.stderr)
    raise SystemExit(status)
