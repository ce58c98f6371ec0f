"""Every prompt over the published questions, as published and with drawn shots, is the one that was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import golden_prompts
import pytest

GOLDEN = json.loads(golden_prompts.FILE.read_text("utf-8"))


def test_every_published_prompt_is_the_recorded_one(data_dir: Path) -> None:
    found, recorded = golden_prompts.published(data_dir), GOLDEN[golden_prompts.PUBLISHED]
    assert len(recorded) == 52 + 57 + 67 + 9 + 15 + 52
    assert sorted(found) == sorted(recorded)
    assert [name for name in recorded if found[name] != recorded[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("seeds", golden_prompts.DRAWN)
def test_every_prompt_with_drawn_shots_is_the_recorded_one(seeds: str, data_dir: Path) -> None:
    assert golden_prompts.drawn(data_dir, seeds) == GOLDEN[seeds]
