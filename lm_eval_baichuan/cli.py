"""The ``lm-eval-baichuan`` command: what lm-eval's own command line has no place for.

A sub-command is a module with two functions, imported only when the user chose it::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(args: argparse.Namespace) -> int: ...  # the exit status

Evaluating is not here: that is ``lm_eval --model baichuan``.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

from . import __version__
from .model_adapters.errors import EvaluationError
from .model_adapters.hosts import without_warnings_of
from .model_adapters.hosts.torchao import TOLD_AT_IMPORT
from .printable import printable
from .stopping import Terminated, raising_sigterm

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Command(NamedTuple):
    """One line of the table of sub-commands."""

    module: str
    """Where ``add_arguments`` and ``run`` live, relative to this package."""
    help: str
    """What the command is for, in one line."""


COMMANDS: dict[str, Command] = {
    "compare": Command("comparison.command", "set results beside the published tables, and two runs beside each other"),
    "report": Command("html_report.command", "write the comparison as one HTML page that opens offline"),
    "data": Command("data.command", "fill a folder with the benchmarks' questions for offline use, or check one"),
    "plan": Command("plan", "tell how much memory a checkpoint needs, from its configuration alone"),
    "export": Command("export", "write a RoPE Baichuan as a Llama checkpoint, for engines that do not know Baichuan"),
}


class CommandModule(Protocol):
    """What a sub-command's module must offer."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit status."""


class _LazyParser(argparse.ArgumentParser):
    """A parser that imports its command only when it is asked to parse."""

    module_name: str | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Let the chosen command declare its arguments, then parse as usual."""
        if self.module_name is not None:
            module = cast(CommandModule, importlib.import_module(self.module_name, __package__))
            self.module_name = None
            self.description = self.description or module.__doc__
            module.add_arguments(self)
            self.set_defaults(run=module.run)
        return super().parse_known_args(args, namespace)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command; no sub-command is imported yet."""
    parser = argparse.ArgumentParser(
        prog="lm-eval-baichuan",
        description="Helpers around evaluating Baichuan models. To evaluate one: lm_eval --model baichuan --tasks …",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, title="commands", parser_class=_LazyParser
    )
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, formatter_class=argparse.RawDescriptionHelpFormatter)
        subparser.module_name = f".{command.module}"
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 2 for an error that we raise on purpose.

    Args:
        argv: the arguments after the program's name; None reads them from the process.

    Returns:
        The sub-command's own status, 2 after a :class:`EvaluationError` or on a full disk, 130 after Ctrl-C, or 143
        after SIGTERM.
    """
    args = build_parser().parse_args(argv)
    try:
        with raising_sigterm(), without_warnings_of(*TOLD_AT_IMPORT):
            return cast(int, args.run(args))
    except EvaluationError as error:
        if os.environ.get("LMEVAL_LOG_LEVEL", "").upper() == "DEBUG":  # as for lm-eval's own command
            traceback.print_exc()
        print(f"lm-eval-baichuan {args.command}: error: {printable(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        place = error.filename2 or error.filename or "a file"
        reason = f"{place} could not be written ({error.strerror}). Make room, and run the same command again."
        print(f"lm-eval-baichuan {args.command}: error: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"lm-eval-baichuan {args.command}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except Terminated:
        print(f"lm-eval-baichuan {args.command}: stopped by SIGTERM", file=sys.stderr)
        return 143


if __name__ == "__main__":
    sys.exit(main())
