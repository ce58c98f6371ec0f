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


def all_files() -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    return {TASKS / path: text for benchmark in (ceval,) for path, text in benchmark()}


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
