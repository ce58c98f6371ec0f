"""What lm-eval reads of its folders of tasks is kept on disk, and never differs from what stands in the files."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks import _index as lm_eval_index

from lm_eval_baichuan import task_index

VERSIONS = {"lm_eval": "1"}
LONG_AGO = 1_600_000_000
SHARED = "output_type: multiple_choice\nmetadata: {version: 1.0}\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lm-eval-baichuan" / "task_index"


def own_build() -> Callable[..., Any]:
    """lm-eval's function, without what this package's start-up bridge put around it."""
    build = lm_eval_index.TaskIndex.build
    while hasattr(build, "__wrapped__"):
        build = build.__wrapped__
    return build


class Kept:
    """lm-eval's index over some folders, kept; and how many files lm-eval read itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.read = monkeypatch, 0

    def build(
        self, *paths: Path, kept: tuple[Path, ...] | None = None, versions: Any = VERSIONS, **options: Any
    ) -> Any:
        original = lm_eval_index.load_yaml

        def counting(*arguments: Any, **named: Any) -> Any:
            self.read += 1
            return original(*arguments, **named)

        self.read = 0
        with self.monkeypatch.context() as patch:
            patch.setattr(lm_eval_index, "load_yaml", counting)
            patch.setattr(lm_eval_index.TaskIndex, "build", staticmethod(own_build()))
            task_index.remember_files(lm_eval_index, paths if kept is None else kept, versions)
            return lm_eval_index.TaskIndex.build(list(paths), **options)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept(monkeypatch)


def put(file: Path, text: str) -> None:
    """Write a file that looks as if it had been there for long."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    os.utime(file, (LONG_AGO, LONG_AGO))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tasks"
    put(root / "one.yaml", "task: one\ntag: [some, tag]\ninclude: inner/_shared\ndoc_to_text: !function utils.text\n")
    put(root / "inner" / "_shared", SHARED)
    put(root / "inner" / "two.yaml", "group: two\ntask: [one]\n")
    put(root / "inner" / "no_dict.yaml", "[a, list]\n")
    put(root / "inner" / "utils.py", "text = 1\n")
    return root


def same(one: Any, other: Any) -> bool:
    """Whether two indexes are equal to the types of their values and the order of their keys."""

    def told(index: Any) -> str:
        entries = {name: dataclasses.asdict(entry) for name, entry in index.items()}
        return repr([(name, {**entry, "tags": sorted(entry["tags"])}) for name, entry in entries.items()])

    return told(one) == told(other)


def test_a_second_command_reads_no_file_and_finds_the_same(folder: Path, kept: Kept) -> None:
    plain = own_build()([folder])
    assert same(kept.build(folder), plain) and kept.read == 3
    assert same(kept.build(folder), plain) and kept.read == 1  # the one that lm-eval skips as no dict
    assert plain["one"].cfg["doc_to_text"].endswith("tasks/utils.text")


def test_entries_of_two_indexes_are_not_one_object(folder: Path, kept: Kept) -> None:
    kept.build(folder)
    kept.build(folder)["one"].cfg["metadata"]["version"] = "changed"
    assert same(kept.build(folder), own_build()([folder]))


CHANGES = {
    "a file's content": lambda root: put(root / "one.yaml", "task: other\n"),
    "what a file includes": lambda root: put(root / "inner" / "_shared", "output_type: generate_until\n"),
    "a file's content, not its size": lambda root: change(root / "inner" / "_shared", "multiple_choice"),
    "a new file": lambda root: put(root / "inner" / "three.yaml", "task: three\n"),
    "a new folder": lambda root: put(root / "new" / "three.yaml", "task: three\n"),
    "a file less": lambda root: (root / "one.yaml").unlink(),
    "another name": lambda root: (root / "inner" / "two.yaml").rename(root / "inner" / "zwei.yaml"),
    "another order": lambda root: (root / "inner" / "two.yaml").rename(root / "a.yaml"),
}


def change(file: Path, text: str) -> None:
    file.write_text(file.read_text("utf-8").replace(text, text[::-1]), encoding="utf-8")
    os.utime(file, (LONG_AGO + 1, LONG_AGO + 1))


@pytest.mark.parametrize("made", CHANGES.values(), ids=list(CHANGES))
def test_any_change_of_the_folder_is_seen(made: Callable[[Path], None], folder: Path, kept: Kept) -> None:
    before = kept.build(folder)
    made(folder)
    after = kept.build(folder)
    assert same(after, own_build()([folder])) and not same(after, before)


def test_a_listing_tells_names_times_and_sizes(folder: Path) -> None:
    seen = {task_index.list_folder(folder)[0]}
    two = folder / "inner" / "two.yaml"
    seen.add(task_index.list_folder(two.rename(two.with_name("zwei.yaml")).parent.parent)[0])
    os.utime(folder / "one.yaml", (LONG_AGO + 1, LONG_AGO + 1))
    seen.add(task_index.list_folder(folder)[0])
    put(folder / "one.yaml", "")
    seen.add(task_index.list_folder(folder)[0])
    (folder / "inner" / "utils.py").write_text("text = 2\n")  # functions stand in the index by name only
    seen.add(task_index.list_folder(folder)[0])
    assert len(seen) == 4


def test_another_version_of_a_reader_reads_anew(folder: Path, kept: Kept) -> None:
    kept.build(folder)
    kept.build(folder, versions={"lm_eval": "2"})
    assert kept.read == 3
    kept.build(folder, versions={"lm_eval": "2"}, resolve_includes=False)
    assert kept.read == 3


def damage(place: Path, how: str) -> None:
    text = place.read_text("utf-8")
    content = json.loads(text)
    if how == "cut":
        place.write_text(text[: len(text) // 2], encoding="utf-8")
    elif how == "bytes":
        place.write_bytes(b"\xff\xfe\x00" + text.encode())
    elif how == "deep":
        place.write_text("[" * 200_000, encoding="utf-8")
    elif how == "empty":
        place.write_text("")
    elif how == "a list":
        place.write_text("[]")
    elif how == "files of another type":
        place.write_text(json.dumps({**content, "content": {"one.yaml": "task: evil"}}))
    elif how == "no files":
        place.write_text(json.dumps({"header": content["header"]}))
    elif how == "a folder in its place":
        place.unlink()
        place.mkdir()


@pytest.mark.parametrize(
    "how",
    ["cut", "bytes", "deep", "empty", "a list", "files of another type", "no files", "a folder in its place"],
)
def test_damage_only_costs_time(how: str, folder: Path, kept: Kept, cache: Path) -> None:
    kept.build(folder)
    (place,) = cache.iterdir()
    damage(place, how)
    assert same(kept.build(folder), own_build()([folder])) and kept.read == 3


def test_what_json_would_change_is_left_to_lm_eval(folder: Path, kept: Kept) -> None:
    put(folder / "odd.yaml", "task: odd\nmetadata: {1: a, when: 2024-01-01, not: .nan}\n")
    kept.build(folder)
    assert same(kept.build(folder), own_build()([folder])) and kept.read == 2


def test_a_folder_that_just_changed_is_not_kept(folder: Path, kept: Kept, cache: Path) -> None:
    (folder / "young.yaml").write_text("task: young\n")
    kept.build(folder)
    assert not cache.exists()


def test_a_folder_that_changes_while_it_is_read_is_not_kept(
    folder: Path, kept: Kept, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = iter([("before", 0.0), ("after", 0.0)])
    monkeypatch.setattr(task_index, "list_folder", lambda root: next(listings))
    kept.build(folder)
    assert not cache.exists()


def test_folders_of_include_path_are_read_each_time(folder: Path, kept: Kept, tmp_path: Path) -> None:
    put(tmp_path / "mine" / "one.yaml", "task: one\n")
    for _ in range(2):
        index = kept.build(folder, tmp_path / "mine", kept=(folder,))
    assert kept.read == 2  # mine, and the one that is no dict
    assert same(index, own_build()([folder, tmp_path / "mine"]))


def test_a_place_that_cannot_be_written_is_done_without(folder: Path, kept: Kept, cache: Path) -> None:
    put(cache.parent, "a file where the folder should be")
    assert same(kept.build(folder), own_build()([folder]))


def test_nothing_but_the_content_is_left_behind(folder: Path, kept: Kept, cache: Path) -> None:
    kept.build(folder)
    (place,) = cache.iterdir()
    assert place.suffix == ".json" and stat.S_IMODE(place.stat().st_mode) == 0o600


def test_what_was_kept_for_an_environment_of_long_ago_goes(folder: Path, kept: Kept, cache: Path) -> None:
    put(cache / "0123456789abcdef.json", "{}")
    put(cache / "0123456789abcdefxyz.part", "{")  # of a command that was killed
    put(cache / "notes.txt", "not ours")
    recent = cache / "fedcba9876543210.json"
    recent.write_text("{}", encoding="utf-8")
    kept.build(folder)
    names = {file.name for file in cache.iterdir()}
    assert names >= {"notes.txt", recent.name} and len(names) == 3


class Listed:
    """A `TaskManager` that keeps its tables; and how many it wrote itself."""

    def __init__(self, kept: Kept) -> None:
        self.kept, self.written = kept, 0
        self.meanwhile: Callable[[], Any] = lambda: None

    def table(self, *paths: Path, kept: tuple[Path, ...] | None = None, versions: Any = VERSIONS, **asked: bool) -> str:
        listed = self

        class Manager(TaskManager):
            def __init__(self) -> None:
                super().__init__(include_defaults=False)
                self._index = listed.kept.build(*paths, kept=kept)
                self._all_groups = sorted(name for name, entry in self._index.items() if entry.kind.name == "GROUP")
                self._all_tags = sorted(name for name, entry in self._index.items() if entry.kind.name == "TAG")
                self._all_subtasks = sorted(name for name, entry in self._index.items() if entry.kind.name == "TASK")

            def list_all_tasks(self, *arguments: bool, **options: bool) -> str:
                listed.written += 1
                table = str(own_listing()(self, *arguments, **options))
                listed.meanwhile()
                return table

        self.written = 0
        self.plain = own_listing()(Manager(), **asked)
        task_index.remember_listing(Manager, versions)
        return Manager().list_all_tasks(**asked)


def own_listing() -> Callable[..., Any]:
    listing: Any = TaskManager.list_all_tasks
    while hasattr(listing, "__wrapped__"):
        listing = listing.__wrapped__
    return listing  # type: ignore[no-any-return]


def test_a_table_is_written_once_for_each_way_of_asking(folder: Path, kept: Kept) -> None:
    listed = Listed(kept)
    asked: list[dict[str, bool]] = [{}, {"list_tags": False}, {"list_subtasks": False}]
    tables = []
    for written in (1, 0):
        for options in asked:
            tables.append(listed.table(folder, **options))
            assert (tables[-1], listed.written) == (listed.plain, written)
    assert len(set(tables)) == 3 and "multiple_choice" in tables[0]


@pytest.mark.parametrize("made", CHANGES.values(), ids=list(CHANGES))
def test_a_table_follows_any_change(made: Callable[[Path], None], folder: Path, kept: Kept) -> None:
    listed = Listed(kept)
    listed.table(folder)
    made(folder)
    assert listed.table(folder) == listed.plain and listed.written == 1


def test_a_table_of_other_versions_or_folders_is_written_anew(folder: Path, kept: Kept, tmp_path: Path) -> None:
    listed = Listed(kept)
    listed.table(folder)
    assert listed.table(folder, versions={"lm_eval": "2"}) == listed.plain and listed.written == 1
    put(tmp_path / "mine" / "four.yaml", "task: four\n")
    for _ in range(2):  # a folder of --include_path is never kept, and so no table with it
        assert "four" in listed.table(folder, tmp_path / "mine", kept=(folder,)) and listed.written == 1


def test_a_table_of_files_that_changed_while_it_was_written_is_not_kept(folder: Path, kept: Kept) -> None:
    listed = Listed(kept)
    kept.build(folder)
    listed.meanwhile = lambda: change(folder / "inner" / "_shared", "multiple_choice")
    assert "multiple_choice" in listed.table(folder)
    listed.meanwhile = lambda: None
    put(folder / "inner" / "_shared", SHARED)  # all as before
    listed.table(folder)
    assert listed.written == 1


@pytest.mark.slow
def test_all_of_lm_evals_own_tasks_and_ours_are_the_same(kept: Kept) -> None:
    from lm_eval_baichuan.registration import task_directories

    roots = [Path(str(lm_eval_index.__file__)).parent, *task_directories()]
    plain = own_build()(roots)
    assert len(plain) > 10_000
    assert same(kept.build(*roots), plain)
    assert same(kept.build(*roots), plain)
    assert kept.read < 50
    listed = Listed(kept)
    assert listed.table(*roots) == listed.plain and listed.written == 1
    assert listed.table(*roots) == listed.plain and listed.written == 0
