"""Tells deprecations that our own calls raise from those that hosts raise among themselves.

A host warns of deprecated use in two ways: through `warnings`, and through its log (transformers' ``warning_once``).
Both are looked at while they happen, with the call that caused them still on the stack, and the test in which one of
our calls did so fails. What a library does inside itself, or to another, is its maintainers' to mend.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

TESTS = str(Path(__file__).resolve().parent)
CATEGORIES = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
SPEAKS_OF_IT = re.compile(r"deprecat|will be (removed|dropped|disallowed)|removed in", re.IGNORECASE)

# Between a call and what it calls, and the cause of nothing: decorators, and a host's own helpers to warn.
_DECORATORS = re.compile(r"(logging|warnings|_py_warnings|functools|contextlib|typing_extensions|_pytest|pluggy)\b")
_BETWEEN = re.compile(
    _DECORATORS.pattern
    + r"|torch\.(utils\._contextlib|nn\.modules\.module)$|\w+\.(utils\.)?(logging|deprecation|_deprecation)$"
)
_NAMED = re.compile(r"[`'\"]\s*([A-Za-z_]\w*)\s*(?:=\w*|\(\)|\(\.\.\.\))?\s*[`'\"]")
_collecting: list[list[str]] = []  # the innermost block last: it alone collects
_OF_OURS = re.compile(r"lm_eval_baichuan|[Bb]ai[Cc]huan|TrieLM|TrieScorer")


def _name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _package(frame: FrameType) -> str:
    return _name(frame).partition(".")[0]


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_ours(frame: FrameType) -> bool:
    return _package(frame) == "lm_eval_baichuan" or frame.f_code.co_filename.startswith(TESTS)


def _mentions(code: CodeType) -> set[str]:
    """The names and texts in a function, the keywords of its calls among them."""
    found = {*code.co_names, *code.co_varnames}
    for constant in code.co_consts:
        texts = constant if isinstance(constant, tuple) else (constant,)
        found.update(text for text in texts if isinstance(text, str))
    return found


def caused_by_us(message: str, frame: FrameType | None, blamed_file: str | None = None) -> str | None:
    """Where a call of ours caused a warning of a host, or None where the host or another one did.

    It is ours where the warning points at our line; where we called the function that warns; and where that function
    lies deeper in its library, but the warning speaks of a name that our call uses, or of a class of ours.

    Args:
        message: The warning.
        frame: Where it was raised.
        blamed_file: The file that it points at, by its stack level; None for a log record.
    """
    raised = []
    while frame is not None:
        if frame.f_code.co_filename != __file__ and not frame.f_code.co_name.startswith("_showwarn"):
            raised.append(frame)
        frame = frame.f_back
    stack = [each for each in raised if not _BETWEEN.match(_name(each))]
    by_host = [each for each in raised if not _DECORATORS.match(_name(each))]
    if not stack:
        return None
    pointed = next((each for each in raised if each.f_code.co_filename == blamed_file), None)
    if pointed is not None and _is_ours(pointed):
        return _place(pointed)
    points_elsewhere = pointed is not None and pointed.f_code is not raised[0].f_code
    host = _package(pointed if points_elsewhere and pointed is not None else by_host[0])
    depth = next((i for i, each in enumerate(stack) if _is_ours(each) or _package(each) != host), None)
    if depth is None or not _is_ours(stack[depth]):
        return None
    uses = set(_NAMED.findall(message)) & _mentions(stack[depth].f_code)
    called = depth <= 1 and not points_elsewhere
    return _place(stack[depth]) if called or uses or _OF_OURS.search(message) else None


@contextmanager
def watching() -> Iterator[list[str]]:
    """Collects the deprecations that our calls cause inside this block, with the place of each call."""
    caused: list[str] = []
    _collecting.append(caused)

    def look(message: str, frame: FrameType | None, blamed_file: str | None = None) -> None:
        place = caused_by_us(message, frame, blamed_file)
        if place is not None and _collecting[-1] is caused:
            caused.append(f"{place}: {message}")

    shown_before = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        if issubclass(category, CATEGORIES):
            look(str(message), sys._getframe(1), filename)
        shown_before(message, category, filename, lineno, file, line)

    make_record = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if record.levelno >= logging.WARNING and SPEAKS_OF_IT.search(record.getMessage()):
            look(record.getMessage(), sys._getframe(1))
        return record

    # Transformers says each thing once a process: it is to be heard in every test.
    forget = getattr(getattr(logging.Logger, "warning_once", None), "cache_clear", None)
    if forget is not None:
        forget()
    logging.setLogRecordFactory(make)
    warnings.showwarning = show
    try:
        yield caused
    finally:
        _collecting.pop()
        warnings.showwarning = shown_before
        logging.setLogRecordFactory(make_record)


def _fail_where_caused() -> Generator[None, Any, Any]:
    with watching() as caused:
        result = yield
    if caused:
        pytest.fail("A call of ours is deprecated by its host:\n" + "\n".join(dict.fromkeys(caused)), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    """Watches the building of fixtures, of all scopes."""
    return (yield from _fail_where_caused())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """Watches the test."""
    return (yield from _fail_where_caused())
