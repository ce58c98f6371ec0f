"""Private names of hosts are listed in hosts/, and an override takes whatever the host passes."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lm_eval_baichuan.model_adapters.baichuan import (
    BaichuanConfig,
    BaichuanForCausalLM,
    BaichuanModel,
    BaichuanTokenizer,
)
from lm_eval_baichuan.model_adapters.baichuan.pretrained import BaichuanPreTrainedModel
from lm_eval_baichuan.model_adapters.engines.fastllm_lm import FastllmBaichuanLM
from lm_eval_baichuan.model_adapters.hosts import (
    accelerate,
    bitsandbytes,
    ftllm,
    lm_eval,
    peft,
    torch,
    torchao,
    transformers,
    vllm,
)
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = "lm_eval_baichuan"
SUBCLASSES = [
    BaichuanConfig,
    BaichuanForCausalLM,
    BaichuanLM,
    BaichuanModel,
    BaichuanPreTrainedModel,
    BaichuanTokenizer,
    FastllmBaichuanLM,
    TrieLM,
]
LISTED = {
    part
    for host in (accelerate, bitsandbytes, ftllm, lm_eval, peft, torch, torchao, transformers, vllm)
    for lean in host.LEANS
    for part in lean.where.partition(":")[2].split(".")
}
PRIVATE = re.compile(r"_[a-z]\w*$")
OF_PYTHON = {"_exit"}
"""What Python documents under such a name."""


def names_made(tree: ast.AST) -> Iterator[str]:
    """The private names that a source itself defines or assigns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def names_used(tree: ast.AST) -> Iterator[str]:
    """The private names that a source looks up in something, `getattr` with a text included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            yield from (str(argument.value) for argument in node.args[1:2] if isinstance(argument, ast.Constant))


def foreign(sources: list[str]) -> set[str]:
    """Private names that the sources of one room use and none of them makes."""
    trees = [ast.parse(source) for source in sources]
    made = {name for tree in trees for name in names_made(tree)}
    return {name for tree in trees for name in names_used(tree) if PRIVATE.match(name)} - made


def test_foreign_names_are_found_in_every_form() -> None:
    source = "class A:\n    def _own(self):\n        self._mine = b._theirs + super()._too(getattr(c, '_this', 0))\n"
    use = "def f(a):\n    return a._own() + a._mine + a.__dict__\n"
    assert foreign([source, use]) == {"_theirs", "_too", "_this"}


@pytest.mark.parametrize(
    "room",
    ["baichuan", "trie_scorer", "lm", "llama_export", "vllm_plugin", "engines", "../lm_eval_baichuan", "../tasks"],
)
def test_a_private_name_of_a_host_is_listed_in_its_file(room: str) -> None:
    rooms = ("engines", "lm") if room == "engines" else (room,)  # its classes stand on one of lm, whose names they use
    folders = [REPOSITORY / "model_adapters" / each for each in rooms]
    sources = [file.read_text("utf-8") for folder in folders for file in sorted(folder.rglob("*.py"))]
    assert sources
    assert foreign(sources) - LISTED - OF_PYTHON == set(), "List them in model_adapters/hosts, with who leans on them."


def overrides(cls: type) -> list[str]:
    """Names that a class of ours gives anew, out of those of its hosts' classes."""
    hosts = [base for base in cls.__mro__ if not base.__module__.startswith(OURS)][:-1]
    given = [name for name in vars(cls) if not name.startswith(("__", "_abc_"))]
    return [name for name in given if any(name in vars(host) for host in hosts)]


@pytest.mark.parametrize("cls", SUBCLASSES, ids=lambda cls: cls.__name__)
def test_a_private_name_that_a_subclass_gives_anew_is_listed_too(cls: type) -> None:
    assert {name for name in overrides(cls) if PRIVATE.match(name)} - LISTED == set()


def not_taken(cls: type) -> list[str]:
    """Arguments of hosts' methods that a class of ours, which gives the methods anew, would not take."""
    found = []
    for name in overrides(cls):
        ours: Any = getattr(cls, name)
        host = next(base for base in cls.__mro__ if name in vars(base) and not base.__module__.startswith(OURS))
        theirs: Any = getattr(host, name)
        if name == "forward" or not (callable(ours) and callable(theirs)):  # torch's forward is a stand-in
            continue
        mine = inspect.signature(ours).parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in mine):
            missing = set(inspect.signature(theirs).parameters) - {parameter.name for parameter in mine}
            found += [f"{host.__qualname__}.{name}({each})" for each in sorted(missing - {"args", "kwargs"})]
    return found


def test_an_argument_that_an_override_does_not_take_is_found() -> None:
    class Host:
        def method(self, a: int, b: int = 0) -> None: ...

    class Heir(Host):
        def method(self, a: int) -> None: ...

    Host.__module__ = "host"
    Heir.__module__ = OURS
    assert [each.rpartition(".")[2] for each in not_taken(Heir)] == ["method(b)"]


@pytest.mark.parametrize("cls", SUBCLASSES, ids=lambda cls: cls.__name__)
def test_an_override_takes_every_argument_that_the_host_passes(cls: type) -> None:
    assert not_taken(cls) == []
