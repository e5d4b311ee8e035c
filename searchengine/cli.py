"""The command line: parse, call, print, exit code. Each command lies in its own file.

Exit codes: 0 done; 1 nothing found, or files skipped under --strict; 2 usage; 3 environment
(model, disk, permission, an output that takes no more); 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import warnings
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from indexer.errors import SearchEngineError
from searchengine import __version__

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# name -> (module, what --help says); the modules are imported when they run
COMMANDS = {
    "index": ("index", "Bring the library up to date with folders of pictures."),
    "watch": ("watch", "Keep the library up to date, until Ctrl-C."),
    "search": ("search", "Find pictures by what they show."),
    "check": ("check", "What a query asks for that embeddings can't do."),
    "similar": ("search", "Find pictures that look like a picture."),
    "classify": ("classify", "Say which of your labels pictures show."),
    "diagnose": ("diagnose", "Say why a picture does or does not match a query."),
    "status": ("status", "What the library holds, and what is wrong with it."),
    "forget": ("index", "Take a folder out of the library (its files stay)."),
    "models": ("models", "The encoders to choose from."),
    "doctor": ("doctor", "Check this machine, and say how to mend what is broken."),
    "demo": ("demo", "Index and search a few photographs, to see it work."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"searchengine.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            nearest = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="searchengine %(version)s")
def cli() -> None:
    """Search your photographs by what they show, on your own machine.

    \b
    searchengine demo                      see it work in a minute
    searchengine index ~/Pictures          index your own
    searchengine search "a dog on a beach"
    """


class _OutputFailed(Exception):
    """Stdout takes no more. No OSError: click's `main` would end a broken pipe with exit code 1."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"The output could not be written: {cause.strerror or cause}.")
        self.is_closed_pipe = cause.errno == errno.EPIPE


class _Output(io.RawIOBase):
    """Stdout or stderr below its buffers: the first write that fails is the last one tried.

    What is lost of stdout raises _OutputFailed; what is lost of stderr is lost in silence, since
    nobody reads it and the work goes on.
    """

    def __init__(self, raw: io.RawIOBase, *, is_needed: bool) -> None:
        self._raw = raw
        self._is_needed = is_needed
        self._has_failed = False

    def write(self, data: ReadableBuffer, /) -> int | None:
        if not self._has_failed:
            try:
                return self._raw.write(data)
            except OSError as error:
                self._has_failed = True
                if self._is_needed:
                    raise _OutputFailed(error) from error
        return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


def _output(stream: TextIO | None, *, is_needed: bool) -> TextIO:
    if stream is None:  # closed by `>&-`: no other file may take its number, and writing fails
        raw: io.RawIOBase = io.FileIO(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)
        encoding = "utf-8"
    else:
        buffer: Any = stream.buffer
        raw = getattr(buffer, "raw", buffer)  # under `python -u` there is no buffer
        encoding = stream.encoding
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(raw, is_needed=is_needed)),
        encoding=encoding,
        errors="surrogateescape",  # a name that is not UTF-8 is printed as the bytes it is made of
        line_buffering=not is_needed or raw.isatty(),
    )


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a picture is counted
    sys.stdout = _output(sys.stdout, is_needed=True)
    sys.stderr = _output(sys.stderr, is_needed=False)
    try:
        code = _run()
        sys.stdout.flush()
    except _OutputFailed as error:
        if error.is_closed_pipe:
            code = 0  # `| head` has seen enough
        else:
            click.echo(f"searchengine: {error}", err=True)
            code = 3
    sys.exit(code)


def _run() -> int:
    try:
        # a command returns its exit code; None is 0
        return cli.main(standalone_mode=False) or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SearchEngineError as error:
        click.echo(f"searchengine: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # a service manager's stop ends like Ctrl-C: consistent, resumable


if __name__ == "__main__":
    main()
