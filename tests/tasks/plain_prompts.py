"""Every prompt once more, in plain Python, written from the published protocols and the benchmarks' READMEs.

Nothing of the tasks is used here: no Jinja, no loader of theirs, no YAML.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LETTERS = "ABCD"


@dataclass(frozen=True)
class Asked:
    """One question as a model must see it."""

    instruction: str
    shots: tuple[str, ...]
    question: str
    delimiter: str
    answer: str

    @property
    def context(self) -> str:
        return self.instruction + "".join(self.shots) + self.question


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ceval(data: Path, subject: str, split: str, name: str) -> Iterator[Asked]:
    """Baichuan's evaluate_zh.py, with the dev rows in file order."""

    def example(row: dict[str, str]) -> str:
        text = row["question"]
        for letter in LETTERS:
            text += "\n" + letter + ". " + row[letter]
        return text + "\n答案："

    instruction = "以下是中国关于" + name + "考试的单项选择题，请选出其中的正确答案。" + "\n"
    shots = [example(row) + row["answer"] for row in _csv(data / "ceval" / "dev" / f"{subject}_dev.csv")]
    # The script joins with newlines in front; here the newline that ends a shot belongs to that shot.
    for row in _csv(data / "ceval" / split / f"{subject}_{split}.csv"):
        whole = instruction + "".join("\n" + shot for shot in shots) + "\n" + example(row)
        asked = Asked(instruction + "\n", tuple(shot + "\n" for shot in shots), example(row), "", row["answer"])
        assert asked.context == whole
        yield asked


def mmlu(data: Path, subject: str) -> Iterator[Asked]:
    """hendrycks/test's evaluate.py."""
    subject_in_words = "".join(" " + word for word in subject.split("_"))
    instruction = f"The following are multiple choice questions (with answers) about {subject_in_words}.\n\n"

    def example(row: list[str]) -> str:
        return row[0] + "".join(f"\n{letter}. {row[1 + i]}" for i, letter in enumerate(LETTERS)) + "\nAnswer:"

    def rows(split: str) -> list[list[str]]:
        with (data / "mmlu" / split / f"{subject}_{split}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    shots = tuple(f"{example(row)} {row[5]}\n\n" for row in rows("dev"))
    for row in rows("test"):
        yield Asked(instruction, shots, example(row), " ", row[5])


def cmmlu(data: Path, subject: str, name: str) -> Iterator[Asked]:
    """CMMLU's own code."""
    instruction = f"以下是关于{name}的单项选择题，请直接给出正确答案的选项。\n\n"

    def example(row: dict[str, str]) -> str:
        return "题目：" + row["Question"] + "".join(f"\n{letter}. {row[letter]}" for letter in LETTERS) + "\n答案是："

    shots = tuple(f"{example(row)}{row['Answer']}\n\n" for row in _csv(data / "cmmlu" / "dev" / f"{subject}.csv"))
    for row in _csv(data / "cmmlu" / "test" / f"{subject}.csv"):
        yield Asked(instruction, shots, example(row), "", row["Answer"])


def drawn(rows: list[dict[str, str]], subject: str, seed: int) -> tuple[list[int], list[int]]:
    """The split that the READMEs of gaokao_5shot and agieval_5shot describe, as row numbers: shots, then questions."""

    def key(row: dict[str, str]) -> str:
        fields = [str(seed), subject, *row.values()]
        return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode("utf-8")).hexdigest()

    texts = [(row.get("passage"), row["question"]) for row in rows]
    shots: list[int] = []
    for number in sorted(range(len(rows)), key=lambda number: key(rows[number])):
        passages = [rows[shot].get("passage") for shot in shots]
        shown_before = bool(rows[number].get("passage")) and rows[number].get("passage") in passages
        if texts.count(texts[number]) == 1 and not shown_before and len(shots) < 5:
            shots.append(number)
    return shots, [number for number in range(len(rows)) if number not in shots]


def gaokao(data: Path, subject: str, name: str, file: str, seed: int = 0) -> Iterator[Asked]:
    """GAOKAO-Bench's questions with exactly one answer A-D, in C-Eval's form."""
    examples = json.loads((data / "gaokao-bench" / "Data" / "Objective_Questions" / file).read_text("utf-8"))["example"]
    rows = [
        {"year": e["year"], "category": e["category"], "question": e["question"], "answer": e["answer"][0]}
        for e in examples
        if e["answer"] in (["A"], ["B"], ["C"], ["D"])
    ]
    shots, questions = drawn(rows, subject, seed)
    instruction = f"以下是中国关于{name}考试的单项选择题，请选出其中的正确答案。\n\n"

    def example(number: int) -> str:
        return str(rows[number]["question"]).strip() + "\n答案："

    shot_texts = tuple(example(number) + rows[number]["answer"] + "\n" for number in shots)
    for number in questions:
        yield Asked(instruction, shot_texts, example(number), "", rows[number]["answer"])


def agieval(data: Path, subject: str, name: str, file: str, english: bool, seed: int = 0) -> Iterator[Asked]:
    """AGIEval v1.0's four-option questions with exactly one answer, in C-Eval's form."""
    rows = []
    for line in (data / "agieval" / "data" / "v1" / file).read_text("utf-8").split("\n"):
        row = json.loads(line) if line.strip() else {"options": []}
        if len(row["options"]) == 4 and row["label"] in (*LETTERS, ["A"], ["B"], ["C"], ["D"]):
            options = dict(zip(LETTERS, _options(row["options"]), strict=True))
            kept = {"passage": row["passage"] or "", "question": row["question"]}
            rows.append({**kept, **options, "answer": row["label"][0]})
    shots, questions = drawn(rows, subject, seed)
    if english:
        instruction, cue, delimiter = (
            "The following are multiple choice questions (with answers) about ",
            "Answer:",
            " ",
        )
        instruction += f"{name}.\n\n"
    else:
        instruction, cue, delimiter = f"以下是中国关于{name}考试的单项选择题，请选出其中的正确答案。\n\n", "答案：", ""

    def example(number: int) -> str:
        row = rows[number]
        lines = [row["passage"].strip()] if row["passage"] else []
        return "\n".join([*lines, row["question"].strip(), *(f"{k}. {row[k]}" for k in LETTERS), cue])

    shot_texts = tuple(example(number) + delimiter + rows[number]["answer"] + "\n" for number in shots)
    for number in questions:
        yield Asked(instruction, shot_texts, example(number), delimiter, rows[number]["answer"])


def _options(options: list[str]) -> list[str]:
    """Options A-D: their letters taken off; put in order by them where all four are there."""
    split = [re.fullmatch(r"(?s)\s*[(（]?([ABCD])(?![A-Za-z])([)）.．、:：?]?)(.*)", option) for option in options]
    if sorted(match[1] if match else "-" for match in split) == list(LETTERS):
        return [match[3].strip() for _, match in sorted((match[1], match) for match in split if match)]
    return [re.sub(r"^\s*[(（][ABCD][)）]", "", option).strip() for option in options]
