"""Speaks with the process that has ftllm in it; whatever becomes of that process, here it is an answer or an error."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Any

from ..errors import EngineError, NonFiniteLogitsError

WORKER = __name__.rpartition(".")[0] + ".fastllm_worker"
# Not by -m: a checkout in the current folder, where rooms aren't together, would stand before the installed package.
_START = f"import sys; sys.path = [place for place in sys.path if place]; from {WORKER} import main; main(sys.argv[1:])"
_GRACE = 5.0  # seconds until a process that has closed its pipe must have ended
_SHOWN = 300


class FastllmProcess:
    """A model in ftllm, in a process of its own that starts when it is first asked.

    Args:
        folder: The prepared checkpoint.
        dtype: ``float32`` or ``float16``.
        vocabulary: How many tokens the model has.
        threads: Of the CPU; None for ftllm's own number.
        timeout: Seconds that one answer, or loading, may take.

    Attributes:
        version: Of ftllm, as the process says; None before it was started.
    """

    def __init__(self, folder: str, dtype: str, vocabulary: int, threads: int | None, timeout: float) -> None:
        """Starts nothing yet."""
        self._order = {"folder": folder, "dtype": dtype, "vocabulary": vocabulary, "threads": threads}
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self.version: str | None = None

    def score(
        self, asked: Sequence[tuple[Sequence[int], Sequence[int]]], *, at_once: int
    ) -> Iterator[tuple[list[float], int]]:
        """Log-probabilities of tokens after prompts.

        Args:
            asked: Pairs of a prompt and the tokens asked for behind it, as ids.
            at_once: How many prompts ftllm has under way at a time.

        Yields:
            For each pair, in order: the log-probabilities in nats, and the likeliest token of all.

        Raises:
            EngineError: The process ended, did not answer in time, or answered something else.
            NonFiniteLogitsError: A logit is missing, NaN or infinite.
        """
        self._start()
        self._send(score=[[list(prompt), list(targets)] for prompt, targets in asked], at_once=at_once)
        for number, (_, targets) in enumerate(asked):
            answer = self._receive(f"prompt {number + 1} of {len(asked)}")
            if answer.get("prompt") != number or len(answer["logprobs"]) != len(targets):
                raise self._unexpected(answer, f"the answer to prompt {number}")
            yield answer["logprobs"], answer["best"]

    def generate(self, prompt: Sequence[int], tokens: int) -> Iterator[tuple[int, float]]:
        """The likeliest tokens after a prompt, one by one; whoever has enough closes the iterator.

        Args:
            prompt: Token ids.
            tokens: The most tokens to generate.

        Yields:
            Token id and its log-probability in nats.

        Raises:
            EngineError: As for `score`.
            NonFiniteLogitsError: As for `score`.
        """
        self._start()
        self._send(generate=list(prompt), tokens=tokens)
        ended = False
        try:
            while not ended:
                answer = self._receive("the next token")
                ended = "end" in answer
                if not ended:
                    yield answer["token"], answer["logprob"]
        except GeneratorExit:
            self._send(enough=True)
            while "end" not in self._receive("the end of a generation"):
                pass
            raise

    def stop(self) -> None:
        """Ends the process; it starts anew when it is next asked."""
        if self._process is not None:
            self._finalizer()
            self._process = None

    def _start(self) -> None:
        if self._process is not None:
            return
        orders_from, self._orders = os.pipe()
        self._answers, answers_to = os.pipe()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._pending = b""
        self._process = subprocess.Popen(  # noqa: S603  # this package's own module
            [sys.executable, "-c", _START, str(orders_from), str(answers_to)],
            stdin=subprocess.DEVNULL,  # the native library waits for a key before it ends
            stdout=self._said,
            stderr=subprocess.STDOUT,
            pass_fds=(orders_from, answers_to),
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )
        os.close(orders_from)
        os.close(answers_to)
        self._finalizer = weakref.finalize(self, _end, self._process, self._orders, self._answers, self._said)
        self._send(load=self._order)
        answer = self._receive("whether the model was loaded")
        if "loaded" not in answer:
            raise self._unexpected(answer, "that the model was loaded")
        self.version = answer["loaded"]

    def _send(self, **order: Any) -> None:
        data = memoryview(json.dumps(order).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._orders, data) :]
        except BrokenPipeError:
            raise self._ended("an order") from None

    def _receive(self, awaited: str) -> dict[str, Any]:
        while b"\n" not in self._pending:
            if not select.select([self._answers], [], [], self._timeout)[0]:
                said = self._last_words()
                self.stop()
                raise EngineError(
                    f"ftllm did not answer for {self._timeout:g} seconds, where {awaited} was due, and was ended."
                    f"{said} timeout=SECONDS in --model_args gives it longer."
                )
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise self._ended(awaited)
            self._pending += part
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "wrong" in answer:
            self.stop()
            if answer["nonfinite"]:
                raise NonFiniteLogitsError(
                    f"{answer['wrong']} No score is given. The weights are damaged, or overflow in this dtype "
                    "(dtype=float32 does not); --model baichuan says which."
                )
            raise EngineError(f"ftllm's process failed where {awaited} was due: {answer['wrong']}")
        return answer

    def _ended(self, awaited: str) -> EngineError:
        """What to raise where the process closed its pipe, whatever status it ends with."""
        process = self._process
        if process is None:  # by this process, in the meantime
            return EngineError(f"ftllm's process was ended where {awaited} was due.")
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        status, said = process.returncode, self._last_words()
        self.stop()
        if status is not None and status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        return EngineError(f"ftllm's process {how} before it answered ({awaited} was due).{said}")

    def _unexpected(self, answer: dict[str, Any], expected: str) -> EngineError:
        self.stop()
        return EngineError(f"ftllm's process answered {str(answer)[:_SHOWN]}; expected {expected}. Please report this.")

    def _last_words(self) -> str:
        """The last that the native library printed, as a sentence; empty where that is nothing."""
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines()]
        told = [line for line in lines if line and not line.startswith("Press any key")]
        errors = [line for line in told if "error" in line.lower()]
        return f" It said: {(errors or told)[-1][:_SHOWN]!r}." if told else ""


def _end(process: subprocess.Popen[bytes], orders: int, answers: int, said: IO[bytes]) -> None:
    process.kill()
    process.wait()
    os.close(orders)
    os.close(answers)
    said.close()
