"""How results look: a table for people, JSON and bare paths for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from searchengine.result import Hit, SearchResult

# nothing here can check them, so the answer comes with a warning
_ONLY_WARNED = ("fine-grained", "text-in-image")


def print_result(
    result: SearchResult,
    *,
    as_json: bool,
    paths: bool,
    null: bool,
    thumbnails: bool | None,
    explain: bool = False,
    by_date: bool = False,
) -> int:
    """Prints a search's answer to stdout, and its notes to stderr; returns the exit code."""
    if as_json:
        click.echo(json.dumps(result.as_json()))
    elif paths or null:
        end = b"\0" if null else b"\n"
        sys.stdout.buffer.write(b"".join(os.fsencode(hit.path) + end for hit in result.hits))
    else:
        _print_table(result, thumbnails, explain=explain, by_date=by_date)
    for verdict in result.verdicts:
        if verdict["name"] in _ONLY_WARNED:
            words = ", ".join(f"“{trigger}”" for trigger in verdict["triggers"])
            click.echo(
                f"Note: {words}: {verdict['why']} {verdict['better'] or ''}".rstrip(), err=True
            )
    for note in result.notes:
        click.echo(f"Note: {note}", err=True)
    if not result.hits:
        click.echo("Nothing found.", err=True)
        return 1
    return 0


def _print_table(
    result: SearchResult, thumbnails: bool | None, *, explain: bool, by_date: bool
) -> None:
    kind = None
    if thumbnails is not False and (thumbnails or sys.stdout.isatty()):
        from indexer.settings import terminal
        from searchengine.commands.thumbnails import protocol

        kind = protocol(terminal())
        if thumbnails and kind is None:
            click.echo("This terminal does not say that it can show pictures.", err=True)
    dates = [_date(hit, also_of_file=by_date) for hit in result.hits]
    column = max(map(len, dates), default=0)
    weak_from = None if by_date else first_of_weak_tail([hit.match for hit in result.hits])
    for number, (hit, date) in enumerate(zip(result.hits, dates, strict=True)):
        if number == weak_from:
            click.echo("---  weak: what follows probably shows something else")
        taken = f"{date:<{column}}  " if column else ""
        met = f"{_met(hit.explanation)}  " if result.route == "detector" else ""
        click.echo(
            f"{hit.rank:>3}  {hit.score:6.3f}  {hit.match or '-':<6}  {met}{taken}{hit.path}"
        )
        if explain:
            _print_explanation(hit, result.route)
        if kind:
            from searchengine.commands.thumbnails import thumbnail

            click.echo(thumbnail(hit.path, kind) or "")


def _date(hit: Hit, *, also_of_file: bool) -> str:
    """When it was taken; with `~` its file's date, where that is what it was sorted by."""
    if hit.taken_at is None and also_of_file:
        return f"~{hit.shown_at[:10]}"
    return (hit.taken_at or "").replace("T", " ")[:16]


def _met(explanation: dict[str, Any] | None) -> str:
    """How likely the picture meets the query's conditions, and the number that was asked for."""
    if explanation is None or explanation["condition"] is None:
        return "    ?"
    numbers = [part["number"] for part in explanation["parts"] if part["number"] is not None]
    counted = f" [{', '.join(map(str, numbers))}]" if numbers else ""
    about = "~" if explanation["not_checked"] else " "  # something was not checked
    return f"{about}{explanation['condition']:4.0%}{counted}"


def _print_explanation(hit: Hit, route: str) -> None:
    """What was asked and what was seen, and where: each box once, drawn to scale."""
    if hit.explanation is None:
        if route == "embeddings":
            click.echo("       by the embedding alone: no condition was checked")
        return
    boxes = []
    for part in hit.explanation["parts"]:
        click.echo(f"       {part['asked']}: {part['found']}, {part['probability']:.0%} likely")
        boxes += [box for box in part["boxes"] if box not in boxes]
    for thing in hit.explanation["not_checked"]:
        click.echo(f"       not checked: {thing}")
    if boxes:
        from searchengine.commands.drawing import draw_boxes

        for line in draw_boxes(boxes, hit.width, hit.height):
            click.echo(f"       {line}")


def first_of_weak_tail(levels: Sequence[str | None]) -> int | None:
    """Where only weak hits follow; None if the last one is not weak."""
    tail = 0
    while tail < len(levels) and levels[-1 - tail] == "weak":
        tail += 1
    return len(levels) - tail if tail else None
