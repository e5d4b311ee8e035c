"""Flags that several commands share, and the library they open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from searchengine.app import Library

Command = TypeVar("Command", bound=Callable[..., Any])


def _stacked(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


library_option = click.option(
    "--library",
    type=click.Path(path_type=Path, readable=False),  # the library says it, with its mend
    metavar="DIR",
    help="Where the library lies (default: the platform's data folder; SEARCHENGINE_LIBRARY).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

encoder_options = _stacked(
    click.option(
        "--encoder",
        metavar="NAME",
        help="An encoder of `searchengine models`, or ARCH/TAG of open_clip.",
    ),
    click.option(
        "--checkpoint",
        type=click.Path(path_type=str),
        metavar="FILE",
        help="Weights of your own for the encoder's architecture.",
    ),
    click.option("--runtime", type=click.Choice(["auto", "onnx", "torch"]), help="What runs it."),
    click.option("--device", metavar="NAME", help="auto, cpu, cuda or mps."),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "int8"]),
        help="int8: twice as fast on a CPU, a little less exact.",
    ),
)

detector_option = click.option(
    "--detector",
    metavar="NAME",
    help="A detector of `searchengine models`, OWNER/NAME of the hub, or a folder.",
)

search_options = _stacked(
    click.option("-k", "--top-k", type=click.IntRange(min=1), help="How many pictures (10)."),
    click.option(
        "--under", multiple=True, metavar="DIR", help="Only pictures below DIR; repeatable."
    ),
    click.option("--after", metavar="DATE", help="Taken on DATE or later: 2024, 2024-05, ..."),
    click.option("--before", metavar="DATE", help="Taken before DATE."),
    click.option("--camera", metavar="TEXT", help="Taken with a camera of that name."),
    click.option(
        "--sort",
        type=click.Choice(["relevance", "date"]),
        default="relevance",
        help="date: the best pictures, newest first.",
    ),
    click.option("--add", multiple=True, metavar="TEXT|FILE", help="Add it; weighted as in 2:dog."),
    click.option("--subtract", multiple=True, metavar="TEXT|FILE", help="Take it away; likewise."),
    click.option("--min-score", type=float, metavar="X", help="Leave out cosines below X."),
    click.option(
        "--min-match",
        type=click.Choice(["fair", "strong"]),
        help="Leave out what matches less, by the library's own measure.",
    ),
)

output_options = _stacked(
    json_option,
    click.option("--paths", is_flag=True, help="Print one path a line, for pipes."),
    click.option("-0", "null", is_flag=True, help="Paths end with a null byte, for xargs -0."),
    click.option("--thumbnails/--no-thumbnails", default=None, help="Pictures in the terminal."),
)


def library_from(library: Path | None, **settings: Any) -> Library:
    """Opens the library the flags name; what it announces goes to stderr."""
    from searchengine.app import open_library

    return open_library(library, announce=lambda line: click.echo(line, err=True), **settings)
