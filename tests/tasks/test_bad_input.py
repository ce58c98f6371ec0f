"""Bad data stops with an error that names file, row and column, what was found, and what to do."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Load = Callable[..., dict[str, Any]]


@pytest.fixture
def data(small_data: Path, tmp_path: Path) -> Path:
    """A copy of the small data, to damage."""
    return Path(shutil.copytree(small_data, tmp_path / "data"))


def ceval(data: Path, split: str = "test") -> Path:
    return data / "ceval" / split / f"law_{split}.csv"


def edit(path: Path, change: Callable[[list[list[str]]], None]) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def set_cell(row: int, column: int, text: str) -> Callable[[list[list[str]]], None]:
    return lambda rows: rows[row].__setitem__(column, text)


def drop_column(column: int) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        for row in rows:
            del row[column]

    return change


CSV_FILES = {
    "ceval_5shot_law": ("ceval/test/law_test.csv", 1, 6, "answer"),
    "ceval_5shot_val_law": ("ceval/val/law_val.csv", 1, 6, "answer"),
    "ceval_5shot_logic": ("ceval/dev/logic_dev.csv", 1, 6, "answer"),
    "mmlu_5shot_virology": ("mmlu/test/virology_test.csv", 0, 5, "answer"),
    "mmlu_5shot_anatomy": ("mmlu/dev/anatomy_dev.csv", 0, 5, "answer"),
    "cmmlu_5shot_arts": ("cmmlu/test/arts.csv", 1, 6, "answer"),
}
JSON_FILES = {
    "gaokao_5shot_physics": "gaokao-bench/Data/Objective_Questions/2010-2022_Physics_MCQs.json",
    "agieval_5shot_sat_math": "agieval/data/v1/sat-math.jsonl",
}
ALL_FILES = {**{task: file for task, (file, *_) in CSV_FILES.items()}, **JSON_FILES}


@pytest.mark.parametrize(("task", "file"), ALL_FILES.items())
def test_a_missing_file(task: str, file: str, data: Path, load: Load) -> None:
    (data / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{data / file} does not exist. Fill the folder"):
        load(task, data_dir=str(data), own_data=True)


@pytest.mark.parametrize(("task", "file"), ALL_FILES.items())
def test_a_file_that_is_not_utf8(task: str, file: str, data: Path, load: Load) -> None:
    text = (data / file).read_text("utf-8")
    (data / file).write_bytes(text.encode("utf-8") + "\n，".encode("gb18030"))
    line = text.count("\n") + 2
    with pytest.raises(ValueError, match=rf"{data / file}, line {line}: byte 0xa3 is not UTF-8. Convert"):
        load(task, data_dir=str(data), own_data=True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("task", ["cmmlu_5shot_arts", "mmlu_5shot_virology", "gaokao_5shot_physics"])
def test_a_file_in_another_unicode_encoding(task: str, encoding: str, data: Path, load: Load) -> None:
    file = ALL_FILES[task]
    (data / file).write_bytes((data / file).read_text("utf-8").encode(encoding))
    named = encoding.replace("-le", "le").replace("-be", "be")
    message = rf"{data / file}: the file is {named.upper()}, UTF-8 was expected.*iconv -f {named} -t utf-8$"
    with pytest.raises(ValueError, match=message):
        load(task, data_dir=str(data), own_data=True)


@pytest.mark.parametrize(("task", "file"), ALL_FILES.items())
def test_an_empty_file(task: str, file: str, data: Path, load: Load) -> None:
    (data / file).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{data / file}( holds no rows|, line 1: not JSON).*[Rr]eplace"):
        load(task, data_dir=str(data), own_data=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"example": []}', "holds no question with exactly one answer"),
        ('{"example": 3}', "no list 'example' found"),
        ("[" * 100_000, "not JSON to be read"),
        ('{"example": ' + "9" * 5000 + "}", "not JSON to be read"),
    ],
)
def test_json_without_questions(content: str, message: str, data: Path, load: Load) -> None:
    file = JSON_FILES["gaokao_5shot_physics"]
    (data / file).write_text(content)
    with pytest.raises(ValueError, match=rf"{data / file}\b.*{message}"):
        load("gaokao_5shot_physics", data_dir=str(data), own_data=True)
    file = JSON_FILES["agieval_5shot_sat_math"]
    (data / file).write_text(content + "\n")
    with pytest.raises(ValueError, match=rf"{data / file}, line 1\b"):
        load("agieval_5shot_sat_math", data_dir=str(data), own_data=True)


@pytest.mark.parametrize(("task", "where"), CSV_FILES.items())
@pytest.mark.parametrize("answer", ["E", "a", " A", "AB", ""])
def test_an_answer_outside_a_to_d(
    task: str, where: tuple[str, int, int, str], answer: str, data: Path, load: Load
) -> None:
    file, first_row, column, name = where
    edit(data / file, set_cell(first_row + 1, column, answer))
    with pytest.raises(ValueError, match=rf"{data / file}, line \d+, column '{name}': found {answer!r}, expected A"):
        load(task, data_dir=str(data), own_data=True)


@pytest.mark.parametrize(("task", "where"), CSV_FILES.items())
def test_an_empty_cell(task: str, where: tuple[str, int, int, str], data: Path, load: Load) -> None:
    file, first_row, column, _ = where
    edit(data / file, set_cell(first_row, column - 3, "  "))  # option B

    load(task, data_dir=str(data), own_data=True)  # allowed when said so
    with pytest.raises(ValueError, match=rf"{data / file}, line \d+, column 'B': the cell is empty, text was expected"):
        load(task, data_dir=str(data))


@pytest.mark.parametrize(("column", "name"), [(1, "question"), (4, "C"), (0, "id")])
def test_a_missing_column(column: int, name: str, data: Path, load: Load) -> None:
    edit(ceval(data), drop_column(column))
    with pytest.raises(ValueError, match=rf"{ceval(data)}, line 2.*: column '{name}' is missing. Columns found: .*"):
        load("ceval_5shot_law", data_dir=str(data), own_data=True)


def test_a_missing_column_in_cmmlu(data: Path, load: Load) -> None:
    path = data / "cmmlu" / "test" / "arts.csv"
    edit(path, drop_column(6))
    with pytest.raises(
        ValueError, match=r"column 'Answer' is missing. Columns found: \(unnamed\), Question, A, B, C, D;"
    ):
        load("cmmlu_5shot_arts", data_dir=str(data), own_data=True)


def test_a_row_of_another_length(data: Path, load: Load) -> None:
    edit(data / "mmlu" / "test" / "virology_test.csv", lambda rows: rows[1].append("F"))
    with pytest.raises(ValueError, match=r"virology_test.csv, line \d+: 7 cells found, 6 expected \(question, A, B"):
        load("mmlu_5shot_virology", data_dir=str(data), own_data=True)


@pytest.mark.parametrize("task", ["ceval_5shot_law", "mmlu_5shot_virology", "cmmlu_5shot_arts"])
def test_blank_lines_are_skipped_as_pandas_skips_them(task: str, data: Path, load: Load) -> None:
    file, first_row, column, _ = CSV_FILES[task]
    before = load(task, data_dir=str(data), own_data=True)[task]

    def write(rows: list[list[str]]) -> None:
        with (data / file).open("w", encoding="utf-8", newline="") as out:
            for row in rows:
                out.write("\r\n   \r\n\t\r\n")
                csv.writer(out).writerow(row)

    with (data / file).open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))
    write(rows)
    assert list(load(task, data_dir=str(data), own_data=True)[task].eval_docs) == list(before.eval_docs)
    rows[first_row][column] = "E"
    write(rows)
    line = 4 * (first_row + 1) + sum("".join(row).count("\n") for row in rows[:first_row])
    with pytest.raises(ValueError, match=rf"{data / file}, line {line}, column '.nswer': found 'E'"):
        load(task, data_dir=str(data), own_data=True)


def test_an_empty_line_inside_a_cell_stays(data: Path, load: Load) -> None:
    edit(ceval(data), set_cell(1, 1, "one\n\n   \ntwo"))
    (task,) = load("ceval_5shot_law", data_dir=str(data), own_data=True).values()
    assert task.eval_docs[0]["question"] == "one\n\n   \ntwo"


@pytest.mark.parametrize("name", [" answer", "answer ", "\u3000answer"])
def test_spaces_around_a_name_in_the_header(name: str, data: Path, load: Load) -> None:
    edit(ceval(data), set_cell(0, 6, name))
    message = f"{ceval(data)}, line 2 ff.: the header has {name!r}, with spaces around the name of column 'answer'"
    with pytest.raises(ValueError, match=re.escape(message)):
        load("ceval_5shot_law", data_dir=str(data), own_data=True)
    path = data / "cmmlu" / "test" / "arts.csv"
    edit(path, set_cell(0, 1, " Question"))
    with pytest.raises(ValueError, match=rf"{path}, line \d+ ff.: the header has ' Question', with spaces"):
        load("cmmlu_5shot_arts", data_dir=str(data), own_data=True)


@pytest.mark.parametrize("emptied", [True, False])
def test_test_files_without_answers(emptied: bool, data: Path, load: Load) -> None:
    def change(rows: list[list[str]]) -> None:
        for row in rows[1:]:
            row[6] = ""

    edit(ceval(data), change if emptied else drop_column(6))
    with pytest.raises(ValueError, match=r"no question of C-Eval law, test has an answer.*ceval_5shot_val.*submission"):
        load("ceval_5shot_law", data_dir=str(data), own_data=True)
    load("ceval_5shot_val_law", data_dir=str(data), own_data=True)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("ceval_5shot_law", r"C-Eval law, test: 3 rows found \(.*law_test.csv, line 2.*\), 221 expected"),
        ("ceval_5shot_val_law", r"C-Eval law, val: 2 rows found .*, 24 expected"),
        ("mmlu_5shot_virology", r"MMLU virology, test: 4 rows found .*, 166 expected"),
        ("cmmlu_5shot_arts", r"CMMLU arts, test: 3 rows found .*, 160 expected"),
        ("gaokao_5shot_physics", r"GAOKAO-Bench 2010-2022_Physics_MCQs.json, all: 10 rows found .*, 64 expected"),
        ("agieval_5shot_sat_math", r"AGIEval sat-math.jsonl, all: 17 rows found .*, 220 expected"),
    ],
)
def test_another_number_of_rows(task: str, message: str, data: Path, load: Load) -> None:
    with pytest.raises(ValueError, match=message + ".*own_data=true"):
        load(task, data_dir=str(data))


def test_a_missing_row_of_the_real_data(data_dir: Path, tmp_path: Path, load: Load) -> None:
    for part in ("dev", "test"):
        shutil.copytree(data_dir / "mmlu" / part, tmp_path / "mmlu" / part)
        for path in (tmp_path / "mmlu" / part).iterdir():
            path.chmod(0o644)
    load("mmlu_5shot_virology", data_dir=str(tmp_path))
    edit(tmp_path / "mmlu" / "test" / "virology_test.csv", lambda rows: rows.__delitem__(50))
    with pytest.raises(ValueError, match=r"MMLU virology, test: 165 rows found .*, 166 expected in the published set"):
        load("mmlu_5shot_virology", data_dir=str(tmp_path))


def test_a_data_dir_that_is_no_folder(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch, small_data: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere, named by --metadata data_dir, is not a folder"):
        load("ceval_5shot_law", data_dir=str(tmp_path / "nowhere"))
    monkeypatch.setenv("LM_EVAL_BAICHUAN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="named by the environment variable LM_EVAL_BAICHUAN_DATA, is not"):
        load("agieval_5shot_sat_math")
    load("agieval_5shot_sat_math", data_dir=str(small_data), own_data=True)  # the argument goes before


def test_the_environment_variable_names_the_data(small_data: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_EVAL_BAICHUAN_DATA", str(small_data))
    assert len(load("gaokao_5shot", own_data=True)) == 9


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    if path.suffix == ".json":
        content = json.loads(path.read_text("utf-8"))
        change(content["example"][0])
        path.write_text(json.dumps(content), "utf-8")
    else:
        first, *rest = path.read_text("utf-8").split("\n")
        row = json.loads(first)
        change(row)
        path.write_text("\n".join([json.dumps(row), *rest]), "utf-8")


@pytest.mark.parametrize(
    ("task", "field", "value", "message"),
    [
        ("gaokao_5shot_physics", "answer", "A", "example 1, field 'answer': list expected, found 'A'. Correct"),
        ("gaokao_5shot_physics", "question", None, "example 1, field 'question': str expected, found None. Correct"),
        ("agieval_5shot_sat_math", "options", "ABCD", "line 1, field 'options': list expected, found 'ABCD'"),
        ("agieval_5shot_sat_math", "label", 3, "line 1, field 'label': str or list expected, found 3"),
        (
            "agieval_5shot_sat_math",
            "options",
            ["(A)1", "", "(C)3", "(D)4"],
            "line 1, option B: text expected, found ''",
        ),
        ("agieval_5shot_sat_math", "options", ["(A)1", 2, "(C)3", "(D)4"], "line 1, option B: text expected, found 2"),
    ],
)
def test_a_json_field_of_another_kind(task: str, field: str, value: Any, message: str, data: Path, load: Load) -> None:
    change_json(data / JSON_FILES[task], lambda row: row.__setitem__(field, value))
    with pytest.raises(ValueError, match=message):
        load(task, data_dir=str(data), own_data=True)


@pytest.mark.parametrize(("task", "file"), JSON_FILES.items())
def test_a_json_field_that_is_missing(task: str, file: str, data: Path, load: Load) -> None:
    change_json(data / file, lambda row: row.pop("question"))
    with pytest.raises(ValueError, match=r"(example|line) 1, field 'question': str expected, found 'nothing'"):
        load(task, data_dir=str(data), own_data=True)


@pytest.mark.parametrize(("task", "file"), JSON_FILES.items())
def test_json_that_breaks_off(task: str, file: str, data: Path, load: Load) -> None:
    content = (data / file).read_text("utf-8")
    (data / file).write_text(content[: len(content) // 2 - 3], "utf-8")
    with pytest.raises(ValueError, match=rf"{data / file}, line \d+: not JSON .*Replace the file"):
        load(task, data_dir=str(data), own_data=True)


def test_json_of_another_form(data: Path, load: Load) -> None:
    (data / JSON_FILES["gaokao_5shot_physics"]).write_text("[]", "utf-8")
    with pytest.raises(ValueError, match="no list 'example' found, as GAOKAO-Bench has it"):
        load("gaokao_5shot_physics", data_dir=str(data), own_data=True)


def test_too_few_questions_to_draw_shots(data: Path, load: Load) -> None:
    path = data / JSON_FILES["agieval_5shot_sat_math"]
    path.write_text("\n".join(path.read_text("utf-8").split("\n")[:4]), "utf-8")
    with pytest.raises(ValueError, match=r"sat-math.jsonl, line 1 ff.: \d rows give only \d of 5 shots"):
        load("agieval_5shot_sat_math", data_dir=str(data), own_data=True)


def test_a_byte_order_mark_is_no_part_of_the_first_column(data: Path, load: Load) -> None:
    ceval(data).write_bytes(b"\xef\xbb\xbf" + ceval(data).read_bytes())
    (task,) = load("ceval_5shot_law", data_dir=str(data), own_data=True).values()
    assert task.eval_docs[0]["id"] == "0"
