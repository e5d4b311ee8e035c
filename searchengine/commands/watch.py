"""`searchengine watch`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.errors import LibraryLocked
from searchengine.commands.index import print_notes, print_summary, summary_as_json
from searchengine.commands.options import encoder_options, library_from, library_option

if TYPE_CHECKING:
    from searchengine.app import Library

LOCKED_WAIT_S = 5.0


@click.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER]...")
@library_option
@click.option(
    "--every",
    type=click.FloatRange(min=0.01),
    default=60.0,
    show_default=True,
    metavar="MINUTES",
    help="Scan everything that often, whatever the system reports.",
)
@encoder_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line for each run with news."
)
def watch(
    folders: tuple[str, ...],
    library: Path | None,
    every: float,
    as_json: bool,
    **settings: Any,
) -> int:
    """Keep the library up to date with FOLDERs, or with all it remembers, until Ctrl-C."""
    from indexer.decode import PICTURE_SUFFIXES
    from indexer.watch import Watcher

    with library_from(library, **settings) as opened:
        if not _index(opened, folders, as_json=as_json):
            return 130
        roots = [folder.path for folder in opened.store.folders()]
        click.echo(f"Watching {', '.join(roots)}. Ctrl-C ends it.", err=True)
        with Watcher(roots, PICTURE_SUFFIXES) as watcher:
            told = 0
            changed: set[str] = set()  # first all: what changed before the watcher listened
            while True:
                for problem in watcher.problems[told:]:
                    click.echo(f"Note: {problem}", err=True)
                told = len(watcher.problems)
                # by name only what is there: a run over all remembers that a root is missing,
                # a run over a missing folder that never held a picture is refused
                named = changed if all(os.path.isdir(root) for root in changed) else ()
                if not _index(opened, named, as_json=as_json):
                    return 130
                changed = watcher.wait(every * 60)


def _index(library: Library, folders: Iterable[str], *, as_json: bool) -> bool:
    """One run over these folders, or over all; False if it was interrupted."""
    from searchengine.commands.progress import show_progress

    while True:
        try:
            with show_progress(quiet=False) as on_progress:
                summary = library.index(*folders, on_progress=on_progress)
            break
        except LibraryLocked:
            time.sleep(LOCKED_WAIT_S)  # somebody indexes by hand: what they leave, we find after
    if summary.new or summary.changed or summary.moved or summary.removed:
        if as_json:
            click.echo(json.dumps(summary_as_json(summary, dry_run=False)))
        else:
            print_summary(summary, dry_run=False)
    print_notes(summary)
    return not summary.interrupted
