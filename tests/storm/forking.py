"""A process that has imported everything once and forks a child for each command, to be killed at a given moment.

Reads commands as lines of JSON and answers each with one. So a round of the storm takes the time of its work and not of
its imports, and kills fall into loading, scoring and writing.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import lm_eval.__main__
import lm_eval.api.model
import lm_eval.evaluator
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from lm_eval_baichuan import cli
from lm_eval_baichuan.data import known
from lm_eval_baichuan.data.sources import benchmarks, set_files
from lm_eval_baichuan.model_adapters.llama_export import check, write  # noqa: F401  # imported once, not in each child
from lm_eval_baichuan.model_adapters.lm import baichuan_lm  # noqa: F401

GRACE = 10.0
"""Seconds after a signal until what still lives is killed."""


def evaluate(told: str, began: float, arguments: list[str]) -> None:
    """What the ``lm_eval`` command does, but for lm-eval's own tasks and the description of the machine.

    Args:
        told: A file, to which phases with their seconds are added, and the keys of all answers that are scored.
        began: When the round began.
        arguments: Those of the command.
    """
    with open(told, "a", buffering=1) as tell:

        def say(phase: str, key: str = "") -> None:
            tell.write(f"{phase} {time.monotonic() - began} {key}\n")

        say("loading")
        add_partial, save = lm_eval.api.model.CacheHook.add_partial, EvaluationTracker.save_results_aggregated
        make_manager = TaskManager.__init__

        def tell_and_add(self: Any, kind: str, request: Any, answer: Any) -> None:
            say("scoring", lm_eval.api.model.hash_args(kind, request))
            add_partial(self, kind, request, answer)

        def tell_and_save(self: Any, *arguments: Any, **options: Any) -> None:
            say("writing")
            save(self, *arguments, **options)

        def with_few_tasks(self: Any, *arguments: Any, **options: Any) -> None:
            make_manager(self, *arguments, **{**options, "include_defaults": False})

        lm_eval.api.model.CacheHook.add_partial = tell_and_add
        EvaluationTracker.save_results_aggregated = tell_and_save
        TaskManager.__init__ = with_few_tasks
        lm_eval.evaluator.add_env_info = lambda results: None  # describes the machine, slowly
        sys.argv = ["lm_eval", "run", *arguments]
        lm_eval.__main__.cli_evaluate()


def command(*arguments: str, known_hashes: str) -> int:
    """The ``lm-eval-baichuan`` command."""
    known.FILE = Path(known_hashes)
    return cli.main(arguments)


def child(order: dict[str, Any], rank: int) -> int:
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.register(signal.SIGUSR1, file=log, all_threads=True)
    if order["processes"] > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(order["processes"])}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(order["port"])}
        os.environ["LOCAL_WORLD_SIZE"] = str(order["processes"])
    if order["do"] == "evaluate":
        evaluate(f"{order['told']}{rank}", order["began"], order["arguments"])
        return 0
    return command(*order["arguments"], known_hashes=order["known_hashes"])


def fork(order: dict[str, Any], rank: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        status = child(order, rank)
    except KeyboardInterrupt:
        status = 130
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def has_reached(phase: str, told: str) -> bool:
    """Whether an evaluation has told of a phase."""
    try:
        return any(line.startswith(phase) for line in Path(told).read_text().splitlines())
    except OSError:
        return False


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Does an order; kills it ``after`` so many seconds, or so many into the ``phase`` that it tells of."""
    order["began"] = began = time.monotonic()
    living = {fork(order, rank) for rank in range(order["processes"])}
    statuses: list[int] = []
    hung = False
    signalled: float | None = None
    phase_began = None if order["phase"] else 0.0
    while living:
        for pid in list(living):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                living.remove(pid)
                statuses.append(os.waitstatus_to_exitcode(status))
        now = time.monotonic() - began
        if phase_began is None and has_reached(order["phase"], f"{order.get('told')}0"):
            phase_began = now
        since = -1.0 if phase_began is None or order["after"] is None else now - phase_began - order["after"]
        if living and signalled is None and since >= 0:
            signalled = now
            for pid in living:
                os.kill(pid, order["signal"])
        elif signalled is not None and now > signalled + GRACE:
            hung = True
            for pid in living:
                os.kill(pid, signal.SIGUSR1)  # says where it hangs
            time.sleep(1)
            for pid in living:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return {"seconds": time.monotonic() - began, "killed": signalled is not None, "hung": hung, "statuses": statuses}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for each in benchmarks():
        set_files(each)  # read once, not in each child
    print("ready", file=answers)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers)
