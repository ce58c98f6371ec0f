"""However the package is installed, the same command works, nothing lies loose, and uninstalling leaves nothing."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent
KINDS = ["source folder", "editable", "wheel", "source archive"]

LOOK_AROUND = """
import importlib.util
for name in ("tasks", "model_adapters", "tests", "benchmarks", "hatch_build"):
    assert importlib.util.find_spec(name) is None, name
import lm_eval_baichuan.cli, lm_eval_baichuan.model_adapters.errors, lm_eval_baichuan.tasks
from lm_eval.api.registry import get_model, model_registry
assert get_model("dummy").__name__ == "DummyLM"
assert "baichuan" in model_registry
from lm_eval.tasks._index import TaskIndex
(directory,) = TaskIndex.build.plugin_directories
print(len(TaskIndex.build([directory])))
from lm_eval.tasks._yaml_loader import load_yaml
assert callable(load_yaml(directory / "ceval_5shot" / "ceval_5shot_law.yaml")["custom_dataset"])
from importlib.metadata import distribution
for entry_point in distribution("lm-eval-baichuan").entry_points:
    assert importlib.util.find_spec(entry_point.module), entry_point
"""


def command(*arguments: object, cwd: Path | str = "/") -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(argument) for argument in arguments], capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


class Environment:
    """A fresh environment that sees what is installed around the tests, except for this package."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / "python"
        self.site_packages = Path(command(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
        others = folder / "others"
        others.mkdir()
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if "lm_eval_baichuan" not in path.name and not path.name.startswith(("_editable", "__editable", "pip")):
                (others / path.name).symlink_to(path)
        (self.site_packages / "others.pth").write_text(f"{others}\n")

    def pip(self, *arguments: object) -> None:
        command(self.python, "-m", "pip", "--disable-pip-version-check", *arguments)

    def files(self) -> set[str]:
        """All files of the environment but those that Python and pip write for themselves."""
        found = (path.relative_to(self.site_packages) for path in self.site_packages.rglob("*") if not path.is_dir())
        scripts = {path.name for path in self.bin.iterdir()}
        return {str(path) for path in found if path.parts[0] not in ("pip", "setuptools", "pkg_resources")} | scripts


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source archive, and the wheel that is built from it, where type checkers' links are there too."""
    folder = tmp_path_factory.mktemp("archives")
    command(REPOSITORY / "scripts" / "rooms")
    command(sys.executable, "-m", "build", "--outdir", folder, REPOSITORY)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "source archive": source}


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_installing_gives_the_same_and_can_be_undone(
    kind: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "venv")
    before = environment.files()
    target = {"source folder": [REPOSITORY], "editable": ["--editable", REPOSITORY]}.get(kind) or [archives[kind]]
    environment.pip("install", "--no-deps", *target)

    version = importlib.metadata.version("lm-eval-baichuan")
    assert command(environment.bin / "lm-eval-baichuan", "--version") == f"lm-eval-baichuan {version}"
    indexed = int(command(environment.python, "-c", LOOK_AROUND))
    assert indexed >= len(list((REPOSITORY / "tasks").rglob("*.yaml"))) > 0
    added = environment.files() - before
    tops = {Path(name).parts[0] for name in added} - {"__pycache__"}
    expected = {"lm-eval-baichuan", "lm_eval_baichuan.pth", f"lm_eval_baichuan-{version}.dist-info"}
    expected.add("_lm_eval_baichuan_checkout.py" if kind == "editable" else "lm_eval_baichuan")
    assert tops == expected

    environment.pip("uninstall", "--yes", "lm-eval-baichuan")
    assert environment.files() == before
    quiet = "import sys; assert not [name for name in sys.modules if 'baichuan' in name]"
    assert command(environment.python, "-c", quiet) == ""


def names_in(archive: Path) -> Sequence[str]:
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).namelist()
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_the_wheel_holds_the_three_rooms_and_no_more(archives: dict[str, Path]) -> None:
    names = names_in(archives["wheel"])
    assert len(names) == len(set(names))
    rooms = {"lm_eval_baichuan": "", "tasks": "lm_eval_baichuan", "model_adapters": "lm_eval_baichuan"}
    files = [path for room in rooms for path in (REPOSITORY / room).rglob("*") if path.is_file()]
    left_out = {"__pycache__", "ruff.toml"}
    sources = [path.relative_to(REPOSITORY) for path in files if not left_out & set(path.parts)]
    expected = {Path(rooms[path.parts[0]], path).as_posix() for path in sources}
    inside = {name for name in names if ".dist-info/" not in name}
    if (REPOSITORY / ".git").exists():  # what is built from says its commit
        expected.add("lm_eval_baichuan/commit.txt")
    assert inside == expected | {"lm_eval_baichuan.pth"}
    assert not [name for name in inside if name.startswith(("tasks", "model_adapters"))]


def test_the_source_archive_holds_what_building_and_testing_need(archives: dict[str, Path]) -> None:
    names = {name.partition("/")[2] for name in names_in(archives["source archive"])}
    assert {"hatch_build.py", "pyproject.toml", "README.md", "LICENSE", "tests/conftest.py"} <= names
