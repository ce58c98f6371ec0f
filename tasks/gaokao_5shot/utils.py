"""GAOKAO-Bench's questions with one answer: which they are, and which of them are shots.

The upper part is GAOKAO-Bench's own. Sections that begin with "# ---- Common" are the same in every folder that has
them, so that a folder copied into lm-eval's own ``lm_eval/tasks/`` stands alone; scripts/generate_tasks.py writes them.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import hashlib
import json
import logging
import os
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


REPOSITORY = "OpenLMLab/GAOKAO-Bench"
COMMIT = "5f7f7a0a5654bcfc8a9a5fab7307e3a00bcc635e"


def load(
    *,
    subject: str,
    name: str,
    file: str,
    rows: Mapping[str, int],
    protocol: Mapping[str, Any],
    data_dir: str | None = None,
    own_data: bool = False,
    split_seed: int = 0,
    shots_seed: int | None = None,
    **others: Any,
) -> datasets.DatasetDict:
    """Return one subject's shots (``dev``) and its other questions (``test``), ready for lm-eval.

    Args:
        subject: The subject's name in task names, such as ``math_i``.
        name: The subject's Chinese name in the instruction.
        file: Name of the subject's file in Data/Objective_Questions.
        rows: Number of rows in the published file (``all``) and of those with exactly one answer A-D (``single``).
        protocol: Templates and scoring rules; the YAML base explains each.
        data_dir: Folder holding ``gaokao-bench/Data/Objective_Questions/<file>``. Default: the environment variable
            LM_EVAL_BAICHUAN_DATA, else GitHub.
        own_data: Accept other row counts and empty cells, for data other than the published set.
        split_seed: Draws which questions are shots.
        shots_seed: Draws the order of the shots anew for each question; default: as the split drew them.
        others: What else lm-eval hands over; seeds among it are checked.

    Raises:
        FileNotFoundError: The file is missing from ``data_dir``.
        ValueError: The file holds something other than questions; the message names file, row and field. Or a seed is
            none.
    """
    check_seeds(split_seed=split_seed, shots_seed=shots_seed, **others)
    (source,) = data_files(file=file).values()
    examples = read_rows(source, data_dir, own_data=own_data)
    check_row_counts(
        examples,
        count_rows(source, examples),
        rows,
        f"GAOKAO-Bench {file}",
        own_data=own_data,
    )
    shots, questions = draw_shots(single_answers(examples), subject, split_seed)
    return make_dataset(shots, questions, "test", subject, name, protocol, shots_seed)


def data_files(*, file: str, **_: Any) -> dict[str, DataFile]:
    """Return where a subject's questions are: all in one file."""
    at_home = f"Data/Objective_Questions/{file}"
    return {
        "all": DataFile(
            f"gaokao-bench/{at_home}", "all", REPOSITORY, COMMIT, at_home, github_file
        )
    }


def read_rows(
    file: DataFile, data_dir: str | None = None, *, own_data: bool = False
) -> list[dict[str, Any]]:
    """Return a file's rows, in file order, from ``data_dir`` or GitHub; stop at one that is no question."""
    content, source = file_content(file, data_dir)
    text = decode(content, source)
    try:
        examples = json.loads(text)["example"]
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{source}, line {error.lineno}: not JSON ({error.msg}). Replace the file."
        ) from error
    except (RecursionError, ValueError) as error:  # nested too deep, a number too long
        raise ValueError(
            f"{source}: not JSON to be read ({error}). Replace the file."
        ) from error
    except (KeyError, TypeError):
        examples = None
    if not isinstance(examples, list):
        raise ValueError(  # noqa: TRY004  # a file that is wrong, not an argument
            f"{source}: no list 'example' found, as GAOKAO-Bench has it. Replace the file."
        )
    kinds = {
        "index": int,
        "year": str,
        "category": str,
        "question": str,
        "answer": list,
    }
    for number, example in enumerate(examples, start=1):
        for field, kind in kinds.items():
            if not isinstance(example, dict) or not isinstance(
                example.get(field), kind
            ):
                found = (
                    repr(example.get(field, "nothing"))
                    if isinstance(example, dict)
                    else repr(example)
                )
                raise ValueError(  # noqa: TRY004  # a file that is wrong, not an argument
                    f"{source}, example {number}, field {field!r}: {kind.__name__} expected, found {found[:60]}. "
                    "Correct the row."
                )
        example["source"] = f"{source}, example {number}"
    questions = single_answers(examples)
    if not questions:
        raise ValueError(
            f"{source} holds no question with exactly one answer A-D. Replace it by the published file."
        )
    check_questions(questions, ("question",), own_data=own_data)
    return list(examples)


def count_rows(file: DataFile, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many rows a file has, by kind: all, and those with exactly one answer A-D."""
    return {file.part: len(rows), "single": len(single_answers(rows))}


def single_answers(examples: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows with exactly one answer A-D, as questions."""
    return [
        {
            "id": str(example["index"]),
            "year": example["year"],
            "category": example["category"],
            "question": example["question"],
            "answer": example["answer"][0],
            "source": example["source"],
        }
        for example in examples
        if len(example["answer"]) == 1 and example["answer"][0] in LETTERS
    ]


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


# ---- Common: drawn shots ----


def draw_shots(
    rows: Sequence[dict[str, str]], subject: str, seed: int, number: int = 5
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Split a subject's rows at random into ``number`` shots, in drawn order, and the questions to ask, in file order.

    The draw depends on the seed and on the rows' own text, so neither on their order in the file nor on the Python at
    work. A row that occurs twice (same passage, same question) is never a shot, since its copy would then be asked
    with the answer in sight; and no two shots share a passage.
    """
    columns = [column for column in rows[0] if column not in ("id", "source")]

    def text(row: Mapping[str, str]) -> tuple[str, str]:
        return row.get("passage", ""), row["question"]

    times = collections.Counter(map(text, rows))
    shots: list[dict[str, str]] = []
    for row in sorted(
        rows,
        key=lambda row: draw_key(seed, subject, *(row[column] for column in columns)),
    ):
        passage_shown = any(
            row.get("passage") and row.get("passage") == shot.get("passage")
            for shot in shots
        )
        if times[text(row)] == 1 and not passage_shown:
            shots.append(row)
        if len(shots) == number:
            return shots, [
                row for row in rows if not any(row is shot for shot in shots)
            ]
    raise ValueError(
        f"{rows[0]['source']} ff.: {len(rows)} rows give only {len(shots)} of {number} shots (rows that occur once, "
        "each with a passage of its own). Replace the file by the published one."
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


# ---- Common: GitHub files ----

GITHUB_VARIABLE = "LM_EVAL_BAICHUAN_GITHUB"  # a mirror of raw.githubusercontent.com


def github_file(file: DataFile, *, fresh: bool = False) -> tuple[bytes, str]:
    """Return a file's content at its commit, and its address; the hub library's folder for assets keeps a copy."""
    home = os.environ.get(GITHUB_VARIABLE, "https://raw.githubusercontent.com").rstrip(
        "/"
    )
    address = f"{home}/{file.repository}/{file.revision}/{file.at_home}"
    kept = (
        huggingface_hub.cached_assets_path("lm_eval", file.repository, file.revision)
        / file.at_home
    )
    if kept.is_file() and not fresh:
        return kept.read_bytes(), address
    content = bytearray()
    try:
        timeout = huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
        session = huggingface_hub.get_session()
        with session.stream("GET", address, timeout=timeout) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_DOWNLOAD_BYTES:
                    raise OSError(
                        errno.EFBIG, f"more than {MAX_DOWNLOAD_BYTES} bytes came"
                    )
    except (OSError, HTTPError) as error:
        raise ConnectionError(
            f"{address} could not be downloaded ({type(error).__name__}: {error}). Name a mirror in the environment "
            f"variable {GITHUB_VARIABLE}, or fill a folder elsewhere (lm-eval-baichuan data fetch PATH) and name it: "
            f"--metadata data_dir=PATH, or the environment variable {DATA_VARIABLE}."
        ) from error
    part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    with contextlib.suppress(
        OSError
    ):  # without a copy here, the next run downloads it again
        kept.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(kept)
    return bytes(content), address
