"""``data fetch`` and ``export`` killed at any moment leave nothing half done, and end as undisturbed ones do."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from made_files import write_files
from stand_in_hub import github_files, hub_files

from lm_eval_baichuan.data.sources import set_files
from lm_eval_baichuan.model_adapters.demo import demo_folder

Storm = Any  # of conftest, which has one name for all folders

SETS = ("gaokao", "agieval", "cmmlu")


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def known_hashes(tmp_path: Path) -> str:
    """An empty file of known hashes: the questions made here are not the published ones."""
    path = tmp_path / "known_hashes.json"
    path.write_text("{}")
    return str(path)


def test_a_killed_fetch_continues(storm: Storm, downloads: Path, known_hashes: str, tmp_path: Path) -> None:
    storm.fell = Counter()
    made, folder = tmp_path / "made", tmp_path / "data"
    write_files(made, *SETS)
    storm.homes.files = hub_files(made) | github_files(made)
    files = {file.path: file for name in SETS for file in set_files(name)}
    arguments = ["data", "fetch", str(folder), "--only", ",".join(SETS)]

    def run(after: float | None = None) -> dict[str, object]:
        before = contents(folder) if folder.exists() else {}
        storm.homes.requests.clear()
        done: dict[str, object] = storm.do("command", after=after, arguments=arguments, known_hashes=known_hashes)
        found = {name: content for name, content in contents(folder).items() if not name.startswith(".")}
        assert set(found) <= {*files, "checksums.json"}, "something is left beside the files"
        for name in files.keys() & found.keys():
            assert found[name] == (made / name).read_bytes(), f"{name} is not whole"
        assert before.keys() - contents(folder).keys() <= {n for n in before if n.startswith(".")}, "a file is gone"
        again = {name for name, _ in storm.homes.requests} & {
            f"{files[name].source.repository}/{files[name].source.at_home}" for name in files.keys() & before.keys()
        }
        assert not {name for name in again if not name.endswith(".zip")}, "fetched though it was there"
        if not done["killed"]:
            assert set(found) == {*files, "checksums.json"} and not (folder / ".fetch").exists()
        return done

    for _ in range(2):  # the second shows how long it takes
        shutil.rmtree(downloads, ignore_errors=True)
        seconds = float(str(run()["seconds"]))
        shutil.rmtree(folder)
    shutil.rmtree(downloads)
    kills = runs = 0
    while kills < storm.kills:
        done = run(after=storm.moment(seconds))
        kills += bool(done["killed"])
        if not done["killed"]:
            runs += 1
            shutil.rmtree(folder)
            shutil.rmtree(downloads)
    run()
    check = ["data", "check", str(folder), "--only", ",".join(SETS)]
    storm.do("command", arguments=check, known_hashes=known_hashes)
    print(f"{kills} kills of {seconds:.1f} s, {runs + 1} runs to their end: {dict(storm.fell)}")


def test_a_killed_export_leaves_nothing_that_looks_whole_and_nothing_for_good(
    storm: Storm, known_hashes: str, tmp_path: Path
) -> None:
    storm.fell = Counter()
    parent = tmp_path / "exports"
    destination = parent / "llama"
    arguments = ["export", str(demo_folder("demo")), str(destination)]

    def run(after: float | None = None) -> dict[str, object]:
        return storm.do("command", after=after, arguments=arguments, known_hashes=known_hashes)

    run()
    shutil.rmtree(destination)
    seconds = float(str(run()["seconds"]))  # the second time without what is only read once
    wanted = contents(destination)
    assert "model.safetensors" in wanted
    kills = runs = left = 0
    shutil.rmtree(destination)
    while kills < storm.kills:
        kills += bool(run(after=storm.moment(seconds))["killed"])
        left += any(path.is_dir() for path in parent.glob(".*"))
        if destination.exists():
            runs += 1
            assert contents(destination) == wanted
            shutil.rmtree(destination)
    run()
    assert contents(destination) == wanted
    assert [path.name for path in parent.iterdir()] == [destination.name]
    print(f"{kills} kills of {seconds:.1f} s, {left} left a folder behind, {runs + 1} ends: {dict(storm.fell)}")
