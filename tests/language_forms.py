"""Finds what the package says: the forms that it gives to ``say``, in its Python and in the page's template."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import jinja2

import lm_eval_baichuan
from lm_eval_baichuan.published import load_published

PACKAGE = Path(lm_eval_baichuan.__file__).parent
TEMPLATE = PACKAGE / "html_report" / "template" / "page.html.j2"
SAYING = ("say", "joined")
"""Functions whose first argument is a form."""


def forms() -> dict[str, str]:
    """Return every form, with where it stands."""
    found = dict(_forms_of_template())
    found |= {b.protocol: "figures.json" for b in load_published().benchmarks.values()}
    for folder in ("comparison", "html_report", "languages", "results"):
        for file in sorted((PACKAGE / folder).glob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _is_saying(node.func) and node.args:
                    found |= {form: f"{file.name}:{node.lineno}" for form in _constants(node.args[0])}
    return found


def not_written_out() -> list[str]:
    """Return where ``say`` is given something else than a form written out, which could not be translated."""
    return [
        f"{file.name}:{node.lineno}"
        for folder in ("comparison", "html_report", "results")
        for file in sorted((PACKAGE / folder).glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _is_saying(node.func) and node.args and not list(_constants(node.args[0]))
    ]


def _is_saying(function: ast.expr) -> bool:
    return isinstance(function, ast.Name) and function.id in SAYING


def _constants(form: ast.expr) -> Iterator[str]:
    """The texts that an argument may be: one, or one of two."""
    if isinstance(form, ast.Constant) and isinstance(form.value, str):
        yield form.value
    elif isinstance(form, ast.IfExp):
        yield from _constants(form.body)
        yield from _constants(form.orelse)


def _forms_of_template() -> Iterator[tuple[str, str]]:
    parsed = jinja2.Environment(autoescape=True).parse(TEMPLATE.read_text(encoding="utf-8"))
    for call in parsed.find_all(jinja2.nodes.Call):
        if isinstance(call.node, jinja2.nodes.Name) and call.node.name == "say":
            yield call.args[0].as_const(), f"{TEMPLATE.name}:{call.lineno}"
