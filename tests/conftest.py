"""What tests share: pictures made on the spot, a library with a fake encoder, the command line."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import COLOURS, ColourEncoder
from PIL import Image

from indexer.decode import PICTURE_SUFFIXES
from indexer.encoder import LazyEncoder
from indexer.pipeline import PipelineOptions, Target, index_folders
from indexer.records import Filter, IndexSummary
from indexer.scan import ScanRules
from indexer.store import Store
from searchengine.engine import Engine
from searchengine.query import Query, Term

LONG_AGO_NS = 1_600_000_000_000_000_000  # old enough that one stat settles a file


def make_picture(path: Path, colour: str = "red", size: tuple[int, int] = (24, 16)) -> Path:
    """A picture of one colour, with an old mtime."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS.get(colour, colour)).save(path)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return path


@dataclass
class FakeLibrary:
    """A store, a fake encoder and one root, indexed and searched without the command line."""

    directory: Path
    root: Path
    encoder: ColourEncoder = field(default_factory=ColourEncoder)
    rules: ScanRules = field(default_factory=lambda: ScanRules(PICTURE_SUFFIXES))

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.store = Store(self.directory, create=True)

    def index(self, *roots: Path, rules: ScanRules | None = None, **options: Any) -> IndexSummary:
        chosen = PipelineOptions(
            **{"batch_size": 4, "workers": 2, "max_megapixels": 50.0, "keep_days": 30, **options}
        )
        targets = [Target(str(root), rules or self.rules) for root in roots or (self.root,)]
        for target in targets:
            self.store.remember_folder(target.path, exclude=(), include_hidden=False, absorbs=())
        with self.store.writer():
            return index_folders(self.store, targets, self.lazy, chosen)

    @property
    def lazy(self) -> LazyEncoder:
        return LazyEncoder(self.encoder.id, {"name": "colour"}, lambda: self.encoder)

    @property
    def engine(self) -> Engine:
        record = self.store.default_encoder()
        assert record is not None
        return Engine(self.store, record, self.lazy, max_megapixels=50.0)

    def scores(self, text: str) -> dict[str, float]:
        """The score of every picture, by its path below the root."""
        result = self.engine.search(Query(text, (Term(text),)), top_k=1000, which=Filter())
        return {os.path.relpath(hit.path, self.root): round(hit.score, 4) for hit in result.hits}

    def found(self, text: str = "red", *, top_k: int = 1000, **filters: Any) -> list[str]:
        """Paths below the root, best first."""
        if self.store.default_encoder() is None:
            return []
        query = Query(text, (Term(text),))
        result = self.engine.search(query, top_k=top_k, which=Filter(**filters))
        return [os.path.relpath(hit.path, self.root) for hit in result.hits]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[FakeLibrary]:
    opened = FakeLibrary(tmp_path / "library", tmp_path / "pictures")
    yield opened
    opened.store.close()


RunCommand = Callable[..., subprocess.CompletedProcess[str]]


def command_environment(directory: Path) -> dict[str, str]:
    """The environment of a user whose home and library lie in `directory`, without a hub."""
    home = directory / "home"
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("SEARCHENGINE_")},
        "SEARCHENGINE_LIBRARY": str(directory / "library"),
        "SEARCHENGINE_ENCODER": "starter",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


def heed_interrupts() -> None:
    """For a child process: a background job of a shell, as CI may be one, ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stored_pictures(library: Path) -> int:
    """Asked of SQLite directly, while another process writes."""
    try:
        connection = sqlite3.connect(f"file:{library / 'library.sqlite'}?mode=ro", uri=True)
        with closing(connection):
            count: int = connection.execute("SELECT count(*) FROM images").fetchone()[0]
            return count
    except sqlite3.OperationalError:  # not there yet, or being made
        return 0


@pytest.fixture
def run_command(tmp_path: Path) -> RunCommand:
    """Runs the real command line in a process of its own, with a library in `tmp_path`."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "searchengine", *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env=command_environment(tmp_path),
            timeout=100,
            **options,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run
