"""How results look: a table for people, JSON and bare paths for programs."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from searchengine.engine import SearchResult


def print_result(
    result: SearchResult, *, as_json: bool, paths: bool, null: bool, thumbnails: bool | None
) -> int:
    """Prints a search's answer to stdout; returns the exit code."""
    if as_json:
        click.echo(json.dumps(result.as_json()))
    elif paths or null:
        end = b"\0" if null else b"\n"
        sys.stdout.buffer.write(b"".join(os.fsencode(hit.path) + end for hit in result.hits))
    else:
        _print_table(result, thumbnails)
    if not result.hits:
        click.echo("Nothing found.", err=True)
        return 1
    return 0


def _print_table(result: SearchResult, thumbnails: bool | None) -> None:
    kind = None
    if thumbnails is not False and (thumbnails or sys.stdout.isatty()):
        from indexer.settings import terminal
        from searchengine.commands.thumbnails import protocol

        kind = protocol(terminal())
        if thumbnails and kind is None:
            click.echo("This terminal does not say that it can show pictures.", err=True)
    dates = [(hit.taken_at or "").replace("T", " ")[:16] for hit in result.hits]
    column = max(map(len, dates), default=0)
    for hit, date in zip(result.hits, dates, strict=True):
        taken = f"{date:<{column}}  " if column else ""
        click.echo(f"{hit.rank:>3}  {hit.score:6.3f}  {taken}{hit.path}")
        if kind:
            from searchengine.commands.thumbnails import thumbnail

            click.echo(thumbnail(hit.path, kind) or "")
