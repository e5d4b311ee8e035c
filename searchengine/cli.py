"""The command line: parse, call, print, exit code. Each command lies in its own file.

Exit codes: 0 done; 1 nothing found, or files skipped under --strict; 2 usage; 3 environment
(model, disk, permission); 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from types import FrameType

import click

from indexer.errors import SearchEngineError
from searchengine import __version__

# name -> (module, what --help says); the modules are imported when they run
COMMANDS = {
    "index": ("index", "Bring the library up to date with folders of pictures."),
    "watch": ("watch", "Keep the library up to date, until Ctrl-C."),
    "search": ("search", "Find pictures by what they show."),
    "similar": ("search", "Find pictures that look like a picture."),
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


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a picture is counted
    # a name that is not UTF-8 is printed as the bytes it is made of
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    try:
        # a command returns its exit code; None is 0
        code = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SearchEngineError as error:
        click.echo(f"searchengine: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        # `| head` has seen enough; the interpreter would complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        code = 130
    sys.exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # a service manager's stop ends like Ctrl-C: consistent, resumable


if __name__ == "__main__":
    main()
