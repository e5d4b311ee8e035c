"""`searchengine check`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

import click

from indexer.errors import UsageError

if TYPE_CHECKING:
    from searchengine.applicability import Assessment


@click.command()
@click.argument("query", nargs=-1, metavar="QUERY")
@click.option(
    "--file",
    "queries",
    type=click.File("r", encoding="utf-8", errors="replace"),
    metavar="FILE",
    help="Check every line of FILE (-: standard input).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a query.")
def check(query: tuple[str, ...], queries: TextIO | None, as_json: bool) -> int:
    """Tell what embeddings can't do with QUERY, and what will be done about it."""
    text = " ".join(" ".join(query).split())
    if queries is None and not text:
        raise UsageError("The query is empty. Say what to check: searchengine check 'three dogs'")
    if queries is not None and text:
        raise UsageError("Give a QUERY or --file, not both.")
    from searchengine.applicability import check as assess

    for number, line in enumerate([text] if queries is None else _lines(queries)):
        assessment = assess(line)
        if as_json:
            click.echo(json.dumps(assessment.as_json(), ensure_ascii=False))
        else:
            if number:
                click.echo()
            _print(assessment)
    return 0


def _lines(queries: TextIO) -> Iterator[str]:
    return (text for line in queries if (text := " ".join(line.split())))


def _print(assessment: Assessment) -> None:
    click.echo(assessment.query if len(assessment.query) < 200 else f"{assessment.query[:200]}…")
    for verdict in assessment.verdicts:
        words = ", ".join(f"“{trigger}”" for trigger in verdict.triggers)
        click.echo(f"  {verdict.name:<14}{words}".rstrip())
        for line in (verdict.why, verdict.action, verdict.better and f"Better: {verdict.better}"):
            if line:
                click.echo(
                    textwrap.fill(line, 92, initial_indent=" " * 4, subsequent_indent=" " * 4)
                )
    by = "embeddings, then a detector" if assessment.route == "detector" else "embeddings"
    click.echo(f"  {'answered by':<14}{by}")
    notes = list(assessment.notes)
    if assessment.unknown:
        words = ", ".join(f"“{thing}”" for thing in assessment.unknown)
        notes.append(
            f"{words}: none of the 80 kinds of things that most detectors know. What is asked of "
            "it is tried with the nearest kind, or goes unchecked; the search says which."
        )
    for note in notes:
        click.echo(textwrap.fill(note, 92, initial_indent="  Note: ", subsequent_indent="    "))
