"""Tiny checkpoints that come with the package: trained on its demo task, read like any other."""

from pathlib import Path

_FOLDERS = {"demo": "rope", "demo-alibi": "alibi"}


def demo_folder(name: str) -> Path | None:
    """The folder of ``demo`` or ``demo-alibi``, or None for any other name."""
    return Path(__file__).parent / _FOLDERS[name] if name in _FOLDERS else None
