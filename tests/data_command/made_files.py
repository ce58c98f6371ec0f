"""Files of the published size with questions made here."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from lm_eval_baichuan.data.sources import SetFile, set_files


def _rows(file: SetFile) -> list[list[str]]:
    """Questions in the form of the set's CSV files, with some of what CSV trips over."""
    header = {
        "ceval": ["id", "question", *"ABCD", "answer"] + (["explanation"] if file.source.part == "dev" else []),
        "mmlu": None,
        "cmmlu": ["", "Question", *"ABCD", "Answer"],
    }[file.benchmark]
    rows = []
    for i in range(file.rows[file.source.part]):
        row = [f'{Path(file.path).stem} {i}: "1,5"\nNone', "0.50", "nan", " a ", "一", "ABCD"[i % 4]]
        row = row if file.benchmark == "mmlu" else [str(i), *row]
        rows.append([*row, ""] if header and "explanation" in header else row)
    return [header, *rows] if header else rows


def _write_json(file: SetFile, path: Path) -> None:
    rows = file.rows
    lines: list[dict[str, Any]] = []
    for i in range(rows["all"]):
        single = i < rows["single"]
        answer = ["A"] if single else ["A", "B"]
        if file.benchmark == "gaokao":
            question = {"year": "2022", "category": "", "question": f"第{i}题", "answer": answer, "index": i}
        else:
            options = [f"({letter}){i}" for letter in ("ABCD" if i < rows["four_options"] else "ABC")]
            question = {"passage": None, "question": f"第{i}题", "options": options, "label": answer}
        lines.append(question)
    if file.benchmark == "gaokao":
        path.write_text(json.dumps({"example": lines}, ensure_ascii=False), "utf-8")
    else:
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def write_files(folder: Path, *benchmarks: str) -> None:
    for benchmark in benchmarks:
        for file in set_files(benchmark):
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.source.part != "all":
                with path.open("w", encoding="utf-8", newline="") as opened:
                    csv.writer(opened).writerows(_rows(file))
            else:
                _write_json(file, path)
