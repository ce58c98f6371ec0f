"""Looks names up in the installed hosts."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
from typing import Any

from lm_eval_baichuan.model_adapters.hosts import Lean


class Moved(AssertionError):
    """A name of a host is not where we look for it."""


def check(lean: Lean) -> None:
    """Looks a name up.

    Raises:
        Moved: Says what moved, in which release of the host, and who leans on it.
    """
    module, _, path = lean.where.partition(":")
    host = module.partition(".")[0]
    told = f"{host} {importlib.metadata.version(host)} has moved {lean.where}. {lean.who}. Mend hosts/{host}.py."
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise Moved(told) from error
    for name in path.split("."):
        found = _attribute(found, name, told)
    if lean.parameters:
        has = [name for name in inspect.signature(found).parameters if name != "self"]
        kept = [name for name in has if name in lean.parameters]
        if kept != list(lean.parameters):
            raise Moved(f"{told} Expected the parameters {', '.join(lean.parameters)}; it has {', '.join(has)}.")


def _attribute(holder: Any, name: str, told: str) -> Any:
    try:
        return getattr(holder, name)
    except AttributeError as error:
        # What __init__ sets, or a dataclass declares, is no attribute of the class.
        classes = holder.__mro__[:-1] if isinstance(holder, type) else ()
        declared = any(name in vars(each).get("__annotations__", {}) for each in classes)
        if declared or any(re.search(rf"\bself\.{name}\b[^=\n]*=", _source(each)) for each in classes):
            return None
        raise Moved(told) from error


def _source(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):  # built in, without a source
        return ""
