"""`searchengine index` and `forget`: what the library holds."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from searchengine.commands.options import (
    detector_option,
    encoder_options,
    json_option,
    library_from,
    library_option,
)

if TYPE_CHECKING:
    from indexer.records import IndexSummary
    from searchengine.look import Looks

EXAMPLES = 3  # paths told for each reason


@click.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER]...")
@library_option
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out what matches (gitignore's syntax); repeatable, remembered.",
)
@click.option("--hidden", is_flag=True, help="Also names that begin with a dot; remembered.")
@click.option("--retry-skipped", is_flag=True, help="Try again what could not be decoded.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a file was skipped.")
@click.option("--detect", is_flag=True, help="Then have the detector look at every picture.")
@detector_option
@encoder_options
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures encoded together (32).")
@click.option("--workers", type=click.IntRange(min=0), help="Decoding threads (one a core).")
@click.option("--max-megapixels", type=float, help="Skip larger pictures (200).")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def index(
    folders: tuple[str, ...],
    library: Path | None,
    exclude: tuple[str, ...],
    hidden: bool,
    retry_skipped: bool,
    dry_run: bool,
    strict: bool,
    as_json: bool,
    quiet: bool,
    detect: bool,
    **settings: Any,
) -> int:
    """Bring the library up to date with FOLDERs, or with all it remembers.

    Run it again at any time: unchanged files cost nothing, moved ones neither. A folder may hold
    a .searchignore file in gitignore's syntax.
    """
    from searchengine.commands.progress import show_looks, show_progress

    if settings["detector"] and not detect:
        raise click.UsageError("--detector does nothing without --detect.")
    with library_from(library, **settings) as opened:
        with show_progress(quiet=quiet) as on_progress:
            summary = opened.index(
                *folders,
                exclude=exclude,
                include_hidden=hidden,
                retry_skipped=retry_skipped,
                dry_run=dry_run,
                on_progress=on_progress,
            )
        if detect and not dry_run and not summary.interrupted:
            with show_looks(quiet=quiet) as on_look:
                looks = opened.detect(on_look=on_look)
            _add_looks(looks, summary)
    if as_json:
        click.echo(json.dumps(summary_as_json(summary, dry_run=dry_run)))
    else:
        print_summary(summary, dry_run=dry_run)
    print_notes(summary)
    if summary.interrupted:
        click.echo(
            "Interrupted. What is indexed stays; the same command goes on from here.", err=True
        )
        return 130
    return 1 if strict and (summary.skipped or summary.notes) else 0


def _add_looks(looks: Looks, summary: IndexSummary) -> None:
    summary.looked_at = looks.done
    summary.interrupted = looks.interrupted
    for reason, contents in Counter(looks.unseen.values()).most_common():
        summary.notes.append(f"{contents:,} pictures were not looked at: {reason}.")
    if looks.not_kept:
        summary.notes.append(
            f"Some of what the detector saw was not kept ({looks.not_kept}). "
            "Run: searchengine index --detect"
        )


def summary_as_json(summary: IndexSummary, *, dry_run: bool) -> dict[str, Any]:
    """The object that `index --json` prints."""
    return {
        "dry_run": dry_run,
        "new": summary.new,
        "changed": summary.changed,
        "moved": summary.moved,
        "removed": summary.removed,
        "unchanged": summary.unchanged,
        "encoded": summary.encoded,
        "looked_at": summary.looked_at,
        "reused": summary.reused,
        "skipped": dict(summary.skipped),
        "skipped_files": [
            {"path": skipped.path, "reason": skipped.reason, "detail": skipped.detail}
            for skipped in summary.skipped_files
        ],
        "notes": summary.notes,
        "seconds": round(summary.seconds, 3),
        "pictures_per_second": round(summary.pictures_per_second, 2),
        "interrupted": summary.interrupted,
    }


def print_notes(summary: IndexSummary) -> None:
    """What was left undone, and the mend, on stderr."""
    for note in summary.notes:
        click.echo(f"Note: {note}", err=True)


def print_summary(summary: IndexSummary, *, dry_run: bool) -> None:
    """The closing lines of a run."""
    counted = {
        "new": summary.new,
        "changed": summary.changed,
        "moved": summary.moved,
        "removed": summary.removed,
        "unchanged": summary.unchanged,
        "skipped": summary.skipped.total(),
    }
    told = [f"{count:,} {name}" for name, count in counted.items() if count] or ["no pictures"]
    click.echo(("Would be: " if dry_run else "") + ", ".join(told))
    for reason, count in summary.skipped.most_common():
        click.echo(f"  skipped {count:,}: {reason}")
        files = [skipped for skipped in summary.skipped_files if skipped.reason == reason]
        for skipped in files[:EXAMPLES]:
            detail = f"  ({skipped.detail})" if skipped.detail else ""
            click.echo(f"    {skipped.path}{detail}")
        if count > EXAMPLES:
            click.echo("    ... all of them: searchengine index --json")
    if summary.encoded:
        rate = summary.encoded / summary.seconds
        click.echo(f"{summary.encoded:,} encoded in {summary.seconds:.1f} s, {rate:.1f} pictures/s")
    if summary.looked_at:
        click.echo(f"{summary.looked_at:,} looked at for things")
    if not (summary.encoded or summary.looked_at or dry_run):
        click.echo(f"nothing to encode, {summary.seconds:.1f} s")


@click.command()
@click.argument("folder")
@library_option
@json_option
def forget(folder: str, library: Path | None, as_json: bool) -> int:
    """Take FOLDER and all below it out of the library. No file is touched."""
    with library_from(library) as opened:
        gone = opened.forget(folder)
        root = opened.root_of(folder)
    if as_json:
        click.echo(json.dumps({"forgotten": gone}))
    else:
        click.echo(f"{gone:,} pictures forgotten.")
    if root is not None:
        from indexer.scan import folder_pattern

        pattern = folder_pattern(os.path.abspath(os.path.expanduser(folder)), root)
        click.echo(
            f"Note: it lies in {root}, which stays: the next index takes it in again. To leave it "
            f"out: searchengine index {shlex.quote(root)} --exclude {shlex.quote(pattern)}",
            err=True,
        )
    return 0
