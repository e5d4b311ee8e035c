"""`searchengine diagnose`."""

from __future__ import annotations

import json
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
    from searchengine.diagnose import Diagnosis


@click.command()
@click.option("--image", required=True, metavar="FILE", help="The picture in question.")
@click.option("--query", required=True, metavar="TEXT", help="What was searched for.")
@library_option
@detector_option
@encoder_options
@json_option
def diagnose(
    image: str,
    query: str,
    library: Path | None,
    detector: str | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Say why a picture does or does not match a query, and what to try instead.

    The picture may lie outside the library.
    """
    with library_from(library, detector=detector, **settings) as opened:
        found = opened.diagnose(image, query)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        _print(found)
    return 0


def _print(found: Diagnosis) -> None:
    click.echo(f"{found.path}\n  {found.state}")
    click.echo(f"query      {found.query}")
    for verdict in found.verdicts:
        triggers = ", ".join(map(str, verdict["triggers"]))
        click.echo(f"  {verdict['name']}{f' ({triggers})' if triggers else ''}: {verdict['why']}")
    click.echo(f"embedding  {found.encoder}: cosine {found.score:.3f}")
    if found.pictures:
        click.echo(
            f"  nearer than {found.percentile:.4g} % of the library's pictures, "
            f"number {found.rank:,} of {found.pictures:,}"
        )
    if found.match is not None:
        how = f"{found.probability:.0%} by the embedding"
        if found.condition is not None:
            how += f", {found.condition:.0%} by the detector"
        click.echo(f"  match: {found.match} ({how})")
    click.echo(f"  would rather say: {'; '.join(found.nearest_words)}")
    if found.detector is not None:
        numbers: dict[str, int] = {}
        for seen in found.seen:
            numbers[seen["label"]] = numbers.get(seen["label"], 0) + 1
        told = ", ".join(f"{number} {label}" for label, number in numbers.items())
        click.echo(f"detector   {found.detector}: {told or 'nothing it knows'}")
        for part in found.parts:
            click.echo(f"  {part['asked']}: {part['found']}, {part['probability']:.0%} likely")
    for line in found.advice:
        click.echo(f"try        {line}")
    for note in found.notes:
        click.echo(f"Note: {note}", err=True)
