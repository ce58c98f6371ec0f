"""A deprecation fails the test where a call of ours causes it, and only there."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from own_deprecations import TESTS, watching
from transformers.utils import logging as transformers_logging
from transformers.utils.deprecation import deprecate_kwarg
from typing_extensions import deprecated

HOST = '''
def warns(**options):
    """Points at itself, as a warning without a stack level does."""
    warnings.warn("`old` is deprecated", FutureWarning)

def warns_of_its_caller(**options):
    warnings.warn("this is deprecated", DeprecationWarning, stacklevel=2)

def logs(**options):
    logger.warning_once("`old` is deprecated and will be removed in version 9.")

def enters(name, **options):
    """What calls on inside its host."""
    return calls(name, **options)

def calls(name, **options):
    return globals()[name](**options)

def calls_other(function):
    return function(old=1)

@kwarg("old", version="99.0", new_name="new")
def renamed(new=None):
    """transformers' own way."""

class Model:
    @property
    def attribute(self):
        warnings.warn("`attribute` is deprecated", FutureWarning)

def defines(cls):
    calls("says", text=f"{cls} defines _old, which is deprecated")

def says(text):
    warnings.warn(text, FutureWarning)
'''


def library(name: str) -> Any:
    """A module that passes for a host's."""
    module = types.ModuleType(name)
    logger = transformers_logging.get_logger(name)
    vars(module).update(warnings=warnings, logger=logger, kwarg=deprecate_kwarg)
    exec(compile(HOST, f"/site-packages/{name}.py", "exec"), vars(module))  # noqa: S102
    return module


host, other = library("transformers.somewhere"), library("lm_eval.somewhere")

decorated = deprecated("old ways are deprecated", category=FutureWarning)(lambda **_: None)

OURS: dict[str, Callable[[], Any]] = {
    "a call": lambda: host.warns(old=1),
    "a call that the host points at": lambda: host.warns_of_its_caller(),
    "a log record": lambda: host.logs(old=1),
    "a renamed keyword": lambda: host.renamed(old=1),
    "a property": lambda: host.Model().attribute,
    "a keyword that the host hands on": lambda: host.enters("warns", old=1),
    "a keyword that the host hands on to what logs": lambda: host.enters("logs", old=1),
    "a renamed keyword that the host hands on": lambda: host.enters("renamed", old=1),
    "a class of ours": lambda: host.defines("BaichuanForCausalLM"),
    "a decorated function": lambda: decorated(),
    "through a decorator of torch": lambda: torch.no_grad()(host.warns)(old=1),
}
THEIRS: dict[str, Callable[[], Any]] = {
    "a host within itself": partial(host.enters, "warns"),
    "a host within itself, pointed at": partial(host.enters, "warns_of_its_caller"),
    "a host's log of itself": partial(host.enters, "logs"),
    "one host of another": partial(other.calls_other, host.warns),
    "one host's keyword to another": partial(other.calls_other, host.renamed),
    "one host's log of another": partial(other.calls_other, host.logs),
    "a decorated function, by a host": partial(other.calls_other, decorated),
    "another kind of record": lambda: logging.getLogger("transformers").warning("old weights"),
}


@pytest.fixture(autouse=True)
def caught() -> Any:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        yield shown


@pytest.mark.parametrize("kind", OURS)
def test_what_a_call_of_ours_causes_is_found_with_its_place(kind: str) -> None:
    with watching() as caused:
        OURS[kind]()
    assert len(caused) == 1 and caused[0].startswith(f"{TESTS}/test_own_deprecations.py:") and "deprecated" in caused[0]


@pytest.mark.parametrize("kind", THEIRS)
def test_what_hosts_do_among_themselves_is_left_to_them(kind: str) -> None:
    with watching() as caused:
        THEIRS[kind]()
    assert caused == []


def test_a_warning_is_passed_on(caught: list[warnings.WarningMessage]) -> None:
    with watching():
        host.warns(old=1)
    assert [str(each.message) for each in caught] == ["`old` is deprecated"]


def test_what_is_said_once_a_process_is_heard_in_every_test() -> None:
    for _ in range(2):
        with watching() as caused:
            host.logs(old=1)
        assert len(caused) == 1


def test_the_test_in_which_it_happens_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest, some_host\n"
        "@pytest.fixture(scope='session')\n"
        "def built(): some_host.old()\n"
        "def test_call(): some_host.old()\n"
        "def test_fixture(built): pass\n"
        "def test_neither(): some_host.inside()\n"
    )
    (tmp_path / "some_host.py").write_text(
        "import warnings\n"
        "def old(): warnings.warn('old() is deprecated', FutureWarning)\n"
        "def inside(): between()\n"
        "def between(): old()\n"
    )
    (tmp_path / "conftest.py").write_text(
        "import own_deprecations\n"
        f"own_deprecations.TESTS = {str(tmp_path / 'test_it')!r}\n"
        "from own_deprecations import pytest_runtest_call, pytest_runtest_setup\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": TESTS}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "1 failed, 1 passed, 3 warnings, 1 error" in done.stdout, done.stdout + done.stderr
    assert "A call of ours is deprecated by its host" in done.stdout
