"""Text from files as it may be shown: a name is no command to a terminal, and a cell no formula of a spreadsheet."""

from __future__ import annotations

import re

# Control characters but for the line's end and the tab, what turns the direction of writing, halves of pairs.
_COMMANDS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)
_FORMULA = re.compile(r"[\t\r ]*[=+\-@]")
_NUMBER = re.compile(r"[+-]?[\d.]*")


def printable(text: str) -> str:
    """Return a text with what a terminal would obey written as escapes, which JSON reads back."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def spreadsheet_cell(value: object) -> object:
    """Return a cell of a CSV file so that no spreadsheet takes a text for a formula: with an apostrophe before it."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
