"""A small data folder in the layout of the real one, for a machine that does not have the real one.

The questions are made here, from a seed, and full of what trips readers and templates: quotes, commas, line breaks,
white space at both ends, Jinja's braces, numbers with trailing zeros, the words that type guessers take for nothing.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TRAPS = (
    "0.50", "(1) (2) (3)", "None", "nan", "NA", "TRUE", "{{ question }}", "{% if %}", ' "quoted", cell ', "two\nlines",
    "\u3000ideographic space\u3000", "\ufeffmark inside", "1e5", "答案：B", "A. not an option", "$x^{2}$ \\n", "甲、乙",
)  # fmt: skip
LETTERS = "ABCD"


def _row(chance: random.Random) -> tuple[str, list[str], str]:
    question = f"第{chance.randrange(10**9)}题 {chance.choice(TRAPS)} {chance.choice(TRAPS)}"
    return question, [f"{chance.choice(TRAPS)}{i}" for i in range(4)], chance.choice(LETTERS)


def _write_csv(path: Path, header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header] if header else [])
        writer.writerows(rows)


def write_small_data(folder: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write every file that the tasks read; ``tables`` are the repository's tables of subjects."""
    chance = random.Random(20261123)  # noqa: S311  # a test's fixed choice of questions
    for row in tables["ceval"]:
        more = (
            len(row["subject"]) % 3
        )  # subjects of different sizes, so that a mean over them is no mean over questions
        for split, number in (("dev", 5), ("val", 2 + more), ("test", 3 + more)):
            header = ["id", "question", *LETTERS, "answer"] + (["explanation"] if split == "dev" else [])
            rows = []
            for i in range(number):
                question, options, answer = _row(chance)
                rows.append([str(i), question, *options, answer] + ([""] if split == "dev" else []))
            _write_csv(folder / "ceval" / split / f"{row['subject']}_{split}.csv", header, rows)
    for benchmark, name in (("mmlu", "{subject}_{split}.csv"), ("cmmlu", "{subject}.csv")):
        for row in tables[benchmark]:
            for split, number in (("dev", 5), ("test", 2 + len(row["subject"]) % 3)):
                rows = []
                for i in range(number):
                    question, options, answer = _row(chance)
                    rows.append([*([str(i)] if benchmark == "cmmlu" else []), question, *options, answer])
                path = folder / benchmark / split / name.format(subject=row["subject"], split=split)
                _write_csv(path, ["", "Question", *LETTERS, "Answer"] if benchmark == "cmmlu" else None, rows)
    for row in tables["gaokao"]:
        examples = []
        for i in range(9 + len(row["subject"]) % 3):
            question, options, answer = _row(chance)
            text = f" {question}\n" + "".join(f"{k}．{o} " for k, o in zip(LETTERS, options, strict=True)) + "\n"
            answers: list[Any] = [["BC"], ["A", "C"], ["E"], []][i] if i < 4 and i % 2 else [answer]
            examples.append({"year": "2022", "category": "（新课标）", "question": text, "answer": answers, "index": i})
        path = folder / "gaokao-bench" / "Data" / "Objective_Questions" / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"keywords": row["file"], "example": examples}, ensure_ascii=False), "utf-8")
    for row in tables["agieval"]:
        path = folder / "agieval" / "data" / "v1" / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(line, ensure_ascii=False) for line in _agieval_rows(chance)]
        path.write_text("\n".join(lines) + ("\n" if len(row["file"]) % 2 else ""), "utf-8")


def _agieval_rows(chance: random.Random) -> list[dict[str, Any]]:
    forms = ("({}){}", "{}．{}", " {}. {} ", "{} {}", "{}? {}")
    rows: list[dict[str, Any]] = []
    for i in range(16):
        question, texts, answer = _row(chance)
        options = [forms[i % len(forms)].format(k, text) for k, text in zip(LETTERS, texts, strict=True)]
        if i == 3:  # letters in another order
            options[1:3] = [f"(C){texts[2]}", f"(B){texts[1]}"]
        if i == 5:  # a letter twice, and an option that is no more than its letter
            options = [f"(A){texts[0]}", f"(C){texts[1]}", f"(C){texts[2]}", "(D)"]
        if i == 6:  # options without letters
            options = ["Almost all", "Both", "(C)Celsius", "None"]
        if i == 7:
            options.append("(E)none")
        label: Any = [answer] if i % 4 == 0 else answer
        label = {8: ["A", "C"], 9: "AD", 10: [], 11: "E"}.get(i, label)
        passage = {0: None, 1: ""}.get(i % 3, f" passage {i // 4}\n{chance.choice(TRAPS)}\n")
        rows.append({"passage": passage, "question": question, "options": options, "label": label, "other": None})
    rows.append({**rows[0], "options": ["(A)w", "(B)x", "(C)y", "(D)z"]})  # the same question twice
    return rows
