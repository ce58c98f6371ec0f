"""Where a run writes: tried before anything is loaded, and never the reason that its results are lost."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CacheError, PlaceError
from ..hosts.lm_eval import answers_in, evaluation_under_way, results_table
from ..places import held, hold, try_folder

COMMIT_SECONDS = 5.0


def try_run_places() -> None:
    """Tries the places that the evaluation which is loading this model was told to write to.

    Raises:
        CacheError: What is at the path of ``--use_cache`` is no cache.
        PlaceError: Nothing can be written to one of them, or another run uses the cache.
    """
    tracker, use_cache = evaluation_under_way()
    if use_cache is not None:
        _try_cache(Path(f"{use_cache}_rank{os.environ.get('RANK', '0')}.db"))
    if tracker is not None and tracker.output_path:
        path = Path(tracker.output_path)
        try_folder(path.parent if path.suffix == ".json" else path, "--output_path")
        if not isinstance(getattr(tracker.save_results_samples, "__self__", None), ResultsKeeper):
            ResultsKeeper(tracker)


def _try_cache(file: Path) -> None:
    try_folder(file.parent, "--use_cache")
    if not file.exists():
        return
    with held(_lock_of(file), _in_use(file)), contextlib.closing(sqlite3.connect(file, timeout=1)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise _cannot_keep(file, error) from error
        except sqlite3.DatabaseError as error:
            raise CacheError(
                f"--use_cache: {file} is not a cache of answers ({error}). Give --use_cache another path, or delete "
                "the file."
            ) from error


def hold_cache(answers: Any) -> None:
    """Keeps other runs off a cache for as long as its database is in use here.

    Args:
        answers: The database, a SqliteDict.

    Raises:
        PlaceError: Another run uses it.
    """
    file = Path(answers.filename)
    lock = hold(_lock_of(file), _in_use(file), again=True)  # a model may be given the same cache again
    weakref.finalize(answers, lock.release)
    logging.getLogger("sqlitedict").setLevel(logging.CRITICAL)  # its tracebacks are of what `naming_the_cache` names


@contextlib.contextmanager
def naming_the_cache(hook: Any) -> Iterator[None]:
    """Has a database that fails while it is used end in an error that names it.

    Args:
        hook: The cache hook of a model.

    Raises:
        PlaceError: The database failed.
    """
    try:
        yield
    except sqlite3.Error as error:
        answers = answers_in(hook)
        if answers is None:
            raise
        raise _cannot_keep(Path(answers.filename), error) from error


def commit_if_possible(answers: Any) -> None:
    """Has a database write what it was given, unless that doesn't come to an end any more.

    A signal that arrives while an answer is handed to the database's thread may leave that thread waiting for ever, and
    with it whoever waits for it.
    """

    def commit() -> None:
        with contextlib.suppress(sqlite3.Error):  # is raised, or was, where the answers are needed
            answers.commit()

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    thread.join(COMMIT_SECONDS)


def _lock_of(file: Path) -> Path:
    return file.with_name(file.name + ".lock")


def _in_use(file: Path) -> str:
    return f"--use_cache: another run is using {file}. Let it end, or give --use_cache another path."


def _cannot_keep(file: Path, error: sqlite3.Error) -> PlaceError:
    return PlaceError(
        f"--use_cache: {file} cannot keep answers ({error}). Those it holds stay: make room or give the right to "
        "write, and run the same command again to go on from them."
    )


class ResultsKeeper:
    """Looks whether lm-eval's tracker wrote the results, which it only logs, and writes them elsewhere if not."""

    def __init__(self, tracker: Any) -> None:
        """Takes the place of the tracker's two methods that write."""
        self._tracker = tracker
        self._write_results = tracker.save_results_aggregated
        self._write_samples = tracker.save_results_samples
        self._results: dict[str, Any] = {}
        self._samples: dict[str, Any] | None = None
        self._saved: list[str] = []
        self._moved_from: str | None = None
        tracker.save_results_aggregated = self.save_results
        tracker.save_results_samples = self.save_samples

    def save_results(self, results: dict[str, Any], samples: dict[str, Any] | None = None) -> None:
        """Writes the results as `EvaluationTracker.save_results_aggregated` does."""
        self._results, self._samples, self._saved = results, samples, []
        if not self._results_written():
            self._move()
        self._end()

    def save_samples(self, task_name: str, samples: Any) -> None:
        """Writes the samples of a task as `EvaluationTracker.save_results_samples` does."""
        self._samples = {**(self._samples or {}), task_name: samples}
        self._saved.append(task_name)
        if not self._samples_written(task_name):
            self._move()
        self._end()

    def _results_written(self) -> bool:
        self._write_results(results=self._results, samples=self._samples)
        path = Path(self._tracker.output_path)
        stem = path.stem if path.suffix == ".json" else "results"
        return _whole(self._folder() / f"{stem}_{getattr(self._tracker, 'date_id', None)}.json")

    def _samples_written(self, task: str) -> bool:
        samples = (self._samples or {})[task]
        # Writing changes the samples, and they may have to be written again.
        self._write_samples(task_name=task, samples=[dict(sample) for sample in samples])
        return _whole(self._folder() / f"samples_{task}_{self._tracker.date_id}.jsonl", lines=len(samples))

    def _folder(self) -> Path:
        path = Path(self._tracker.output_path)
        if path.suffix == ".json":
            return path.parent
        return path / str(self._tracker.general_config_tracker.model_name_sanitized)

    def _move(self) -> None:
        """Writes everything so far to the first other place that takes it."""
        self._moved_from = self._moved_from or str(self._tracker.output_path)
        for place in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
            with contextlib.suppress(OSError):
                self._tracker.output_path = tempfile.mkdtemp(prefix="lm-eval-results-", dir=place)
                if self._results_written() and all(map(self._samples_written, self._saved)):
                    return
        print(results_table(self._results))
        raise PlaceError(
            f"--output_path {self._moved_from}: the results could not be written there, nor to {Path.cwd()}, "
            f"{Path.home()} or {tempfile.gettempdir()}. They are in the table above and nowhere else; what --use_cache "
            "kept answers the same command again."
        )

    def _end(self) -> None:
        """Says where the results are, once all that was to be written is there."""
        left = set(self._results["configs"]) - set(self._saved) if self._samples is not None else set()
        if self._moved_from is not None and not left:
            print(results_table(self._results))
            raise PlaceError(
                f"--output_path {self._moved_from}: the results could not be written there. They are all in "
                f"{self._folder()}."
            )


def _whole(file: Path, lines: int | None = None) -> bool:
    """Tells whether a file was written to its end; takes away what was not."""
    with contextlib.suppress(OSError, ValueError):
        content = file.read_bytes()
        if lines is None:
            json.loads(content)
            return True
        if content.count(b"\n") == lines:
            return True
    with contextlib.suppress(OSError):
        file.unlink()
    return False
