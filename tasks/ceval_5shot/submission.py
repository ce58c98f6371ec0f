"""What a submission run does with the answers: nothing is scored, one file in the leaderboard's form is written."""

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def chosen_letter(
    doc: dict[str, Any], results: Sequence[tuple[float, bool]]
) -> dict[str, Any]:
    """Return what the model answered to one question of the submission: the letter with the highest log-likelihood."""
    logprobs = [logprob for logprob, _ in results]
    letter = "ABCD"[logprobs.index(max(logprobs))]
    question = {
        key: doc[key] for key in ("subject", "id", "submission", "submission_rows")
    }
    return {"answered": {**question, "answer": letter}}


def write_submission(answers: Sequence[Mapping[str, Any]]) -> int:
    """Write C-Eval's submission file, ``{"<subject>": {"<id>": "A", ...}, ...}``, and return the number of answers.

    Raises:
        OSError: The file could not be written; the message names another that has the answers.
        ValueError: The answers are not one for each question of the test split.
    """
    target, expected = Path(answers[0]["submission"]), answers[0]["submission_rows"]
    letters: dict[str, dict[str, str]] = {}
    for answer in answers:
        letters.setdefault(answer["subject"], {})[answer["id"]] = answer["answer"]
    found = sum(len(subject) for subject in letters.values())
    if found != expected or len(answers) != expected:
        raise ValueError(
            f"The submission {target} was not written: it needs {expected} answers, and this run gave {len(answers)} "
            f"to {found} different questions. Run without --limit and --samples, over test files with unique ids."
        )
    text = json.dumps(letters, ensure_ascii=False, indent=1) + "\n"
    part = target.with_name(target.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", suffix=f"_{target.name}", delete=False
        ) as elsewhere:
            elsewhere.write(text)
        raise OSError(
            f"The submission could not be written to {target} ({error.strerror}). It is in {elsewhere.name}."
        ) from error
    return found
