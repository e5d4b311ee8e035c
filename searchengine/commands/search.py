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
    as_json: bool,
    paths: bool,
    null: bool,
    thumbnails: bool | None,
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

    settings, arguments = _split(flags)
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
        return print_result(
            result,
            as_json=as_json,
            paths=paths,
            null=null,
            thumbnails=thumbnails,
            explain=explain,
            by_date=arguments["sort"] == "date",
        )


@click.command()
@click.argument("image", type=click.Path(path_type=str))
@library_option
@search_options
@output_options
@encoder_options
def similar(
    image: str,
    library: Path | None,
    as_json: bool,
    paths: bool,
    null: bool,
    thumbnails: bool | None,
    **flags: Any,
) -> int:
    """Find pictures that look like IMAGE, which may lie outside the library."""
    from searchengine.commands.output import print_result

    settings, arguments = _split(flags)
    with library_from(library, **settings) as opened:
        result = opened.similar(image, **arguments)
        return print_result(
            result,
            as_json=as_json,
            paths=paths,
            null=null,
            thumbnails=thumbnails,
            by_date=arguments["sort"] == "date",
        )


_SETTINGS = ("encoder", "checkpoint", "runtime", "device", "precision")


def _split(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    settings = {name: flags.pop(name) for name in _SETTINGS}
    return settings, flags
