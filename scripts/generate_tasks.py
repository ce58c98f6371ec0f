"""Writes the YAML of every subject and group under tasks/, from the tables in scripts/task_tables/.

    python scripts/generate_tasks.py           # write
    python scripts/generate_tasks.py --check   # say what differs, write nothing

Only files that name a subject or a group are written here; the bases without a .yaml ending are written by hand.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
TASKS = REPOSITORY / "tasks"
NOTE = "# Written by scripts/generate_tasks.py\n"
VERSION = 1.0  # of every task and group; raise it with every change of what a task asks or how it scores


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
    """C-Eval: test, val and shuffled, each with categories; all hard subjects are STEM, so hard is a part of STEM."""
    subjects = table("ceval")
    for group, split, shuffle in (
        ("ceval_5shot", "test", None),
        ("ceval_5shot_val", "val", None),
        ("ceval_5shot_shuffled", "test", "question"),
    ):
        for row in subjects:
            arguments = {key: row[key] for key in ("subject", "name")} | {"split": split}
            arguments |= {"rows": {part: row["rows"][part] for part in ("dev", split)}}
            arguments |= {"shuffle_shots": shuffle} if shuffle else {}
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
    """MMLU: in order and shuffled, each with hendrycks' four categories; means over questions."""
    for group, shuffle in (("mmlu_5shot", None), ("mmlu_5shot_shuffled", "subject")):
        categories: dict[str, list[str]] = {"humanities": [], "social_sciences": [], "stem": [], "other": []}
        for row in table("mmlu"):
            task = f"{group}_{row['subject']}"
            categories[row["category"]].append(task)
            arguments = {key: row[key] for key in ("subject", "rows")} | ({"shuffle_shots": shuffle} if shuffle else {})
            yield f"mmlu_5shot/{task}.yaml", subject_yaml(f"_{group}_yaml", task, row["subject"], arguments)
        yield from categorised("mmlu_5shot", group, categories, micro=True)


def cmmlu() -> Iterator[tuple[str, str]]:
    """CMMLU: in order and shuffled; means over subjects. "China specific" cuts across the four categories.

    A group's mean counts a subject as often as the group's tree holds it, so China specific is no part of the overall
    group; the group ``..._all`` asks both (each question once) and has no mean of its own.
    """
    for group, shuffle in (("cmmlu_5shot", None), ("cmmlu_5shot_shuffled", "subject")):
        categories: dict[str, list[str]] = {"stem": [], "humanities": [], "social_science": [], "other": []}
        china_specific = []
        for row in table("cmmlu"):
            task = f"{group}_{row['subject']}"
            categories[row["category"]].append(task)
            china_specific += [task] if row["china_specific"] else []
            arguments = {key: row[key] for key in ("subject", "name", "rows")}
            arguments |= {"shuffle_shots": shuffle} if shuffle else {}
            yield f"cmmlu_5shot/{task}.yaml", subject_yaml(f"_{group}_yaml", task, row["subject"], arguments)
        yield from categorised("cmmlu_5shot", group, categories, micro=False)
        name = f"{group}_china_specific"
        yield f"cmmlu_5shot/_{name}.yaml", group_yaml(name, china_specific, micro=False)
        yield f"cmmlu_5shot/_{group}_all.yaml", group_yaml(f"{group}_all", [group, name], micro=None)


def gaokao() -> Iterator[tuple[str, str]]:
    """GAOKAO-Bench: split drawn, and also shuffled; mean over questions."""
    for group, shuffle in (("gaokao_5shot", None), ("gaokao_5shot_shuffled", "question")):
        members = []
        for row in table("gaokao"):
            members.append(f"{group}_{row['subject']}")
            arguments = {key: row[key] for key in ("subject", "name", "file", "rows")}
            arguments |= {"shuffle_shots": shuffle} if shuffle else {}
            text = subject_yaml(f"_{group}_yaml", members[-1], row["subject"], arguments)
            yield f"gaokao_5shot/{members[-1]}.yaml", text
        yield f"gaokao_5shot/_{group}.yaml", group_yaml(group, members, micro=True)


def agieval() -> Iterator[tuple[str, str]]:
    """AGIEval: split drawn, and also shuffled; mean over questions, with and without JEC-QA."""
    for group, shuffle in (("agieval_5shot", None), ("agieval_5shot_shuffled", "question")):
        categories: dict[str, list[str]] = {"without_jec_qa": [], "jec_qa": []}
        for row in table("agieval"):
            task = f"{group}_{row['subject']}"
            categories["jec_qa" if row["subject"].startswith("jec_qa") else "without_jec_qa"].append(task)
            arguments = {key: row[key] for key in ("subject", "name", "file", "rows")}
            arguments |= {"shuffle_shots": shuffle} if shuffle else {}
            text = subject_yaml(f"_{group}_{row['language']}_yaml", task, row["subject"], arguments)
            yield f"agieval_5shot/{task}.yaml", text
        yield from categorised("agieval_5shot", group, categories, micro=True)


def baichuan() -> Iterator[tuple[str, str]]:
    """All five benchmarks: one run gives the row of the published table."""
    for variant in ("", "_shuffled"):
        group = f"baichuan_5shot{variant}"
        members = [f"{name}_5shot{variant}" for name in ("ceval", "mmlu", "cmmlu", "gaokao", "agieval")]
        members.insert(3, f"cmmlu_5shot{variant}_china_specific")
        yield f"baichuan_5shot/_{group}.yaml", group_yaml(group, members, micro=None)


def categorised(folder: str, group: str, categories: dict[str, list[str]], *, micro: bool) -> Iterator[tuple[str, str]]:
    """Yield a group and its categories."""
    for category, members in categories.items():
        name = f"{group}_{category}"
        yield f"{folder}/_{name}.yaml", group_yaml(name, members, micro=micro, alias=category)
    members = [f"{group}_{category}" for category in categories]
    yield f"{folder}/_{group}.yaml", group_yaml(group, members, micro=micro)


def all_files() -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    return {
        TASKS / path: text
        for benchmark in (ceval, mmlu, cmmlu, gaokao, agieval, baichuan)
        for path, text in benchmark()
    }


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
