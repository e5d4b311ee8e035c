"""`searchengine classify`."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from searchengine.commands.options import (
    encoder_options,
    json_option,
    library_from,
    library_option,
)

if TYPE_CHECKING:
    from indexer.records import Skipped
    from searchengine.zeroshot import Classified

SHOWN = 3  # labels of a picture in the text output


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--labels", metavar="A,B,C", help="What pictures may show, with commas between.")
@click.option(
    "--labels-file", metavar="FILE", help="The same in a file, one a line; # begins a comment."
)
@click.option("--multi", is_flag=True, help="Each label by itself: several or none may hold.")
@click.option("--top", "top_k", type=click.IntRange(min=1), help="How many labels of each picture.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a file was skipped.")
@library_option
@encoder_options
@click.option("--csv", "as_csv", is_flag=True, help="Print a table: path, label, probability.")
@json_option
def classify(
    paths: tuple[str, ...],
    labels: str | None,
    labels_file: str | None,
    multi: bool,
    top_k: int | None,
    strict: bool,
    library: Path | None,
    as_csv: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Say which of your labels the pictures at PATH show; folders are walked.

    The probabilities are among the labels you give: they add up to 1. With --multi each stands for
    itself. No library is needed; where there is one, its encoder is used.
    """
    from indexer.records import Skipped
    from searchengine.applicability import check_labels
    from searchengine.commands.progress import show_looks

    chosen = _labels(labels, labels_file)
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    warnings = check_labels(chosen)
    for warning in warnings:
        named = ", ".join(warning.triggers)
        click.echo(f"Note: {named}: {warning.why} {warning.better or ''}".rstrip(), err=True)
    streams = not as_json and sys.stdout.isatty()  # the pictures themselves show the progress
    with library_from(library, **settings) as opened, show_looks(quiet=streams) as on_look:
        outcomes = opened.classify(*paths, labels=chosen, multi=multi, top_k=top_k, on_look=on_look)
        skipped: list[Skipped] = []
        pictures: list[Classified] = []
        if as_csv:
            _print_row("path", "label", "probability", "score")
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
                click.echo(f"skipped {outcome.path}: {outcome}", err=True)
                continue
            pictures.append(outcome)
            if as_csv:
                for scored in outcome.labels:
                    _print_row(outcome.path, scored.label, scored.probability, scored.score)
            elif not as_json:
                best = outcome.labels[: top_k or SHOWN]
                told = ", ".join(f"{scored.label} {scored.probability:.0%}" for scored in best)
                click.echo(f"{outcome.path}: {told}")
        encoder = opened.classifying_encoder.key if pictures else ""
    if as_json:
        report = {
            "encoder": encoder,
            "labels": list(chosen),
            "multi": multi,
            "warnings": [asdict(warning) for warning in warnings],
            "pictures": [picture.as_json() for picture in pictures],
            "skipped_files": [
                {"path": one.path, "reason": one.reason, "detail": one.detail} for one in skipped
            ],
        }
        click.echo(json.dumps(report))
    if skipped:
        click.echo(f"{len(skipped):,} of {len(skipped) + len(pictures):,} skipped.", err=True)
    elif not pictures:
        click.echo("There are no pictures.", err=True)
    return 1 if not pictures or (strict and skipped) else 0


def _labels(labels: str | None, labels_file: str | None) -> tuple[str, ...]:
    from searchengine.zeroshot import read_labels_file

    if labels is not None and labels_file is not None:
        raise click.UsageError("--labels and --labels-file exclude each other.")
    if labels is None and labels_file is None:
        raise click.UsageError('Say what pictures may show: --labels "cat,dog,car"')
    if labels_file is not None:
        return read_labels_file(labels_file)
    return tuple(label.strip() for label in (labels or "").split(","))


def _print_row(*cells: object) -> None:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    click.echo(line.getvalue(), nl=False)
