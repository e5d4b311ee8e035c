"""`searchengine demo`: real photographs, a temporary library, four searches."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from indexer.errors import SearchEngineError, UsageError
from searchengine.commands.options import json_option, library_option

# photographs that lie inside scikit-image's wheel, and what to ask of them
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
)
QUERIES = (
    "a cat",
    "a cup of coffee",
    "a man with a camera on a tripod",
    "a motorcycle in a garage",
)


@click.command()
@library_option
@json_option
def demo(library: Path | None, as_json: bool) -> int:
    """Index a few photographs into a temporary library and search them. Nothing is downloaded.

    With --library the library is made there and kept, with its photographs in DIR/pictures.
    """
    from searchengine.app import open_library

    folder = _photographs_folder()
    with (
        tempfile.TemporaryDirectory(prefix="searchengine-demo-") as temporary,
        open_library(library or Path(temporary), encoder="starter") as opened,
    ):
        directory = opened.settings.library
        pictures = directory / "pictures"
        if opened.exists or _holds_files(directory):
            held = "a library" if opened.exists else "files"
            raise UsageError(f"{directory} holds {held} already; give the demo a new folder.")
        _copy_photographs(folder, pictures)
        started = time.perf_counter()
        summary = opened.index(pictures)
        if not as_json:
            click.echo(
                f"Indexed {summary.new} photographs with the `starter` encoder in "
                f"{summary.seconds:.1f} s (they lie in {pictures if library else folder})."
            )
        answers: list[dict[str, Any]] = []
        for query in QUERIES:
            result = opened.search(query, top_k=3)
            answers.append(result.as_json())
            if not as_json:
                click.echo(f'\nsearchengine search "{query}"')
                for hit in result.hits:
                    level, name = hit.match or "-", Path(hit.path).name
                    click.echo(f"{hit.rank:>3}  {hit.score:6.3f}  {level:<6}  {name}")
        seconds = time.perf_counter() - started
    if as_json:
        click.echo(json.dumps({"indexed": summary.new, "answers": answers, "seconds": seconds}))
    else:
        click.echo(
            f"\nThat took {seconds:.1f} s. Your own pictures: searchengine index ~/Pictures\n"
            "`starter` is small and ships with the program; better encoders: searchengine models"
        )
    return 0


def _holds_files(directory: Path) -> bool:
    try:
        return bool(os.listdir(directory))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be read: {error.strerror}. Give the demo a new folder."
        ) from error


def _copy_photographs(source: Path, target: Path) -> None:
    try:
        target.mkdir(parents=True)
        for name in PHOTOGRAPHS:
            if (source / name).exists():
                (target / name).write_bytes((source / name).read_bytes())
    except OSError as error:
        raise SearchEngineError(
            f"The demo's photographs cannot be copied to {target}: {error.strerror}. "
            "Give it another folder with --library."
        ) from error


def _photographs_folder() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SearchEngineError(
            "The demo's photographs come with scikit-image, which is not installed. "
            "Run: pip install 'searchengine[demo]'"
        )
    return Path(spec.origin).parent / "data"
