"""A place to write is tried before the work, by writing there, and held by one process at a time."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from lm_eval_baichuan import cli
from lm_eval_baichuan.model_adapters.errors import PlaceError
from lm_eval_baichuan.model_adapters.places import held, try_file, try_folder


def test_a_folder_that_can_be_made_is_tried_and_not_made(tmp_path: Path) -> None:
    try_folder(tmp_path / "a" / "b", "--output_path")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_refused(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def write(self, _: bytes) -> None:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.TemporaryFile", Failing)
    with pytest.raises(PlaceError, match=f"--output_path .*out: nothing can be written there .{os.strerror(code)}"):
        try_folder(tmp_path / "out", "--output_path")
    for output in (tmp_path / "report.html", tmp_path):
        with pytest.raises(PlaceError, match="-o .*nothing can be written there"):
            try_file(output, "-o")


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(PlaceError, match="Not a directory"):
        try_folder(tmp_path / "file" / "results", "--output_path")
    with pytest.raises(PlaceError, match="is not a folder"):
        try_file(tmp_path / "missing" / "report.html", "-o")


def test_trying_a_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("kept")
    try_file(tmp_path / "there", "-o")
    try_file(tmp_path / "new", "-o")
    try_file(Path("/dev/null"), "-o")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there": "kept"}


def test_a_lock_is_held_by_one_and_let_go(tmp_path: Path) -> None:
    with (
        held(tmp_path / "lock", "busy"),
        pytest.raises(PlaceError, match="busy"),
        held(tmp_path / "lock", "busy"),
    ):
        pass
    with held(tmp_path / "lock", "busy"):
        pass


@pytest.mark.parametrize("command", [["compare"], ["report"], ["report", "-o", os.devnull, "--png"]])
def test_a_page_or_table_is_refused_before_any_results_are_read(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = command
    options = options or ["-o"]
    missing = str(tmp_path / "missing" / "page.png")
    assert cli.main([name, str(tmp_path / "no-results"), *options, missing]) == 2
    assert f"{options[-1]} {missing}: {tmp_path / 'missing'} is not a folder" in capsys.readouterr().err
