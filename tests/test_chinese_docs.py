"""The documents in Chinese name files that are there, and the commands and figures of the English ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
TRANSLATED = {"fine-tunes.md": "fine-tunes.md", "multi-device.md": "multi-device.md", "quantization.md": "hardware.md"}
"""For each document in Chinese the English one that it says again."""


@pytest.mark.parametrize("path", sorted((DOCS / "zh").glob("*.md")), ids=lambda path: path.name)
def test_every_link_leads_to_a_file(path: Path) -> None:
    for address in re.findall(r"\]\(([^)#]+)", path.read_text("utf-8")):
        assert address.startswith("https:") or (path.parent / address).is_file(), address


@pytest.mark.parametrize(("chinese", "english"), TRANSLATED.items())
def test_figures_and_names_are_those_of_the_english_document(chinese: str, english: str) -> None:
    said = (DOCS / "zh" / chinese).read_text("utf-8")
    original = (DOCS / english).read_text("utf-8")
    for row in re.findall(r"^\|.*\d.*\|$", said, re.MULTILINE):
        figures = re.findall(r"\d+\.\d+", row)
        line = rf"^\|.*{'.*'.join(map(re.escape, figures))}.*\|$"
        assert not figures or re.search(line, original, re.MULTILINE), row
    for code in re.findall(r"`([^`\n]+)`", said):
        plain = re.sub(r"[\u4e00-\u9fff]+", "", code)
        assert plain == code or plain.rstrip("=") in original
        assert plain != code or code in original, code


def test_no_way_to_several_devices_is_left_out() -> None:
    original, said = ((folder / "multi-device.md").read_text("utf-8") for folder in (DOCS, DOCS / "zh"))
    commands = re.findall(r"`((?:accelerate|torchrun) [^`]+)`", original)
    assert commands and [command for command in commands if command not in said] == []
