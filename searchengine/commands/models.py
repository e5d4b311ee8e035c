"""`searchengine models`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from searchengine.commands.options import json_option, library_from, library_option


@click.command()
@library_option
@json_option
def models(library: Path | None, as_json: bool) -> int:
    """List the encoders: what they are, how large, under which licence, and which are here.

    Any other architecture and tag of open_clip works too, as ARCH/TAG.
    """
    from indexer.catalogue import is_cached, load_catalogue

    with library_from(library) as opened:
        used = {record.key for record in opened.store.encoders()} if opened.exists else set()
    entries = [(entry, is_cached(entry)) for entry in load_catalogue()]
    if as_json:
        rows = [
            {**asdict(entry), "cached": cached, "in_library": entry.full_name in used}
            for entry, cached in entries
        ]
        click.echo(json.dumps({"encoders": rows}))
        return 0
    head = ("", "name", "open_clip", "dim", "params", "download", "licence")
    rows_of_text = [
        (
            ("L" if entry.full_name in used else " ") + ("*" if cached else " "),
            entry.name,
            entry.full_name,
            str(entry.dimension),
            f"{entry.parameters_m:,.0f} M",
            f"{entry.download_mb:,} MB",
            entry.licence,
        )
        for entry, cached in entries
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows_of_text, strict=True)]
    for row, (entry, _) in zip((head, *rows_of_text), ((None, False), *entries), strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
        if entry is not None and entry.recommended:
            click.echo(f"{'':{widths[0]}}  recommended: {entry.recommended}")
    click.echo(
        "\nL: in the library, *: on this machine. To use one: searchengine index --encoder NAME"
    )
    return 0
