"""What goes into the wheel, and how an editable install finds the source folders.

The repository keeps the three rooms side by side; installed, the other two lie inside the first, so that nothing called
``tasks`` or ``model_adapters`` lands loose in site-packages. A ``.pth`` file beside the package starts the bridge to
lm-eval (see ``lm_eval_baichuan/startup_bridge.py``), and ``commit.txt`` says what was built.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOMS = {
    "lm_eval_baichuan": "lm_eval_baichuan",
    "tasks": "lm_eval_baichuan/tasks",
    "model_adapters": "lm_eval_baichuan/model_adapters",
}

START_BRIDGE = "import lm_eval_baichuan.startup_bridge\n"

FIND_CHECKOUT = '''\
"""Editable install: finds the rooms of lm_eval_baichuan in the checkout."""

import sys
from _frozen_importlib_external import PathFinder  # importlib.machinery's, without the time its import takes

CHECKOUT = {checkout!r}
ROOMS = {rooms!r}


class CheckoutFinder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [CHECKOUT]) if name in ROOMS else None


sys.meta_path.insert(0, CheckoutFinder)  # before the links that scripts/rooms makes for type checkers are seen
'''


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Lays out the wheel: the rooms as one package, or for an editable install a pointer to them; names the commit."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files of this kind of wheel to hatchling's list.

        Args:
            version: hatchling's name for the kind of archive, "standard" or "editable".
            build_data: hatchling's list of what to do, changed in place.
        """
        self.generated = tempfile.TemporaryDirectory(prefix="lm-eval-baichuan-build-")
        commit = self._commit()
        if self.target_name == "sdist":  # a wheel that is built from it is in no repository
            build_data["force_include"] |= {self._write("commit.txt", commit): "commit.txt"} if commit else {}
        elif version == "editable":
            finder = FIND_CHECKOUT.format(checkout=self.root, rooms={room.replace("/", ".") for room in ROOMS.values()})
            build_data["force_include_editable"] = {
                self._write("finder.py", finder): "_lm_eval_baichuan_checkout.py",
                self._write("bridge.pth", f"import _lm_eval_baichuan_checkout\n{START_BRIDGE}"): "lm_eval_baichuan.pth",
            }
        else:
            for folder, room in ROOMS.items():  # without the links of scripts/rooms, and the settings of ruff
                parts = [p for p in Path(self.root, folder).iterdir() if not p.is_symlink() and p.name != "ruff.toml"]
                build_data["force_include"] |= {str(part): f"{room}/{part.name}" for part in parts}
            build_data["force_include"][self._write("bridge.pth", START_BRIDGE)] = "lm_eval_baichuan.pth"
            if commit:
                build_data["force_include"][self._write("commit.txt", commit)] = "lm_eval_baichuan/commit.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the generated files once they are in the wheel."""
        self.generated.cleanup()

    def _commit(self) -> str | None:
        """The commit that this is built from, with "-dirty" if files were changed; None where git doesn't know."""
        recorded = Path(self.root, "commit.txt")
        if recorded.is_file():
            return recorded.read_text(encoding="utf-8")
        if not Path(self.root, ".git").exists():
            return None
        describe = ["git", "-C", self.root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            done = subprocess.run(describe, capture_output=True, text=True, check=False)  # noqa: S603
        except OSError:
            return None
        return done.stdout.strip() or None

    def _write(self, name: str, text: str) -> str:
        path = Path(self.generated.name, name)
        path.write_text(text, encoding="utf-8")
        return str(path)
