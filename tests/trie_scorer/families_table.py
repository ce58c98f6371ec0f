"""What the trie does with every causal family: docs/families.md, made from tiny random models.

python tests/trie_scorer/families_table.py          writes the table
python tests/trie_scorer/families_table.py --check  compares it
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from tiny_families import FAMILIES, LONGEST, Request, ragged_requests, tiny_model, weightless_model
from transformers import PreTrainedModel

from lm_eval_baichuan.model_adapters.errors import UnsupportedModelError
from lm_eval_baichuan.model_adapters.trie_scorer import TrieScorer, score_one_by_one
from lm_eval_baichuan.model_adapters.trie_scorer.refusals import plain_model

TABLE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
BUDGETS = (7, 64, 4096)
NOT_BUILT = "not built here: "

_HEAD = """# Families that the token trie serves

Of transformers {version}. Written by `scripts/families`; do not edit. Each row is a causal configuration that
transformers knows, or a variant of one, as a random model of four layers (64 wide, weights large enough that attention
matters, windows and chunks of 16 tokens), asked 40 requests of 60 to 100 tokens whose prefixes are shared.

- **exact**: at 7, 64 and 4096 tokens a row, every score is the one that the model gives to the request alone.
- **served as hf**: the trie refuses the model, for the reason given; `trie=False` scores it as lm-eval's hf does.
- **not built here**: no small model could be made of it, or none that runs on tokens alone, so nothing is said. The
  scorer's rules hold for it as well.

{counts}

| configuration | result |
|---|---|
"""


class WrongScoresOfAFamilyError(AssertionError):
    """The trie gives other scores than the model, and has not refused it."""


def result(family: str) -> str:
    """The row of a family.

    Raises:
        WrongScoresOfAFamilyError: Scores differ by more than rounding.
    """
    with _quietly():
        try:
            plain_model(weightless_model(family))
            model = tiny_model(family)
        except UnsupportedModelError as refusal:
            return _because(refusal)
        except Exception as error:
            return _not_built(error)
        requests = ragged_requests()
        try:
            found = {budget: trie_scores(model, requests, budget) for budget in BUDGETS}
        except UnsupportedModelError as refusal:
            return _because(refusal)
        except Exception as error:
            try:
                score_one_by_one(model, requests[:1])
            except type(error):  # without the trie too
                return _not_built(error)
            raise
        expected = score_one_by_one(model, requests)
    for budget, scores in found.items():
        worst = max(abs(score - right) for score, (right, _) in zip(scores, expected, strict=True))
        if not worst < 1e-3:
            raise WrongScoresOfAFamilyError(f"{family}: off by {worst:.1e} nats at {budget} tokens a row")
    return "exact"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the families' own warnings, and on one thread, since so small products only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)


def trie_scores(model: PreTrainedModel, requests: list[Request], budget: int, attention: str = "auto") -> list[float]:
    """The trie's log-probability of each request, in their order."""
    scorer = TrieScorer(model, max_length=LONGEST, token_budget=budget, attention=attention)  # type: ignore[arg-type]
    return [score.logprob for score in sorted(scorer.score(requests))]


def _not_built(error: Exception) -> str:
    return f"{NOT_BUILT}{type(error).__name__}, {str(error).strip().splitlines()[0][:90].strip()}"


def _because(refusal: UnsupportedModelError) -> str:
    return f"served as hf, because {str(refusal).partition(' Use trie=False')[0].strip().rstrip('.').replace('|', '')}"


def text(rows: dict[str, str]) -> str:
    """The whole file."""
    exact = sum(row == "exact" for row in rows.values())
    not_built = sum(row.startswith(NOT_BUILT) for row in rows.values())
    counts = f"{exact} exact, {len(rows) - exact - not_built} served as hf, {not_built} not built here."
    head = _HEAD.format(version=transformers.__version__, counts=counts)
    return head + "".join(f"| {family} | {row} |\n" for family, row in rows.items())


def rows_written() -> dict[str, str] | None:
    """The rows of the file; None if it is of another transformers."""
    lines = TABLE.read_text("utf-8").splitlines()
    if f"Of transformers {transformers.__version__}." not in "\n".join(lines[:5]):
        return None
    cells = [line.strip("| ").split(" | ", 1) for line in lines if line.startswith("| ")]
    return {family: row for family, row in cells if family != "configuration"}


def same(row: str, written: str) -> bool:
    """Whether a row is as written; what could not be built somewhere says nothing."""
    return row == written or NOT_BUILT in row[: len(NOT_BUILT)] or NOT_BUILT in written[: len(NOT_BUILT)]


def main() -> int:
    """Writes the table, or compares it."""
    transformers.logging.set_verbosity_error()
    rows = {family: result(family) for family in FAMILIES}
    if "--check" not in sys.argv[1:]:
        TABLE.write_text(text(rows), "utf-8")
        return 0
    written = rows_written()
    if written is None:
        print(f"{TABLE.name} is of another transformers than {transformers.__version__}; no score was wrong.")
        return 0
    changed = [f for f in rows | written if not same(rows.get(f, "missing"), written.get(f, "missing"))]
    for family in changed:
        print(f"{family}: {written.get(family, 'missing')} -> {rows.get(family, 'missing')}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
