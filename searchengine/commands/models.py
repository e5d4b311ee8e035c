"""`searchengine models`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from searchengine.commands.options import json_option, library_from, library_option


@click.command()
@library_option
@json_option
def models(library: Path | None, as_json: bool) -> int:
    """List encoders and detectors: what they are, how large, which licence, which are here.

    Any other architecture and tag of open_clip works as an encoder too, as ARCH/TAG; any other
    detector that transformers loads as OWNER/NAME of the hub, or as a folder.
    """
    from indexer.catalogue import is_cached, load_catalogue
    from searchengine import detectors

    with library_from(library) as opened:
        used = {record.key for record in opened.store.encoders()} if opened.exists else set()
        seen_by = opened.detectors_used() if opened.exists else []
    encoders = [(entry, is_cached(entry), entry.full_name in used) for entry in load_catalogue()]
    found = [
        (entry, detectors.is_cached(entry), entry.name in {record.name for record in seen_by})
        for entry in detectors.load_detectors()
    ]
    if as_json:
        answer = {
            kind: [
                {**asdict(entry), "cached": cached, "in_library": in_library}
                for entry, cached, in_library in entries
            ]
            for kind, entries in (("encoders", encoders), ("detectors", found))
        }
        click.echo(json.dumps(answer))
        return 0
    _print_table(
        ("", "encoder", "open_clip", "dim", "params", "download", "licence"),
        [
            (
                _marks(cached, in_library),
                entry.name,
                entry.full_name,
                str(entry.dimension),
                f"{entry.parameters_m:,.0f} M",
                f"{entry.download_mb:,} MB",
                entry.licence,
            )
            for entry, cached, in_library in encoders
        ],
        [entry.recommended for entry, _, _ in encoders],
    )
    click.echo()
    _print_table(
        ("", "detector", "hub", "COCO AP", "params", "download", "licence"),
        [
            (
                _marks(cached, in_library),
                entry.name,
                entry.repository,
                f"{entry.coco_ap:.1f}" if entry.coco_ap else "",
                f"{entry.parameters_m:,.0f} M",
                f"{entry.download_mb:,} MB",
                entry.licence,
            )
            for entry, cached, in_library in found
        ],
        [entry.recommended for entry, _, _ in found],
    )
    click.echo(
        "\nL: in the library, *: on this machine. To use one: searchengine index --encoder NAME, "
        "searchengine index --detect --detector NAME"
    )
    return 0


def _marks(cached: bool, in_library: bool) -> str:
    return ("L" if in_library else " ") + ("*" if cached else " ")


def _print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], recommended: Sequence[str]
) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row, reason in zip((head, *rows), ("", *recommended), strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
        if reason:
            click.echo(f"{'':{widths[0]}}  recommended: {reason}")
