"""CMMLU as its official code asks it: where the questions are.

The upper part is CMMLU's own. A section that begins with "# ---- Common" is the same in every folder that has it, so
that a folder copied into lm-eval's own ``lm_eval/tasks/`` stands alone; change it in all of them.
"""

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import jinja2

from lm_eval.api.samplers import ContextSampler


HUB_REPOSITORY = "haonan-li/cmmlu"
HUB_REVISION = "efcc940752ea4a1ea94d2727f11f83858d64fc8e"
HUB_ARCHIVE = "cmmlu_v1_0_1.zip"
COLUMNS = ("Question", "A", "B", "C", "D", "Answer")


def load(
    *,
    subject: str,
    name: str,
    rows: Mapping[str, int],
    protocol: Mapping[str, Any],
    shuffle_shots: str | None = None,
    data_dir: str | None = None,
    own_data: bool = False,
    shots_seed: int = 0,
    **_: Any,
) -> datasets.DatasetDict:
    """Return one subject's ``dev`` rows (the shots) and its ``test`` questions, ready for lm-eval.

    Args:
        subject: CMMLU's file name for the subject, such as ``agronomy``.
        name: The subject's Chinese name in the instruction.
        rows: The published number of rows of each split.
        protocol: Templates and scoring rules; the YAML base explains each.
        shuffle_shots: ``subject`` to draw the order of the shots from the seed; default: file order.
        data_dir: Folder holding ``cmmlu/{dev,test}/<subject>.csv``. Default: the environment variable
            LM_EVAL_BAICHUAN_DATA, else the hub.
        own_data: Accept other row counts and empty cells, for data other than the published set.
        shots_seed: Seed of the order of shuffled shots.

    Raises:
        FileNotFoundError: A file is missing from ``data_dir``.
        ValueError: A file holds something other than CMMLU questions; the message names file, row and column.
    """
    shots, questions = (read_split(subject, part, data_dir) for part in ("dev", "test"))
    for part, found in (("dev", shots), ("test", questions)):
        check_questions(found, ("question", *LETTERS), own_data=own_data)
        check_row_count(
            found, rows[part], f"CMMLU {subject}, {part}", own_data=own_data
        )
    return make_dataset(
        shots, questions, "test", subject, name, protocol, shuffle_shots, shots_seed
    )


def read_split(subject: str, split: str, data_dir: str | None) -> list[dict[str, str]]:
    """Read one subject's rows of one split as text, from ``data_dir`` or the hub, in file order."""
    folder = find_data_dir(data_dir)
    if folder is not None:
        path = folder / "cmmlu" / split / f"{subject}.csv"
        rows = read_csv(file_content(path), str(path))
    else:
        (archive,) = hub_files(HUB_REPOSITORY, HUB_REVISION, HUB_ARCHIVE)
        member = f"{split}/{subject}.csv"
        with zipfile.ZipFile(archive) as files:
            rows = read_csv(files.read(member), f"{archive}, {member}")
    rename = {"Question": "question", "Answer": "answer"}
    return [
        {rename.get(key, key): cell for key, cell in row.items()}
        for row in pick_columns(rows, COLUMNS)
    ]


# ---- Common: questions, shots and their prompts ----

LETTERS = ("A", "B", "C", "D")
DATA_VARIABLE = "LM_EVAL_BAICHUAN_DATA"


class ShotsOfQuestion(ContextSampler):  # type: ignore[misc]  # lm-eval is untyped
    """Takes the shots that a question's own row carries in its column ``shots``, in the order drawn for it.

    lm-eval hands a sampler the question only where the shots' split is the questions' split, so a task using this
    sets ``fewshot_split`` to the split it asks.
    """

    def sample(
        self,
        n: int,
        eval_doc: dict[str, Any] | None = None,
        df: Any = None,
        **kwargs: Any,
    ) -> list[dict[str, str]]:
        """Return the first ``n`` shots of ``eval_doc``."""
        if eval_doc is None:
            raise ValueError(
                "The shots are a column of each question: set fewshot_split to the split that is asked."
            )
        shots: list[dict[str, str]] = eval_doc["shots"]
        if n > len(shots):
            raise ValueError(
                f"num_fewshot is {n}, but a question of this task has {len(shots)} shots. Ask for fewer."
            )
        return shots[:n]


def find_data_dir(data_dir: str | None) -> Path | None:
    """Return the folder with the data: ``data_dir``, else what the environment names, else None (the hub)."""
    named = data_dir or os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        origin = (
            "--metadata data_dir"
            if data_dir
            else f"the environment variable {DATA_VARIABLE}"
        )
        raise FileNotFoundError(
            f"{folder}, named by {origin}, is not a folder. Name the folder that holds the data."
        )
    return folder


def file_content(path: Path) -> bytes:
    """Return the bytes of a file of the data folder."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. The README of this task shows the layout of the data folder; without data_dir and "
            f"without the environment variable {DATA_VARIABLE} the data comes from its public home."
        )
    return path.read_bytes()


def decode(content: bytes, source: str) -> str:
    """Return the text of a UTF-8 file, without a byte order mark at its start."""
    encoding = other_unicode(content)
    if encoding:
        raise ValueError(
            f"{source}: the file is {encoding.upper()}, UTF-8 was expected. Convert it, for example with: "
            f"iconv -f {encoding} -t utf-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{source}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Convert the file to UTF-8, "
            f"for example with: iconv -f gb18030 -t utf-8"
        ) from error


def other_unicode(content: bytes) -> str | None:
    """Return UTF-16 or UTF-32, if a file's byte order mark or many zero bytes give it away, else None."""
    marks = {
        b"\xff\xfe\0\0": "utf-32",
        b"\0\0\xfe\xff": "utf-32",
        b"\xff\xfe": "utf-16",
        b"\xfe\xff": "utf-16",
    }
    for mark, encoding in marks.items():
        if content.startswith(mark):
            return encoding
    zeros = content.count(0)
    if not zeros or zeros * 20 < len(
        content
    ):  # in UTF-16 every comma and line end has one
        return None
    return "utf-16le" if content[1::2].count(0) * 2 > zeros else "utf-16be"


def check_questions(
    rows: Iterable[Mapping[str, str]],
    columns: Sequence[str],
    *,
    own_data: bool,
    answers: bool = True,
) -> None:
    """Stop at a row whose answer is not one of A-D, or one of whose ``columns`` is empty; say file, row and column."""
    for row in rows:
        if answers and row["answer"] not in LETTERS:
            raise ValueError(
                f"{row['source']}, column 'answer': found {row['answer']!r}, expected A, B, C or D. Correct the row."
            )
        for column in columns:
            if not row[column].strip() and not own_data:
                raise ValueError(
                    f"{row['source']}, column {column!r}: the cell is empty, text was expected. Correct the row, or "
                    "pass --metadata own_data=true if your data is meant to differ from the published set."
                )


def check_row_count(
    rows: Sequence[Any], expected: int, what: str, *, own_data: bool
) -> None:
    """Stop if a set does not have its published size: a score over part of it is not the published score."""
    if len(rows) != expected and not own_data:
        raise ValueError(
            f"{what}: {len(rows)} rows found ({rows[0]['source'] if rows else 'none'} ff.), {expected} expected in the "
            "published set. The data is incomplete or another release: replace it, or pass --metadata own_data=true if "
            "your data is meant to differ; its score then does not compare with the published one."
        )


def draw_key(*parts: object) -> str:
    """Return a key to sort by for a seeded random order that depends on nothing but ``parts``."""
    return hashlib.sha256(
        json.dumps([str(part) for part in parts], ensure_ascii=False).encode()
    ).hexdigest()


def make_dataset(
    shots: Sequence[Mapping[str, str]],
    questions: Sequence[Mapping[str, str]],
    split: str,
    subject: str,
    name: str,
    protocol: Mapping[str, Any],
    shuffle_shots: str | None = None,
    shots_seed: int = 0,
) -> datasets.DatasetDict:
    """Render shots and questions, and add what an adapter needs to score them as published.

    Each template is compiled once here, where lm-eval would compile it anew for every text. Columns of the result:
    those of the rows, ``subject``, ``prompt`` (a question up to where its answer goes), ``instruction`` (the text
    before the shots), ``label_tokens``, ``max_prompt_tokens``, ``drop_shots``, and in characters
    ``description_length`` (of the instruction), ``question_length`` and ``shot_lengths`` (of each shot with its answer
    and delimiters, in order).

    Args:
        shots: The rows to answer in advance, in order.
        questions: The rows to ask.
        split: What to call the questions' split; the shots' is ``dev``.
        subject: Name of the subject in the data.
        name: Name of the subject in the instruction.
        protocol: Templates and scoring rules, from the YAML base.
        shuffle_shots: Whether each row carries its own ``shots``: ``question`` draws their order anew for each
            question, ``subject`` once, ``never`` keeps it; None: no such column.
        shots_seed: Seed of the drawn orders.
    """
    environment = jinja2.Environment(  # prompts are plain text, not HTML
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    render_question: Callable[..., str] = environment.from_string(
        protocol["question"]
    ).render
    instruction = environment.from_string(protocol["instruction"]).render(
        subject=subject, name=name
    )
    delimiters_length = len(protocol["answer_delimiter"]) + len(
        protocol["shot_delimiter"]
    )

    def rendered(row: Mapping[str, str]) -> dict[str, Any]:
        columns = {key: value for key, value in row.items() if key != "source"}
        return {**columns, "subject": subject, "prompt": render_question(**columns)}

    fixed_shots = [rendered(row) for row in shots]
    documents = []
    for document in map(rendered, questions):
        own_shots = fixed_shots
        if shuffle_shots in ("question", "subject"):
            drawn_for = document["prompt"] if shuffle_shots == "question" else ""
            own_shots = sorted(
                fixed_shots,
                key=lambda shot: draw_key(
                    shots_seed, subject, drawn_for, shot["prompt"]
                ),
            )
        if shuffle_shots:
            document["shots"] = [
                {"prompt": shot["prompt"], "answer": shot["answer"]}
                for shot in own_shots
            ]
        document["instruction"] = instruction
        for rule in ("label_tokens", "max_prompt_tokens", "drop_shots"):
            document[rule] = protocol[rule]
        document["description_length"] = len(instruction)
        document["question_length"] = len(document["prompt"])
        document["shot_lengths"] = [
            len(shot["prompt"]) + len(shot["answer"]) + delimiters_length
            for shot in own_shots
        ]
        documents.append(document)
    return datasets.DatasetDict(
        {
            "dev": datasets.Dataset.from_list(fixed_shots),
            split: datasets.Dataset.from_list(documents),
        }
    )


# ---- Common: CSV files ----


def read_csv(
    content: bytes, source: str, columns: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """Return a CSV file's rows, every cell as the text it is; ``columns`` names them where the file has no header."""
    # Guessing types would turn "0.50" into 0.5, "(1) (2) (3)" into what the guesser likes, and "None" into nothing.
    reader = csv.reader(io.StringIO(decode(content, source), newline=""))
    rows: list[dict[str, str]] = []
    try:
        header, next_line = list(columns or ()), 1
        for cells in reader:
            where, next_line = (
                f"{source}, line {next_line}",
                reader.line_num + 1,
            )  # a row may take several lines
            if not cells or (
                len(cells) == 1 and cells[0] and not cells[0].strip(" \t")
            ):
                continue  # a blank line, which pandas and with it the official scripts skip
            if not header:
                header = cells
                continue
            if len(cells) != len(header):
                raise ValueError(
                    f"{where}: {len(cells)} cells found, {len(header)} expected ({', '.join(header)})."
                )
            rows.append({**dict(zip(header, cells, strict=True)), "source": where})
    except csv.Error as error:
        raise ValueError(
            f"{source}, line {reader.line_num}: not a CSV file ({error})."
        ) from error
    if not rows:
        raise ValueError(f"{source} holds no rows. Replace it by the published file.")
    return rows


def pick_columns(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str]
) -> list[dict[str, str]]:
    """Return the rows with just ``columns`` (and where each row was found), or say which column is missing."""
    missing = [column for column in columns if column not in rows[0]]
    if missing:
        spaced = [column for column in rows[0] if column.strip() == missing[0]]
        if spaced:
            raise ValueError(
                f"{rows[0]['source']} ff.: the header has {spaced[0]!r}, with spaces around the name of column "
                f"{missing[0]!r}. Remove them."
            )
        found = ", ".join(
            column or "(unnamed)" for column in rows[0] if column != "source"
        )
        raise ValueError(
            f"{rows[0]['source']}: column {missing[0]!r} is missing. Columns found: {found}; "
            f"columns expected: {', '.join(columns)}."
        )
    return [{column: row[column] for column in (*columns, "source")} for row in rows]


# ---- Common: files of the Hugging Face hub ----


def hub_files(repository: str, revision: str, pattern: str) -> list[Path]:
    """Return the data set's files matching ``pattern``, downloaded where the hub's cache does not have them yet."""
    folder = huggingface_hub.snapshot_download(
        repository, repo_type="dataset", revision=revision, allow_patterns=pattern
    )
    found = sorted(Path(folder).glob(pattern))
    if not found:
        raise FileNotFoundError(
            f"The hub set {repository} at revision {revision} has no file {pattern}. If HF_ENDPOINT names a mirror, "
            "the mirror is incomplete; else get the files another way and pass --metadata data_dir=PATH."
        )
    return found
