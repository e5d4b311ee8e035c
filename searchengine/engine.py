"""A query's whole journey: parse -> embed -> retrieve -> present. Filters and sorting included."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from indexer import lookup
from indexer.encoder import LazyEncoder
from indexer.errors import UsageError
from indexer.index_file import load_index
from indexer.records import EncoderRecord, Filter, ImageRecord
from indexer.store import Store
from indexer.vectors import FlatIndex
from searchengine import retrieve
from searchengine.query import Query

Sort = Literal["relevance", "date"]
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}(:\d{2}(:\d{2})?)?)?)?)?")


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. Field names are the JSON contract: later work adds some and renames none."""

    rank: int  # from 1
    id: int
    path: str
    score: float  # cosine with the query
    width: int  # px, upright
    height: int  # px, upright
    taken_at: str | None  # ISO 8601 local time of EXIF
    explanation: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search answers; `as_json` is the contract of `search --json`."""

    query: str
    encoder: str
    route: str
    verdicts: list[dict[str, Any]]
    took_ms: dict[str, float]
    hits: list[Hit]

    def as_json(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "encoder": self.encoder,
            "route": self.route,
            "verdicts": self.verdicts,
            "took_ms": self.took_ms,
            "hits": [
                {name: getattr(hit, name) for name in Hit.__dataclass_fields__} for hit in self.hits
            ],
        }


@dataclass(slots=True)
class _Stopwatch:
    took_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        took_ms = (time.perf_counter() - started) * 1000
        self.took_ms[name] = round(self.took_ms.get(name, 0.0) + took_ms, 2)


class Engine:
    """Answers queries over one library with one encoder; opens a new generation by itself."""

    def __init__(
        self, store: Store, record: EncoderRecord, encoder: LazyEncoder, *, max_megapixels: float
    ) -> None:
        self.store = store
        self.record = record
        self.encoder = encoder
        self.max_megapixels = max_megapixels
        self._index: FlatIndex | None = None
        self._generation = -1

    def search(
        self,
        query: Query,
        *,
        top_k: int,
        which: Filter,
        sort: Sort = "relevance",
        min_score: float | None = None,
    ) -> SearchResult:
        """Answers by text, picture or both. Raises UsageError, EncoderError, LibraryError."""
        watch = _Stopwatch()
        vector = self._embed(query, watch)
        with self.store.reading() as connection:
            with watch.stage("open"):
                index = self._current_index(connection)
            with watch.stage("search"):
                found = retrieve.nearest(
                    connection, index, vector, top_k=top_k, which=which, leave_out=query.leave_out
                )
        if min_score is not None:
            found = [(record, score) for record, score in found if score >= min_score]
        if sort == "date":
            found.sort(key=lambda item: item[0].shown_at, reverse=True)  # newest first
        watch.took_ms["total"] = round(sum(watch.took_ms.values()), 2)
        hits = [_hit(rank, record, score) for rank, (record, score) in enumerate(found, start=1)]
        return SearchResult(query.text, self.record.key, "embeddings", [], watch.took_ms, hits)

    def _embed(self, query: Query, watch: _Stopwatch) -> retrieve.Vector:
        with watch.stage("embed"), self.store.reading() as connection:
            # a picture of the library needs no encoder
            known = [
                retrieve.stored_embedding(connection, term, self.record) for term in query.terms
            ]
        if any(embedding is None for embedding in known):
            with watch.stage("encoder"):
                encoder = self.encoder.get()
            with watch.stage("embed"):
                known = [
                    retrieve.encode_term(term, encoder, self.max_megapixels)
                    if embedding is None
                    else embedding
                    for term, embedding in zip(query.terms, known, strict=True)
                ]
        return retrieve.weighted_sum(query.terms, [e for e in known if e is not None])

    def _current_index(self, connection: Any) -> FlatIndex:
        generation = lookup.generation(connection)
        if self._index is None or generation != self._generation:
            record = next(r for r in self.store.encoders() if r.id == self.record.id)
            self._index = load_index(self.store, connection, record)
            self._generation = generation
        return self._index


def _hit(rank: int, record: ImageRecord, score: float) -> Hit:
    return Hit(
        rank=rank,
        id=record.id,
        path=record.path,
        score=round(float(np.clip(score, -1.0, 1.0)), 6),
        width=record.width_px,
        height=record.height_px,
        taken_at=record.taken_at,
    )


def make_filter(
    *,
    under: tuple[str, ...] = (),
    after: str | None = None,
    before: str | None = None,
    camera: str | None = None,
) -> Filter:
    """Checks and normalises what the user gave. Raises UsageError."""
    return Filter(
        under=tuple(os.path.abspath(os.path.expanduser(path)) for path in under),
        after=_date(after, "--after"),
        before=_date(before, "--before"),
        camera=camera.strip() if camera else None,
    )


def _date(text: str | None, flag: str) -> str | None:
    if text is None:
        return None
    text = text.strip()
    match = _DATE.fullmatch(text)
    if match:
        padded = text.replace(" ", "T") + "0000-01-01T00:00:00"[len(text) :]
        try:
            datetime.fromisoformat(padded)
        except ValueError:
            match = None
    if not match:
        raise UsageError(f"{flag} is {text!r}; it takes a date: 2024, 2024-05 or 2024-05-31.")
    return text.replace(" ", "T")
