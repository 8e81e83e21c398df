"""The console command ``vos-zoo``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from vos_zoo.cli import (
    app,
    benchmark,
    convert,
    data,
    demo,
    doctor,
    evaluate,
    export,
    export_masks,
    export_onnx,
    list_command,
    proposals,
    publish,
    reproduce,
    review,
    segment,
    segment_many,
)
from vos_zoo.cli.output import describe_os_error, print_error
from vos_zoo.cli.progress import report_event, terminal
from vos_zoo.errors import VosZooError
from vos_zoo.files import local_path
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["build_parser", "main"]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Command(Protocol):
    """What a module of this package offers: it imports nothing heavy before ``run``."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do the work and return the exit code."""


_COMMANDS: dict[str, Command] = {
    "segment": segment,
    "export-masks": export_masks,
    "segment-many": segment_many,
    "review": review,
    "proposals": proposals,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "app": app,
    "demo": demo,
    "data": data,
    "list": list_command,
    "convert": convert,
    "export": export,
    "export-onnx": export_onnx,
    "publish": publish,
    "doctor": doctor,
    "benchmark": benchmark,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``vos-zoo`` and return its exit code.

    0 means done, 1 a check failed, 2 bad input or a disk that takes no more, 130 interrupted.

    Args:
        argv: Arguments without the program's name; None takes them from the command line.
    """
    arguments = build_parser().parse_args(argv)
    with terminal(getattr(arguments, "progress", "auto")):
        code = _run(arguments)
        report_event("end", exit_code=code)
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        code = _COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()  # now, while a full disk can still be told
        return code
    except VosZooError as error:
        if arguments.debug:
            raise
        print_error("vos-zoo", f"error: {error}")
        report_event("error", message=str(error))
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        print("vos-zoo: stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`vos-zoo list | head -1`): nothing to report and nobody to report to.
        _discard_output()
        return 0
    except OSError as error:
        if arguments.debug:
            raise
        message = describe_os_error(error, "run the same command again")
        print_error("vos-zoo", f"error: {message}")
        report_event("error", message=message)
        try:
            sys.stdout.flush()
        except OSError:  # it was the output itself, which would fail once more when Python ends
            _discard_output()
        return EXIT_BAD_INPUT


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser that knows ``~`` in paths, and says which file it took for an option."""

    #: Name of the last positional argument, where it may be left out.
    optional: str | None = None
    _words: Sequence[str] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("type", Path, local_path)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as always, and remember the words."""
        self._words = sys.argv[1:] if args is None else args
        found, rest = super().parse_known_args(args, namespace)
        # Before Python 3.13, argparse takes no word for such an argument behind an option.
        if self.optional and rest and not rest[0].startswith("-") and getattr(found, self.optional) is None:
            setattr(found, self.optional, local_path(rest[0]))
            rest = rest[1:]
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Name files whose names begin with a dash beside what is wrong."""
        for word in self._words:
            if word.startswith("-") and word.strip("-") and Path(word).exists():
                message += f". The file `{word}` passes for an option; write `./{word}`"
        super().error(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``vos-zoo`` with all its commands."""
    parser = _Parser(
        prog="vos-zoo",
        description="Segment objects through videos: give a video and the masks of one frame.",
        epilog="`vos-zoo COMMAND --help` explains a command. Training: `lightning fit --config rde`.",
    )
    parser.add_argument("--version", action="version", version=f"vos-zoo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        child = commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY)
        child.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.add_arguments(child)
    return parser


if __name__ == "__main__":
    sys.exit(main())
