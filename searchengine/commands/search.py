"""`searchengine search` and `similar`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from searchengine.commands.options import (
    detector_option,
    encoder_options,
    library_from,
    library_option,
    output_options,
    search_options,
)


@click.command()
@click.argument("query", nargs=-1, metavar="QUERY")
@library_option
@search_options
@click.option(
    "--rerank/--no-rerank",
    default=True,
    help="Hold numbers, places, colours and absences against what a detector sees (on).",
)
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many of the nearest pictures the detector judges (200).",
)
@click.option("--explain", is_flag=True, help="Say for each picture what was seen in it.")
@detector_option
@output_options
@encoder_options
def search(
    query: tuple[str, ...],
    library: Path | None,
    explain: bool,
    detector: str | None,
    candidates: int | None,
    **flags: Any,
) -> int:
    """Find pictures that show what QUERY says.

    What an embedding cannot tell (three dogs, a cat left of a dog, a red car and a blue truck, a
    beach without people) is held against what a detector sees in the nearest pictures.
    """
    from searchengine.commands.output import print_result
    from searchengine.commands.progress import show_looks

    settings, output, arguments = _split(flags)
    settings |= {"detector": detector, "candidates": candidates}
    text = " ".join(query)
    with library_from(library, **settings) as opened:
        with show_looks(quiet=False) as on_look:
            result = opened.search(text, on_look=on_look, **arguments)
        if os.path.isfile(text):
            result.notes.append(
                "These words name a file. To find what looks like it: "
                f"searchengine similar {shlex.quote(text)}"
            )
        return print_result(result, explain=explain, **output)


@click.command()
@click.argument("image", type=click.Path(path_type=str))
@library_option
@search_options
@output_options
@encoder_options
def similar(
    image: str,
    library: Path | None,
    **flags: Any,
) -> int:
    """Find pictures that look like IMAGE, which may lie outside the library."""
    from searchengine.commands.output import print_result

    settings, output, arguments = _split(flags)
    with library_from(library, **settings) as opened:
        result = opened.similar(image, **arguments)
        return print_result(result, **output)


_SETTINGS = ("encoder", "checkpoint", "runtime", "device", "precision")
_OUTPUT = ("as_json", "paths", "null", "thumbnails")


def _split(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What the library is opened with, how the answer is printed, and what is searched by."""
    settings = {name: flags.pop(name) for name in _SETTINGS}
    output = {name: flags.pop(name) for name in _OUTPUT} | {"by_date": flags["sort"] == "date"}
    return settings, output, flags
