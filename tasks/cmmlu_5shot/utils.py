"""CMMLU as its official code asks it: where the questions are.

The upper part is CMMLU's own. Sections that begin with "# ---- Common" are the same in every folder that has them, so
that a folder copied into lm-eval's own ``lm_eval/tasks/`` stands alone; scripts/generate_tasks.py writes them.
"""

from __future__ import annotations

import csv
import errno
import functools
import hashlib
import io
import json
import logging
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
import huggingface_hub
import jinja2
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or requests', by release

from lm_eval.api.samplers import ContextSampler
from lm_eval.api.task import ConfigurableTask


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


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
    data_dir: str | None = None,
    own_data: bool = False,
    shots_seed: int | None = None,
    **others: Any,
) -> datasets.DatasetDict:
    """Return one subject's ``dev`` rows (the shots) and its ``test`` questions, ready for lm-eval.

    Args:
        subject: CMMLU's file name for the subject, such as ``agronomy``.
        name: The subject's Chinese name in the instruction.
        rows: The published number of rows of each split.
        protocol: Templates and scoring rules; the YAML base explains each.
        data_dir: Folder holding ``cmmlu/{dev,test}/<subject>.csv``. Default: the environment variable
            LM_EVAL_BAICHUAN_DATA, else the hub.
        own_data: Accept other row counts and empty cells, for data other than the published set.
        shots_seed: Draws the order of the subject's shots; default: file order.
        others: What else lm-eval hands over; seeds among it are checked.

    Raises:
        FileNotFoundError: A file is missing from ``data_dir``.
        ValueError: A file holds something other than CMMLU questions; the message names file, row and column. Or a seed
            is none.
    """
    check_seeds(shots_seed=shots_seed, **others)
    found = {}
    for split, file in data_files(subject=subject, rows=rows).items():
        found[split] = read_rows(file, data_dir, own_data=own_data)
        check_row_counts(
            found[split],
            count_rows(file, found[split]),
            rows,
            f"CMMLU {subject}",
            own_data=own_data,
        )
    return make_dataset(
        found["dev"], found["test"], "test", subject, name, protocol, shots_seed
    )


def data_files(
    *, subject: str, rows: Mapping[str, int], **_: Any
) -> dict[str, DataFile]:
    """Return where a subject's questions are, by split."""
    return {
        split: DataFile(
            path=f"cmmlu/{split}/{subject}.csv",
            part=split,
            repository=HUB_REPOSITORY,
            revision=HUB_REVISION,
            at_home=HUB_ARCHIVE,
            download=from_archive,
        )
        for split in rows
    }


def read_rows(
    file: DataFile, data_dir: str | None = None, *, own_data: bool = False
) -> list[dict[str, str]]:
    """Return a file's questions as text, in file order, from ``data_dir`` or the hub; stop at what is no question."""
    rename = {"Question": "question", "Answer": "answer"}
    picked = pick_columns(read_csv(*file_content(file, data_dir)), COLUMNS)
    rows = [{rename.get(key, key): cell for key, cell in row.items()} for row in picked]
    check_questions(rows, ("question", *LETTERS), own_data=own_data)
    return rows


def count_rows(file: DataFile, rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Return how many rows a file has, by kind: a split has one."""
    return {file.part: len(rows)}


def from_archive(file: DataFile, *, fresh: bool = False) -> tuple[bytes, str]:
    """Return a file out of the hub set's archive."""
    (archive,) = hub_files(file, fresh=fresh)
    member = file.path.removeprefix("cmmlu/")
    try:
        with zipfile.ZipFile(archive) as members:
            return members.read(member), f"{archive}, {member}"
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{archive}: {error}. Delete the file, so that it is downloaded anew."
        ) from error


# ---- Common: questions ----

LETTERS = ("A", "B", "C", "D")
SEEDS = ("shots_seed", "split_seed")


class QuestionTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval is untyped
    """A task whose requests are always of this run's questions and shots, in this run's form."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Set up the task from its YAML, in which ``class`` names this class and means nothing further.

        ``custom_dataset`` is kept apart: lm-eval would write its source into the results, once for each task.
        """
        self.load: Callable[..., datasets.DatasetDict] = config["custom_dataset"]
        super().__init__(
            config={
                key: value
                for key, value in config.items()
                if key not in ("class", "custom_dataset")
            }
        )

    def download(self, *_: Any, **__: Any) -> None:
        """Load the questions as lm-eval does, but without its warning, which would come once for each task."""
        metadata, subject = self.config.metadata, self.config.dataset_kwargs
        self.dataset = self.load(**metadata, **subject)
        if "subject" in subject:
            files = self.load.__globals__["data_files"](**subject)
            source = questions_from(
                next(iter(files.values())), metadata.get("data_dir")
            )
            self.config.metadata["questions_from"] = source

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Set a value of the configuration; of shots other than the protocol's, the results tell both numbers."""
        if key == "num_fewshot" and value != self.config.num_fewshot:
            self.config.metadata["protocol_num_fewshot"] = self.config.num_fewshot
        super().set_config(key, value, update)

    def fewshot_docs(self) -> list[Any]:
        """Return no pool of shots to draw from: each question's row carries its own."""
        return []

    def build_all_requests(self, **options: Any) -> None:
        """Build the requests anew, whatever lm-eval's cache holds.

        The cache of ``--cache_requests`` knows a task by its name, so it answers another seed, other data or another
        chat form with the prompts of the run before; and a model that never saw a conversation can't shorten it.
        """
        if options.get("cache_requests"):
            logging.getLogger(__name__).info(
                "%s: --cache_requests has no effect; the requests are built anew.",
                self.config.task,
            )
        super().build_all_requests(**{**options, "cache_requests": False})


class ShotsOfQuestion(ContextSampler):  # type: ignore[misc]  # lm-eval is untyped
    """Takes the shots that a question's own row carries in its column ``shots``, in their order.

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


def check_row_counts(
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, int],
    expected: Mapping[str, int],
    what: str,
    *,
    own_data: bool,
) -> None:
    """Stop if a file does not have its published size: a score over part of a set is not the published score.

    Args:
        rows: The file's rows.
        found: Their numbers by kind.
        expected: The published numbers, of these kinds and maybe others.
        what: The set.
        own_data: Whether other numbers are meant.
    """
    for kind, number in found.items():
        if number != expected[kind] and not own_data:
            raise ValueError(
                f"{what}, {kind.replace('_', ' ')}: {number} rows found ({rows[0]['source'] if rows else 'none'} ff.), "
                f"{expected[kind]} expected in the published set. The data is incomplete or another release: replace "
                "it, or pass --metadata own_data=true if your data is meant to differ; its score then does not compare "
                "with the published one."
            )


def check_seeds(**metadata: Any) -> None:
    """Stop at a seed that is no whole number, and at one that no task knows, which would change nothing unseen."""
    for name, seed in metadata.items():
        if name.endswith("_seed") and name not in SEEDS:
            raise ValueError(
                f"--metadata {name}: no task draws by it. The seeds are {' and '.join(SEEDS)}."
            )
        if name in SEEDS and seed is not None and type(seed) is not int:
            raise ValueError(
                f"--metadata {name} is {seed!r}, a whole number was expected."
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
    shots_seed: int | None = None,
) -> datasets.DatasetDict:
    """Render shots and questions, and add what an adapter needs to score them as published.

    Each template is compiled once here, where lm-eval would compile it anew for every text. Columns of the result:
    those of the rows, ``subject``, ``prompt`` (a question up to where its answer goes), ``shots`` (each with ``prompt``
    and ``answer``, in the order asked), ``instruction`` (the text before the shots), ``label_tokens``,
    ``max_prompt_tokens``, ``drop_shots``, and in characters ``description_length`` (of the instruction),
    ``question_length`` and ``shot_lengths`` (of each shot with its answer and delimiters, in order).

    Args:
        shots: The rows to answer in advance, in order.
        questions: The rows to ask.
        split: What to call the questions' split; the shots' is ``dev``.
        subject: Name of the subject in the data.
        name: Name of the subject in the instruction.
        protocol: Templates and scoring rules, from the YAML base.
        shots_seed: Draws the order of the shots, once for the subject or anew for each question as the protocol's
            ``shots_drawn_for`` says; None: the order given.
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

    given = [rendered(row) for row in shots]
    documents = []
    for document in map(rendered, questions):
        ordered = given
        if shots_seed is not None:
            drawn_for = {"question": document["prompt"], "subject": ""}[
                protocol["shots_drawn_for"]
            ]
            ordered = sorted(
                given,
                key=lambda shot: draw_key(
                    shots_seed, subject, drawn_for, shot["prompt"]
                ),
            )
        document["shots"] = [
            {"prompt": shot["prompt"], "answer": shot["answer"]} for shot in ordered
        ]
        document["instruction"] = instruction
        for rule in ("label_tokens", "max_prompt_tokens", "drop_shots"):
            document[rule] = protocol[rule]
        document["description_length"] = len(instruction)
        document["question_length"] = len(document["prompt"])
        document["shot_lengths"] = [
            len(shot["prompt"]) + len(shot["answer"]) + delimiters_length
            for shot in ordered
        ]
        documents.append(document)
    return datasets.DatasetDict(
        {
            "dev": datasets.Dataset.from_list(given),
            split: datasets.Dataset.from_list(documents),
        }
    )


# ---- Common: data files ----

DATA_VARIABLE = "LM_EVAL_BAICHUAN_DATA"
# The largest file has a few megabytes; a broken home may send without end.
MAX_DOWNLOAD_BYTES = 1 << 26


class DataFile(NamedTuple):
    """One file of questions: where it lies in a data folder, and how its content comes from its public home."""

    path: str
    """In a data folder, with forward slashes."""
    part: str
    """What of a subject it holds: a split, or ``all``."""
    repository: str
    revision: str
    at_home: str
    """Its path in the repository, or the path of what it is made from."""
    download: Callable[..., tuple[bytes, str]]
    """``download(file, fresh=False)`` gives its content, and where that came from; ``fresh``: pass over caches."""


def find_data_dir(data_dir: str | None) -> Path | None:
    """Return the folder with the data: ``data_dir``, else what the environment names, else None (the public home)."""
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
            f"{folder}, named by {origin}, is not a folder. Name the folder that holds the data, or fill it: "
            f"lm-eval-baichuan data fetch {folder}"
        )
    return folder


def questions_from(file: DataFile, data_dir: str | None) -> str:
    """Return where a file of questions is taken from, for the results: a folder, or its home at a revision."""
    if not file.repository:
        return "the task's own folder"
    folder = find_data_dir(data_dir)
    if folder is not None:
        return str(folder.resolve())
    return f"{file.repository} at revision {file.revision}"


def file_content(file: DataFile, data_dir: str | None) -> tuple[bytes, str]:
    """Return a file's content and where it comes from: the data folder where one is named, else its public home."""
    folder = find_data_dir(data_dir)
    if folder is None:
        return file.download(file)
    path = folder / file.path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Fill the folder (lm-eval-baichuan data fetch {folder}), name another (--metadata "
            f"data_dir=PATH, or the environment variable {DATA_VARIABLE}), or name none: then the data comes from its "
            "public home."
        )
    return path.read_bytes(), str(path)


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


def csv_content(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows of cells as a CSV file that reads as the same cells."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


# ---- Common: hub files ----


class BoundedBar(huggingface_hub.utils.tqdm):  # type: ignore[misc,name-defined]  # untyped
    """The hub library's progress bar, which ends a download that does not end by itself."""

    come = 0

    def update(self, n: float | None = 1) -> Any:
        """Count the bytes that came."""
        self.come += int(n or 0)
        if self.come > MAX_DOWNLOAD_BYTES:
            raise OSError(errno.EFBIG, f"more than {MAX_DOWNLOAD_BYTES} bytes came")
        return super().update(n)


@functools.cache  # each call asks the hub for its list of files
def hub_snapshot(repository: str, revision: str, pattern: str) -> Path:
    """Return a folder with the files of a data set that match a pattern."""
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=pattern,
                tqdm_class=BoundedBar,
            )
        )
    except (OSError, HTTPError) as error:
        raise ConnectionError(
            f"The hub set {repository} at revision {revision}: {pattern} could not be downloaded "
            f"({type(error).__name__}: {error}). Name a mirror in the environment variable HF_ENDPOINT, or fill a "
            "folder elsewhere (lm-eval-baichuan data fetch PATH) and name it: --metadata data_dir=PATH, or the "
            f"environment variable {DATA_VARIABLE}."
        ) from error


def hub_files(file: DataFile, *, fresh: bool = False) -> list[Path]:
    """Return the files that match ``file.at_home``, downloaded where the hub's cache does not have them yet."""
    folder = hub_snapshot(file.repository, file.revision, file.at_home)
    if fresh:
        for path in folder.glob(file.at_home):
            for each in (
                path.resolve(),
                path,
            ):  # the cache links from a name to the content
                each.unlink(missing_ok=True)
        hub_snapshot.cache_clear()
        folder = hub_snapshot(file.repository, file.revision, file.at_home)
    found = sorted(folder.glob(file.at_home))
    if not found:
        raise FileNotFoundError(
            f"The hub set {file.repository} at revision {file.revision} has no file {file.at_home}. If HF_ENDPOINT "
            "names a mirror, the mirror is incomplete; else get the files another way and pass --metadata "
            "data_dir=PATH."
        )
    return found
