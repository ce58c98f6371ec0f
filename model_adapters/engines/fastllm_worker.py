"""The process that has ftllm in it: orders come in by one pipe, answers go out by another, a line of JSON each.

It is a process of its own because errors in ftllm's native library end their process, with status 0. Standard output
and standard error are the library's to write on, and no part of what is said here.

Orders and their answers::

    {"load": {"folder", "dtype", "vocabulary", "threads"}}    {"loaded": VERSION}
    {"score": [[PROMPT, TARGETS], ...], "at_once": N}         {"prompt": NUMBER, "logprobs": [...], "best": ID} for each
    {"generate": PROMPT, "tokens": N}                         {"token": ID, "logprob": X} for each, then {"end": COUNT}
    {"enough": true}                                          none; a generation that is under way ends early

Instead of any answer there may be ``{"wrong": TEXT, "nonfinite": BOOL}``, after which the process ends.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..hosts.ftllm import Engine, installed_version

Answer = Callable[..., None]


class WrongLogitsError(Exception):
    """The engine gave logits that no answer may be read from."""


def main(arguments: Sequence[str]) -> None:
    """Obeys orders until there are no more.

    Args:
        arguments: The file descriptors of the two pipes: orders, answers.
    """
    orders_from, answers_to = map(int, arguments)
    with open(orders_from, "rb") as orders, open(answers_to, "wb") as answers:

        def answer(**what: Any) -> None:
            answers.write(json.dumps(what).encode() + b"\n")
            answers.flush()

        try:
            obey(orders, answer)
        except BrokenPipeError:
            pass  # nobody listens any more
        except BaseException as error:
            nonfinite = isinstance(error, WrongLogitsError)
            answer(wrong=str(error) if nonfinite else f"{type(error).__name__}: {error}", nonfinite=nonfinite)
    sys.stdout.flush()
    os._exit(0)  # the native library's threads do not survive an orderly end


def obey(orders: IO[bytes], answer: Answer) -> None:
    """Carries the orders out, one after the other."""
    engine: Engine | None = None
    for line in orders:
        order = json.loads(line)
        if "load" in order:
            engine = Engine(**order["load"])
            answer(loaded=installed_version())
        elif engine is not None and "score" in order:
            score(engine, order["score"], order["at_once"], answer)
        elif engine is not None and "generate" in order:
            generate(engine, order["generate"], order["tokens"], orders, answer)


def score(engine: Engine, asked: Sequence[tuple[list[int], list[int]]], at_once: int, answer: Answer) -> None:
    """Answers with log-probabilities of tokens after prompts; so many prompts are under way at a time."""
    under_way: deque[int] = deque()
    launched = 0
    for number, (prompt, targets) in enumerate(asked):
        while launched < len(asked) and len(under_way) < at_once:
            under_way.append(engine.launch(asked[launched][0], 1))
            launched += 1
        handle = under_way.popleft()
        logprobs = log_softmax(engine.fetch(handle), prompt)
        answer(prompt=number, logprobs=[float(logprobs[target]) for target in targets], best=int(logprobs.argmax()))
        while engine.fetch(handle) is not None:
            pass


def generate(engine: Engine, prompt: list[int], tokens: int, orders: IO[bytes], answer: Answer) -> None:
    """Answers with the likeliest tokens after a prompt, until there are enough."""
    handle = engine.launch(prompt, tokens)
    count = 0
    while (logits := engine.fetch(handle)) is not None:
        count += 1
        logprobs = log_softmax(logits, prompt)
        token = int(logprobs.argmax())
        answer(token=token, logprob=float(logprobs[token]))
        if count < tokens and select.select([orders], [], [], 0)[0]:
            engine.abort(handle)
            break
    answer(end=count)


def log_softmax(logits: NDArray[np.float32] | None, prompt: Sequence[int]) -> NDArray[np.float64]:
    """Log-probabilities of all tokens, `[vocabulary]`.

    Raises:
        RuntimeError: There are no logits.
        WrongLogitsError: Some are no finite numbers.
    """
    if logits is None:
        raise RuntimeError(f"ftllm gave no logits after a prompt of {len(prompt)} tokens")
    missing = int((~np.isfinite(logits)).sum())
    if missing:
        raise WrongLogitsError(
            f"{missing} of the {len(logits)} logits that ftllm gave after a prompt of {len(prompt)} tokens are "
            "missing, NaN or infinite."
        )
    values = logits.astype(np.float64)
    values -= values.max()
    found: NDArray[np.float64] = values - np.log(np.exp(values).sum())
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
