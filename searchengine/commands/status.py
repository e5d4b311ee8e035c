"""`searchengine status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from searchengine.commands.options import json_option, library_from, library_option

if TYPE_CHECKING:
    from searchengine.report import LibraryStatus


@click.command()
@library_option
@json_option
def status(library: Path | None, as_json: bool) -> int:
    """Tell what the library holds, where, and what is wrong with it."""
    from searchengine.report import library_status

    with library_from(library) as opened:
        if not opened.exists:
            if as_json:
                click.echo(json.dumps({"directory": str(opened.settings.library), "pictures": 0}))
            click.echo(
                f"There is no library at {opened.settings.library} yet. "
                "Run: searchengine index ~/Pictures",
                err=True,
            )
            return 1
        found = library_status(opened.store)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        _print(found)
    return 0


def _print(status: LibraryStatus) -> None:
    click.echo(f"Library   {status.directory}  ({_megabytes(status.database_bytes)} database)")
    copies = status.pictures - status.contents
    extra = f", {copies:,} of them copies" if copies else ""
    click.echo(f"Pictures  {status.pictures:,}{extra}")
    for encoder in status.encoders:
        mark = " (default)" if encoder.is_default else ""
        click.echo(
            f"Encoder   {encoder.key}{mark}  {encoder.pictures:,} pictures, "
            f"{encoder.dimension} dimensions, index {encoder.index} "
            f"({_megabytes(encoder.index_bytes)})"
        )
    for detector in status.detectors:
        click.echo(f"Detector  {detector.key}  looked at {detector.pictures:,} pictures")
    for folder in status.folders:
        when = folder.last_scan_at or "never finished a scan"
        click.echo(f"Folder    {folder.path}  {folder.pictures:,} pictures, {when}")
    for reason, count in status.skipped.items():
        click.echo(f"Skipped   {count:,}: {reason}")
    for problem in status.problems:
        click.echo(f"Problem   {problem.what}\n          Mend: {problem.mend}")
    if status.is_being_indexed:
        click.echo("Another process is indexing into it now.")
    elif not status.problems:
        click.echo("No problems.")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
