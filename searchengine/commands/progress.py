"""Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from indexer.pipeline import OnProgress, Progress
    from searchengine.look import OnLook

LINE_EVERY_S = 5.0


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[OnProgress]:
    """Gives the callback that `Library.index` reports to."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as on_progress:
            yield on_progress
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[skipped]}"),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("Scanning", total=None, rate="", skipped="")
        phase = "scan"
        rate = _Rate()

        def on_progress(progress: Progress) -> None:
            nonlocal phase
            if progress.phase != phase:
                phase = progress.phase
                names = {
                    "encoder": "Loading the encoder",
                    "embed": "Indexing",
                    "finish": "Saving",
                }
                bar.reset(task, total=progress.total, description=names[phase])
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                rate=rate(progress) if phase == "embed" else "",
                skipped=f"{progress.skipped:,} skipped" if progress.skipped else "",
            )

        yield on_progress


@contextmanager
def show_looks(*, quiet: bool) -> Iterator[OnLook]:
    """Gives the callback that a detector's pictures are counted by; silent while there are none."""
    if quiet:
        yield lambda _done, _total: None
    elif sys.stderr.isatty():
        with _look_bar() as on_look:
            yield on_look
    else:
        yield _look_lines()


@contextmanager
def _look_bar() -> Iterator[OnLook]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("Looking at pictures"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _look_lines() -> OnLook:
    started = last_line = time.monotonic()
    most = 0

    def on_look(done: int, total: int) -> None:
        nonlocal last_line, started, most
        now = time.monotonic()
        if done < most:  # once more from the start: now at the details
            started = now
        most = done
        if now - last_line >= LINE_EVERY_S:
            last_line = now
            left = (total - done) * (now - started) / done
            click.echo(f"looked at {done:,} of {total:,}, about {left:,.0f} s left", err=True)

    return on_look


def _lines() -> OnProgress:
    rate = _Rate()
    last_line = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal last_line
        now = time.monotonic()
        pictures_per_second = rate(progress)
        if now - last_line < LINE_EVERY_S:
            return
        last_line = now
        if progress.phase == "scan":
            click.echo(f"scanned {progress.done:,} pictures", err=True)
        elif progress.phase == "encoder":
            click.echo("loading the encoder", err=True)
        elif progress.phase == "embed" and progress.total and rate.seconds_left(progress):
            skipped = f", {progress.skipped:,} skipped" if progress.skipped else ""
            left = rate.seconds_left(progress)
            click.echo(
                f"{progress.done:,} of {progress.total:,}, {pictures_per_second}, "
                f"about {left:,.0f} s left{skipped}",
                err=True,
            )

    return on_progress


class _Rate:
    """Pictures per second since the first one was done: the encoder was loading before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: float | None = None
        self._done_at_start = 0

    def __call__(self, progress: Progress) -> str:
        if progress.phase != "embed":
            return ""
        if self._started is None:
            self._started = self._clock()
            self._done_at_start = progress.done
        rate = self._per_second(progress)
        return f"{rate:.1f} pictures/s" if rate else "..."

    def seconds_left(self, progress: Progress) -> float:
        rate = self._per_second(progress)
        return ((progress.total or 0) - progress.done) / rate if rate else 0.0

    def _per_second(self, progress: Progress) -> float:
        seconds = 0.0 if self._started is None else self._clock() - self._started
        return (progress.done - self._done_at_start) / seconds if seconds > 1 else 0.0
