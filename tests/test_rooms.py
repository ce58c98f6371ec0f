"""Each room imports only the rooms below it, read from the source so that no run can miss a lazy import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = {
    "lm_eval_baichuan": "lm_eval_baichuan",
    "tasks": "lm_eval_baichuan.tasks",
    "model_adapters": "lm_eval_baichuan.model_adapters",
}


def imports(source: str, package: str) -> Iterator[str]:
    """Yield the absolute names that a module of the package imports, wherever in the source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def imports_of(folder: str) -> list[tuple[str, str]]:
    """Return (file, imported name) for all files of a folder of the repository."""
    found = []
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        room, *inner = file.relative_to(REPOSITORY).parent.parts
        package = ".".join([PACKAGES[room], *inner])
        found += [(str(file.relative_to(REPOSITORY)), name) for name in imports(file.read_text("utf-8"), package)]
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_reading_imports_finds_every_kind() -> None:
    source = """
import a.b, c as d
from e import f
from . import g
from ..h import i
def lazy():
    from ...j.k import l
    importlib.import_module("m.n")
"""
    found = list(imports(source, "top.room.part"))
    assert found == ["a.b", "c", "e.f", "top.room.part.g", "top.room.h.i", "top.j.k.l", "m.n"]


@pytest.mark.parametrize("folder", sorted(PACKAGES))
def test_there_is_something_to_check(folder: str) -> None:
    assert list((REPOSITORY / folder).rglob("*.py"))


def breaches(folder: str, *forbidden: str, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return the imports of a folder that fall within the forbidden packages and not within an exception."""
    found = imports_of(folder)
    assert found
    return [(file, name) for file, name in found if within(name, *forbidden) and not within(name, *but)]


OURS = (*PACKAGES, *PACKAGES.values())
ADAPTERS = PACKAGES["model_adapters"]


@pytest.mark.parametrize("folder", sorted(path.name for path in (REPOSITORY / "tasks").iterdir() if path.is_dir()))
def test_a_folder_of_tasks_imports_nothing_of_ours_outside_itself(folder: str) -> None:
    # Copied into lm-eval's own tasks it must still run.
    if list((REPOSITORY / "tasks" / folder).rglob("*.py")):
        assert breaches(f"tasks/{folder}", *OURS, but=(f"{PACKAGES['tasks']}.{folder}",)) == []


def test_model_adapters_know_no_benchmark_and_no_front_door() -> None:
    assert breaches("model_adapters", *OURS, but=(ADAPTERS,)) == []


def test_the_trie_is_index_arithmetic_only() -> None:
    room = "trie_scorer.trie"
    assert breaches("model_adapters/trie_scorer/trie", "torch", "transformers", "lm_eval", "sentencepiece") == []
    assert breaches("model_adapters/trie_scorer/trie", *OURS, but=(f"{ADAPTERS}.{room}", f"{ADAPTERS}.errors")) == []


@pytest.mark.parametrize("room", ["trie_scorer", "baichuan"])
def test_scorer_and_family_know_neither_each_other_nor_lm_eval(room: str) -> None:
    allowed = [f"{ADAPTERS}.{name}" for name in (room, "errors", "hosts", "outside")]
    assert breaches(f"model_adapters/{room}", "lm_eval", f"{ADAPTERS}.hosts.lm_eval") == []
    assert breaches(f"model_adapters/{room}", *OURS, but=tuple(allowed)) == []


def test_the_scorer_needs_no_library_of_text() -> None:
    hosts = [f"{ADAPTERS}.hosts.{name}" for name in ("peft", "torchao", "bitsandbytes")]
    assert breaches("model_adapters/trie_scorer", "sentencepiece", "tokenizers", "datasets", "peft", *hosts) == []


def test_hosts_lean_on_nothing_of_ours() -> None:
    assert breaches("model_adapters/hosts", *OURS, but=(f"{ADAPTERS}.hosts",)) == []


def test_reading_what_comes_from_outside_leans_on_nothing() -> None:
    assert (
        breaches("model_adapters/outside", "torch", "transformers", "lm_eval", *OURS, but=(f"{ADAPTERS}.outside",))
        == []
    )


def test_the_llama_export_stands_apart_from_evaluating() -> None:
    export = f"{ADAPTERS}.llama_export"
    assert breaches("model_adapters/llama_export", "lm_eval", f"{ADAPTERS}.lm", f"{ADAPTERS}.trie_scorer") == []
    for room in ("trie_scorer", "baichuan", "lm"):
        assert breaches(f"model_adapters/{room}", export) == []


def test_the_plugin_for_vllm_knows_the_family_alone() -> None:
    allowed = [f"{ADAPTERS}.{name}" for name in ("vllm_plugin", "baichuan", "errors", "hosts")]
    assert breaches("model_adapters/vllm_plugin", "lm_eval", f"{ADAPTERS}.hosts.lm_eval") == []
    assert breaches("model_adapters/vllm_plugin", *OURS, but=tuple(allowed)) == []


def test_engines_stand_above_every_other_room() -> None:
    above = [f"{ADAPTERS}.{name}" for name in ("engines", "vllm_plugin")]
    for room in ("baichuan", "hosts", "llama_export", "lm", "outside", "trie_scorer"):
        assert breaches(f"model_adapters/{room}", *above) == []


def test_vllm_is_imported_only_where_it_is_asked_for() -> None:
    only = ("model_adapters/vllm_plugin/", "model_adapters/engines/vllm_lm.py", "model_adapters/hosts/vllm.py")
    for folder in PACKAGES:
        assert [file for file, _ in breaches(folder, "vllm") if not file.startswith(only)] == []


def test_compare_and_report_lean_one_way() -> None:
    room = {name: f"lm_eval_baichuan.{name}" for name in ("published", "results", "comparison", "html_report")}
    above = [room["comparison"], room["html_report"]]
    assert breaches("lm_eval_baichuan/published", *OURS, but=(room["published"], f"{ADAPTERS}.errors")) == []
    assert breaches("lm_eval_baichuan/results", *above) == []
    assert breaches("lm_eval_baichuan/comparison", room["html_report"]) == []


def test_what_is_found_is_not_found_through_a_command() -> None:
    # A command's module is what its user sees; the page and the API take what lies beneath it.
    commands = [f"lm_eval_baichuan.{room}.command" for room in ("comparison", "data", "html_report")]
    assert breaches("lm_eval_baichuan", *commands) == []


# What these export at their top level, and of lm-eval what its guide to new models and tasks names, is theirs to keep.
PUBLIC_OF_LM_EVAL = (
    "lm_eval.__main__.cli_evaluate",
    "lm_eval.api.instance.Instance",
    "lm_eval.api.model.TemplateLM",
    "lm_eval.api.samplers.ContextSampler",
    "lm_eval.api.task.ConfigurableTask",
    "lm_eval.models.huggingface.HFLM",
)


@pytest.mark.parametrize("folder", ["lm_eval_baichuan", "model_adapters", "tasks"])
def test_the_insides_of_a_host_are_imported_by_its_own_file_alone(folder: str) -> None:
    hosts = ("transformers", "peft", "accelerate", "torchao", "bitsandbytes")
    inside = [(file, name) for file, name in breaches(folder, *hosts) if name.count(".") > 1]
    inside += breaches(folder, "lm_eval", but=PUBLIC_OF_LM_EVAL)
    assert [(file, name) for file, name in inside if not file.startswith("model_adapters/hosts/")] == []
