"""No causal family of the installed transformers is scored wrongly: each is exact, or refused with a reason."""

from __future__ import annotations

import pytest
from families_table import NOT_BUILT, result, rows_written, same
from tiny_families import FAMILIES, VARIANTS

MANY = (pytest.mark.slow, pytest.mark.many)
# One of each kind of attention, position, head and refusal.
QUICK = [
    "llama",
    "qwen2",  # windows in some layers
    "gemma2",  # softcaps in attention and head
    "gpt_oss",  # sinks
    "cohere2",  # windows, and logits scaled
    "granite, published scales",
    "llama4_text, no temperature",  # chunks
    "deepseek_v3",  # values of another width than keys
    "diffllama",  # two attentions a layer
    "stablelm",  # layers that pass no keywords on
    "gpt2",  # learned positions, a bias in every layer
    "opt",
    "gemma4_text",  # layers that share keys, and skip tokens when they may
    "phi3, longrope",
    "bloom",
    "bart",
    "mamba",
    "bert",
    "roberta, is_decoder",
    "llama4_text",
    "deepseek_v32",
    "llama, dynamic beyond its window",
]


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in QUICK else MANY, id=name) for name in FAMILIES]
)
def test_a_family_is_exact_or_refused_as_the_table_says(family: str) -> None:
    row = result(family)  # raises where scores are wrong
    assert row == "exact" or row.startswith(("served as hf, because ", NOT_BUILT))
    written = rows_written()
    if written is not None:
        assert same(row, written[family]), f"{row!r}; docs/families.md says {written[family]!r}: run scripts/families"


def test_the_table_lists_every_family() -> None:
    written = rows_written()
    if written is None:
        pytest.skip("docs/families.md is of another transformers")
    assert list(written) == FAMILIES
    assert sum(row == "exact" for row in written.values()) > 100


def test_quick_families_and_variants_exist() -> None:
    assert set(QUICK) <= set(FAMILIES)
    assert set(VARIANTS.values()) <= set(FAMILIES)
