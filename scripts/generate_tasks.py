"""Writes what is told once and stands in many files under tasks/.

    python scripts/generate_tasks.py           # write
    python scripts/generate_tasks.py --check   # say what differs, write nothing

That is the YAML of every subject and group, from the tables in scripts/task_tables/, and the sections of each utils.py
that begin with "# ---- Common", from scripts/task_common/. By hand are written the YAML bases, which have no .yaml
ending, and the upper part of each utils.py with all its imports.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
TASKS = REPOSITORY / "tasks"
COMMON = Path(__file__).resolve().parent / "task_common"
SECTION = re.compile(r"(?m)^# ---- Common: (.+) ----$")
NOTE = "# Written by scripts/generate_tasks.py\n"
VERSION = 1.1  # of every task and group; raise it with every change of what a task asks or how it scores


def table(benchmark: str) -> list[dict[str, Any]]:
    """Return the rows of one benchmark's table of subjects."""
    rows: list[dict[str, Any]] = json.loads((Path(__file__).parent / "task_tables" / f"{benchmark}.json").read_text())
    return rows


def inline(value: Any) -> str:
    """Return a scalar or a flat mapping as YAML on one line (JSON is YAML)."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {inline(item)}" for key, item in value.items()) + "}"
    plain = isinstance(value, str) and value.isascii() and value.isidentifier()
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def subject_yaml(base: str, task: str, alias: str, arguments: dict[str, Any]) -> str:
    """Return the file of one subject."""
    lines = "".join(f"  {key}: {inline(value)}\n" for key, value in arguments.items())
    return f"{NOTE}include: {base}\ntask: {task}\ntask_alias: {alias}\ndataset_kwargs:\n{lines}"


def group_yaml(group: str, members: list[str], *, micro: bool | None, alias: str | None = None) -> str:
    """Return the file of one group; ``micro``: mean over questions, else over subjects; None: no mean of its own."""
    text = f"{NOTE}group: {group}\n" + (f"group_alias: {alias}\n" if alias else "")
    text += "task:\n" + "".join(f"  - {member}\n" for member in members)
    if micro is not None:
        text += f"aggregate_metric_list:\n  - metric: acc\n    aggregation: mean\n    weight_by_size: {inline(micro)}\n"
    return f"{text}metadata:\n  version: {VERSION}\n"


def ceval() -> Iterator[tuple[str, str]]:
    """C-Eval: test and val, each with categories; all hard subjects are STEM, so hard is a part of STEM."""
    subjects = table("ceval")
    for group, split in (("ceval_5shot", "test"), ("ceval_5shot_val", "val")):
        for row in subjects:
            arguments = {key: row[key] for key in ("subject", "name")} | {"split": split}
            arguments |= {"rows": {part: row["rows"][part] for part in ("dev", split)}}
            task = f"{group}_{row['subject']}"
            yield f"ceval_5shot/{task}.yaml", subject_yaml(f"_{group}_yaml", task, row["subject"], arguments)
        categories: dict[str, list[str]] = {
            "stem": [f"{group}_hard"],
            "social_science": [],
            "humanities": [],
            "other": [],
            "hard": [],
        }
        for row in subjects:
            categories["hard" if row["hard"] else row["category"]].append(f"{group}_{row['subject']}")
        for category, members in categories.items():
            text = group_yaml(f"{group}_{category}", members, micro=False, alias=category)
            yield f"ceval_5shot/_{group}_{category}.yaml", text
        members = [f"{group}_{category}" for category in categories if category != "hard"]
        yield f"ceval_5shot/_{group}.yaml", group_yaml(group, members, micro=False)
    text = f"{NOTE}include: _ceval_5shot_submission_yaml\ntask: ceval_5shot_submission\n"
    text += "dataset_kwargs:\n  subjects:\n"
    for row in subjects:
        facts = {"name": row["name"], "rows": {part: row["rows"][part] for part in ("dev", "test")}}
        text += f"    {row['subject']}: {inline(facts)}\n"
    yield "ceval_5shot/ceval_5shot_submission.yaml", text


def mmlu() -> Iterator[tuple[str, str]]:
    """MMLU, with hendrycks' four categories; means over questions."""
    categories: dict[str, list[str]] = {"humanities": [], "social_sciences": [], "stem": [], "other": []}
    for row in table("mmlu"):
        task = f"mmlu_5shot_{row['subject']}"
        categories[row["category"]].append(task)
        arguments = {key: row[key] for key in ("subject", "rows")}
        yield f"mmlu_5shot/{task}.yaml", subject_yaml("_mmlu_5shot_yaml", task, row["subject"], arguments)
    yield from categorised("mmlu_5shot", categories, micro=True)


def cmmlu() -> Iterator[tuple[str, str]]:
    """CMMLU; means over subjects. "China specific" cuts across the four categories.

    A group's mean counts a subject as often as the group's tree holds it, so China specific is no part of the overall
    group; the group ``..._all`` asks both (each question once) and has no mean of its own.
    """
    categories: dict[str, list[str]] = {"stem": [], "humanities": [], "social_science": [], "other": []}
    china_specific = []
    for row in table("cmmlu"):
        task = f"cmmlu_5shot_{row['subject']}"
        categories[row["category"]].append(task)
        china_specific += [task] if row["china_specific"] else []
        arguments = {key: row[key] for key in ("subject", "name", "rows")}
        yield f"cmmlu_5shot/{task}.yaml", subject_yaml("_cmmlu_5shot_yaml", task, row["subject"], arguments)
    yield from categorised("cmmlu_5shot", categories, micro=False)
    name = "cmmlu_5shot_china_specific"
    yield f"cmmlu_5shot/_{name}.yaml", group_yaml(name, china_specific, micro=False)
    yield "cmmlu_5shot/_cmmlu_5shot_all.yaml", group_yaml("cmmlu_5shot_all", ["cmmlu_5shot", name], micro=None)


def gaokao() -> Iterator[tuple[str, str]]:
    """GAOKAO-Bench; mean over questions."""
    members = []
    for row in table("gaokao"):
        members.append(f"gaokao_5shot_{row['subject']}")
        arguments = {key: row[key] for key in ("subject", "name", "file", "rows")}
        text = subject_yaml("_gaokao_5shot_yaml", members[-1], row["subject"], arguments)
        yield f"gaokao_5shot/{members[-1]}.yaml", text
    yield "gaokao_5shot/_gaokao_5shot.yaml", group_yaml("gaokao_5shot", members, micro=True)


def agieval() -> Iterator[tuple[str, str]]:
    """AGIEval; mean over questions, with and without JEC-QA."""
    categories: dict[str, list[str]] = {"without_jec_qa": [], "jec_qa": []}
    for row in table("agieval"):
        task = f"agieval_5shot_{row['subject']}"
        categories["jec_qa" if row["subject"].startswith("jec_qa") else "without_jec_qa"].append(task)
        arguments = {key: row[key] for key in ("subject", "name", "file", "rows")}
        text = subject_yaml(f"_agieval_5shot_{row['language']}_yaml", task, row["subject"], arguments)
        yield f"agieval_5shot/{task}.yaml", text
    yield from categorised("agieval_5shot", categories, micro=True)


def baichuan() -> Iterator[tuple[str, str]]:
    """All five benchmarks: one run gives the row of the published table."""
    members = [f"{name}_5shot" for name in ("ceval", "mmlu", "cmmlu", "gaokao", "agieval")]
    members.insert(3, "cmmlu_5shot_china_specific")
    yield "baichuan_5shot/_baichuan_5shot.yaml", group_yaml("baichuan_5shot", members, micro=None)


def categorised(group: str, categories: dict[str, list[str]], *, micro: bool) -> Iterator[tuple[str, str]]:
    """Yield a group and its categories."""
    for category, members in categories.items():
        name = f"{group}_{category}"
        yield f"{group}/_{name}.yaml", group_yaml(name, members, micro=micro, alias=category)
    members = [f"{group}_{category}" for category in categories]
    yield f"{group}/_{group}.yaml", group_yaml(group, members, micro=micro)


def with_common_sections(text: str) -> str:
    """Return a utils.py with its sections in common as scripts/task_common/ has them.

    A section's file is a module of its own; its docstring and imports are left out.
    """
    own, *names_and_bodies = SECTION.split(text)
    text = own.rstrip("\n") + "\n"
    for name in names_and_bodies[::2]:
        source = (COMMON / f"{name.lower().replace(' ', '_')}.py").read_text("utf-8")
        tree = ast.parse(source)
        first = next(node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom))
        begin = min([first.lineno, *(decorator.lineno for decorator in getattr(first, "decorator_list", []))])
        body = "".join(source.splitlines(keepends=True)[begin - 1 :])
        text += f"\n\n# ---- Common: {name} ----\n\n" + ("" if isinstance(first, ast.Assign) else "\n") + body
    return text


def all_files() -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    files = {
        TASKS / path: text
        for benchmark in (ceval, mmlu, cmmlu, gaokao, agieval, baichuan)
        for path, text in benchmark()
    }
    return files | {path: with_common_sections(path.read_text("utf-8")) for path in sorted(TASKS.glob("*/utils.py"))}


def main() -> int:
    """Write or compare; the exit status says whether anything differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if a file differs")
    check = parser.parse_args().check
    wanted = all_files()
    folders = {path.parent for path in wanted}
    present = {path for folder in folders for path in folder.glob("*.yaml") if path.read_text().startswith(NOTE)}
    stale = sorted(present - wanted.keys())
    changed = sorted(path for path, text in wanted.items() if not path.is_file() or path.read_text() != text)
    for path in stale + changed:
        print(f"{'no longer generated' if path in stale else 'differs'}: {path.relative_to(REPOSITORY)}")
    if check:
        return int(bool(stale or changed))
    for path in stale:
        path.unlink()
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
