"""`searchengine search` and `similar`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from searchengine.commands.options import (
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
@output_options
@encoder_options
def search(
    query: tuple[str, ...],
    library: Path | None,
    as_json: bool,
    paths: bool,
    null: bool,
    thumbnails: bool | None,
    **flags: Any,
) -> int:
    """Find pictures that show what QUERY says."""
    from searchengine.commands.output import print_result

    settings, arguments = _split(flags)
    with library_from(library, **settings) as opened:
        result = opened.search(" ".join(query), **arguments)
        return print_result(result, as_json=as_json, paths=paths, null=null, thumbnails=thumbnails)


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
        return print_result(result, as_json=as_json, paths=paths, null=null, thumbnails=thumbnails)


_SETTINGS = ("encoder", "checkpoint", "runtime", "device", "precision")


def _split(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    settings = {name: flags.pop(name) for name in _SETTINGS}
    return settings, flags
