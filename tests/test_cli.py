"""The lm-eval-baichuan command loads one sub-command at a time, and shows our errors as messages."""

from __future__ import annotations

import argparse
import errno
import subprocess
import sys
import types

import pytest

from lm_eval_baichuan import __version__, cli
from lm_eval_baichuan.model_adapters.errors import CheckpointError
from lm_eval_baichuan.stopping import Terminated


def add_command(monkeypatch: pytest.MonkeyPatch, name: str, outcome: int | BaseException) -> list[argparse.Namespace]:
    """Offer a command made on the spot; returns the list of what it is called with."""
    calls: list[argparse.Namespace] = []
    module = types.ModuleType(f"lm_eval_baichuan.{name}", "What the command is for, at length.")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_subparsers(dest="what").add_parser("fetch").add_argument("--times", type=int)

    def run(args: argparse.Namespace) -> int:
        calls.append(args)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    vars(module).update(add_arguments=add_arguments, run=run)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cli.COMMANDS, name, cli.Command(name, "what it is for"))
    return calls


def test_arguments_reach_the_command_and_its_status_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = add_command(monkeypatch, "example", 3)
    assert cli.main(["example", "fetch", "--times", "2"]) == 3
    assert [(call.what, call.times) for call in calls] == [("fetch", 2)]


def test_a_command_is_imported_only_when_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    add_command(monkeypatch, "example", 0)
    monkeypatch.setitem(cli.COMMANDS, "broken", cli.Command("no_such_module", "cannot be imported"))
    assert cli.main(["example"]) == 0
    with pytest.raises(ModuleNotFoundError):
        cli.main(["broken"])


def test_our_errors_are_one_message_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command(monkeypatch, "example", CheckpointError("config.json: not there"))
    assert cli.main(["example"]) == 2
    assert capsys.readouterr().err == "lm-eval-baichuan example: error: config.json: not there\n"


def test_with_debug_the_traceback_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    add_command(monkeypatch, "example", CheckpointError("not there"))
    monkeypatch.setenv("LMEVAL_LOG_LEVEL", "debug")
    assert cli.main(["example"]) == 2
    assert capsys.readouterr().err.startswith("Traceback")


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    add_command(monkeypatch, "example", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["example"])


@pytest.mark.parametrize(
    ("outcome", "status", "line"),
    [(KeyboardInterrupt(), 130, "stopped by Ctrl-C"), (Terminated(), 143, "stopped by SIGTERM")],
)
def test_a_stop_from_outside_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: BaseException,
    status: int,
    line: str,
) -> None:
    add_command(monkeypatch, "example", outcome)
    assert cli.main(["example"]) == status
    assert capsys.readouterr().err == f"lm-eval-baichuan example: {line}\n"


def test_plan_knows_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "pretrained=demo"]) == 0
    assert "| float32 | 0.0 |" in capsys.readouterr().out


def test_a_full_disk_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    add_command(monkeypatch, "example", OSError(errno.ENOSPC, "No space left on device", "report.html"))
    assert cli.main(["example"]) == 2
    told = "report.html could not be written (No space left on device). Make room, and run the same command again."
    assert capsys.readouterr().err == f"lm-eval-baichuan example: error: {told}\n"


def test_help_and_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    add_command(monkeypatch, "example", 0)
    for arguments, expected in [
        (["--help"], "what it is for"),
        (["--version"], __version__),
        (["example", "--help"], "What the command is for, at length."),
    ]:
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_there_is_explains_itself_without_torch(command: str) -> None:
    code = f"""
import sys
from lm_eval_baichuan.cli import main
try:
    main([{command!r}, "--help"])
except SystemExit as stop:
    print("status", stop.code, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "status 0 False", done.stdout
