"""A query's whole journey: embed -> retrieve -> (re-rank) -> present."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from indexer import lookup
from indexer.encoder import LazyEncoder
from indexer.errors import DetectorError
from indexer.index_file import load_index
from indexer.records import EncoderRecord, Filter
from indexer.store import Store
from indexer.vectors import FlatIndex
from searchengine import retrieve
from searchengine.conditions import Conditions, Thing
from searchengine.match import Level, Matcher, reaches
from searchengine.prompts import prompt_embeddings
from searchengine.query import Query, Term
from searchengine.result import Found, SearchResult, checked_level

if TYPE_CHECKING:
    from searchengine.look import OnLook
    from searchengine.rerank import Reranker

Sort = Literal["relevance", "date"]


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
        self,
        store: Store,
        record: EncoderRecord,
        encoder: LazyEncoder,
        *,
        max_megapixels: float,
        reranker: Callable[[], Reranker] | None = None,
        candidates: int = 200,
        cache_dir: Path | None = None,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`reranker` makes the re-ranker once a query needs it; without it, embeddings answer.

        `candidates` is how many of the nearest pictures are held against a query's conditions.
        """
        self.store = store
        self.record = record
        self.encoder = encoder
        self.max_megapixels = max_megapixels
        self.candidates = candidates
        self._make_reranker = reranker
        self._reranker: Reranker | None = None
        self.matcher = Matcher(lambda: prompt_embeddings(encoder, cache_dir, announce=announce))
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
        min_match: Level | None = None,
        rerank: bool = True,
        on_look: OnLook = lambda _done, _total: None,
    ) -> SearchResult:
        """Answers by text, picture or both.

        A query with conditions (a number, a place, an attribute, an absence) is held against what
        the detector sees, unless `rerank` is off or there is none. `on_look` is told how many
        pictures the detector has looked at, of how many not seen before.
        Raises UsageError, EncoderError, LibraryError.
        """
        watch = _Stopwatch()
        conditions = query.conditions
        number = top_k
        if min_score is not None or min_match is not None:
            number = max(top_k, self.candidates)  # some will be left out
        if not rerank or self._make_reranker is None or conditions is None or conditions.is_empty:
            hits = self._by_embeddings(query, watch, number, which)
            notes: list[str] = []
            route = "embeddings"
        else:
            hits, notes, route = self._checked(query, conditions, watch, number, which, on_look)
        if min_score is not None:
            hits = [hit for hit in hits if hit.score >= min_score]
        if min_match is not None:
            hits = [hit for hit in hits if reaches(hit.match, min_match)]
        hits = hits[:top_k]
        if sort == "date":
            hits.sort(key=lambda hit: hit.shown_at, reverse=True)  # newest first
        if not hits:
            notes = [*notes, *self._why_nothing(which)]
        watch.took_ms["total"] = round(sum(watch.took_ms.values()), 2)
        answer = [hit.ranked(rank) for rank, hit in enumerate(hits, start=1)]
        return SearchResult(query.text, self.record.key, route, [], watch.took_ms, answer, notes)

    def _why_nothing(self, which: Filter) -> list[str]:
        """What to say of an answer without a hit, where the query is not to blame."""
        with self.store.reading() as connection:
            if len(self._current_index(connection)) == 0:
                return ["The library holds no picture. Run: searchengine index FOLDER"]
            if which.is_empty or len(lookup.contents_matching(connection, which)):
                return []
        return ["No picture passes the filters. What is where: searchengine status"]

    def _by_embeddings(
        self, query: Query, watch: _Stopwatch, top_k: int, which: Filter
    ) -> list[Found]:
        vector = self._embed(query, watch)
        with self.store.reading() as connection:
            with watch.stage("open"):
                index = self._current_index(connection)
            with watch.stage("search"):
                found = retrieve.nearest(
                    connection, index, vector, top_k=top_k, which=which, leave_out=query.leave_out
                )
        hits = [Found(record, score) for record, score in found]
        return self._leveled(hits, query, vector, index, watch)

    def _checked(
        self,
        query: Query,
        conditions: Conditions,
        watch: _Stopwatch,
        top_k: int,
        which: Filter,
        on_look: OnLook,
    ) -> tuple[list[Found], list[str], str]:
        """The nearest pictures, and those known to meet the conditions, judged by the detector."""
        vector = self._embed(_content_query(query, conditions), watch)
        with self.store.reading() as connection, watch.stage("open"):
            index = self._current_index(connection)
        number = max(self.candidates, top_k)
        try:
            with watch.stage("detector"):
                reranker = self._get_reranker()
            reranker.on_look = on_look
            with watch.stage("search"), self.store.reading() as connection:
                meeting = reranker.meeting(connection, conditions)
                found = retrieve.candidates(
                    connection, index, vector, number=number, which=which, meeting=meeting
                )
            cosines = self._absent_cosines(conditions, reranker, index, found, watch)
            with watch.stage("rerank"):
                answer = reranker.rerank(conditions, found, cosines, number=top_k)
        except DetectorError as error:
            nearest = self._by_embeddings(query, watch, top_k, which)
            return nearest, [f"Ranked by embeddings alone. {error}"], "embeddings"
        with watch.stage("search"), self.store.reading() as connection:
            best = {ranked.content_id: ranked for ranked in answer.ranked}
            score_of = {candidate.content_id: candidate.score for candidate in found}
            records = lookup.images_of(connection, list(best), which)[:top_k]
        hits = [
            Found(record, score_of[record.content_id], best[record.content_id].explanation)
            for record in records
        ]
        return self._leveled(hits, query, vector, index, watch), answer.notes, "detector"

    def _leveled(
        self,
        hits: Sequence[Found],
        query: Query,
        vector: retrieve.Vector,
        index: FlatIndex,
        watch: _Stopwatch,
    ) -> list[Found]:
        """The same with their match levels, which for a checked hit heed what was seen."""
        with watch.stage("match"):
            contents = [hit.record.content_id for hit in hits]
            levels = self.matcher.levels(index, query.kind, vector, contents)
        alone = query.conditions is not None and query.conditions.is_absence_alone
        return [
            replace(hit, match=checked_level(level, hit.explanation, is_absence_alone=alone))
            for hit, level in zip(hits, levels, strict=True)
        ]

    def _get_reranker(self) -> Reranker:
        if self._reranker is None:
            assert self._make_reranker is not None
            self._reranker = self._make_reranker()
        return self._reranker

    def _absent_cosines(
        self,
        conditions: Conditions,
        reranker: Reranker,
        index: FlatIndex,
        found: Sequence[retrieve.Candidate],
        watch: _Stopwatch,
    ) -> dict[Thing, dict[int, float]]:
        """How near each candidate is to the name of an excluded thing no detector knows."""
        contents = np.array([candidate.content_id for candidate in found], np.int64)
        cosines = {}
        for thing in reranker.unknown(conditions.excluded):
            with watch.stage("embed"):
                vector = self.encoder.get().encode_texts([f"a photo of {thing}"])[0]
            ids, scores = index.search(vector, top_k=len(contents), allowed=contents)
            cosines[thing] = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        return cosines

    def embedded(self, query: Query) -> tuple[retrieve.Vector, FlatIndex]:
        """What the query is searched by, (D,), and where. Raises UsageError, EncoderError."""
        content = query.conditions
        if content is not None and not content.is_empty:
            query = _content_query(query, content)
        vector = self._embed(query, _Stopwatch())
        with self.store.reading() as connection:
            return vector, self._current_index(connection)

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


def _content_query(query: Query, conditions: Conditions) -> Query:
    """The query by what it shows, without what must be absent.

    Once with the numbers and once without: an embedding may have an idea of "three", but
    the pictures to be counted are all those of dogs.
    """
    if conditions.is_absence_alone:
        return replace(query, terms=(Term("a photo"),))
    whole = conditions.positive or query.text
    content = conditions.content or whole
    terms = (Term(content),) if content == whole else (Term(content), Term(whole))
    return replace(query, terms=terms)
