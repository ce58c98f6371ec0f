"""What a results file says of the check that a run makes before it scores: the fast path beside the model's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..languages import joined, say
from .files import ResultsFile, TaskResult

OLDER = say("not recorded by the version that wrote the file")


@dataclass(frozen=True)
class Check:
    """Two ways to the same numbers, compared."""

    compared: int
    """Requests, or steps of generation."""
    largest_difference: float
    """Of log-likelihoods, in nats."""
    bound: float
    """The largest difference that the dtype explains."""

    def __add__(self, other: Check) -> Check:
        """Return both checks as one, which have the same bound."""
        largest = max(self.largest_difference, other.largest_difference)
        return Check(self.compared + other.compared, largest, self.bound)


@dataclass(frozen=True)
class Certificate:
    """What was checked in a run, or why nothing was."""

    scores: Check | None
    generation: Check | None = None
    reason: str = ""
    """Why there is no check of the scores, or of part of them."""

    @property
    def kind(self) -> str:
        """What two runs share whose scores were checked alike."""
        if self.scores is None:
            return say("no certificate: {reason}", reason=self.reason)
        verified = say("verified (bound {bound:.2g} nats)", bound=self.scores.bound)
        return joined(", ", (verified, say("in part {reason}", reason=self.reason))) if self.reason else verified

    @property
    def words(self) -> str:
        """All of it in a line."""
        checks = [(self.scores, say("requests")), (self.generation, say("steps of generation"))]
        verified = joined(
            "; ",
            (
                say(
                    "{compared} {what}, largest difference {largest:.2g} nats (bound {bound:.2g})",
                    compared=check.compared,
                    what=what,
                    largest=check.largest_difference,
                    bound=check.bound,
                )
                for check, what in checks
                if check
            ),
        )
        if self.scores is None:
            return joined(
                "; ", (self.kind, say("generation verified: {checks}", checks=verified)) if verified else (self.kind,)
            )
        parts = [say("verified: {checks}", checks=verified)]
        return joined("; ", [*parts, say("in part {reason}", reason=self.reason)] if self.reason else parts)


def certificates(results: Mapping[str, TaskResult]) -> list[tuple[Certificate, int]]:
    """Return the certificates of a run's tasks, those of one kind as one, each with the number of tasks it is for."""
    files: dict[str, tuple[ResultsFile, int]] = {}
    for result in results.values():
        name = str(result.file.path)
        files[name] = (result.file, files.get(name, (result.file, 0))[1] + 1)
    found: dict[tuple[str, float | None], tuple[Certificate, int]] = {}
    for file, tasks in files.values():
        own = read_certificate(file)
        key = (own.kind, own.generation.bound if own.generation else None)
        if key in found:
            own, tasks = _joined(found[key][0], own), found[key][1] + tasks
        found[key] = (own, tasks)
    return list(found.values())


def _joined(one: Certificate, other: Certificate) -> Certificate:
    if one.scores is None or other.scores is None:
        return one
    generation = one.generation + other.generation if one.generation and other.generation else None
    return Certificate(one.scores + other.scores, generation, one.reason)


def read_certificate(file: ResultsFile) -> Certificate:
    """Read the certificate of one results file."""
    if not file.facts:
        return Certificate(None, reason=say("--model {model} makes none", model=file.config["model"]))
    recorded = file.facts.get("verified")
    if recorded is None:
        return Certificate(None, reason=OLDER)
    if isinstance(recorded, str):
        return Certificate(None, reason=recorded)
    generation = recorded.get("generation")
    # A run that only generated has nothing of scores; one that ran out of memory may have them and a reason.
    scores = _check(recorded, "requests") if "requests" in recorded else None
    reason = recorded.get("scores") or ("" if scores else say("nothing was scored"))
    return Certificate(scores, _check(generation, "steps") if generation else None, reason)


def _check(recorded: Mapping[str, Any], counted: str) -> Check:
    return Check(recorded[counted], recorded["largest_difference"], recorded["bound"])
