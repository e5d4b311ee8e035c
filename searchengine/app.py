"""Where real objects are built: settings -> store, encoder, engine. The Python interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from indexer.encoder import LazyEncoder
from indexer.errors import UsageError
from indexer.records import (
    DetectorRecord,
    EncoderRecord,
    Filter,
    IndexSummary,
    Skipped,
)
from indexer.schema import database_is_there
from indexer.settings import Settings, load_settings
from indexer.store import DATABASE_NAME, Store
from searchengine import retrieve
from searchengine.applicability import check
from searchengine.choice import Choice
from searchengine.engine import Engine, Sort
from searchengine.filters import make_filter
from searchengine.match import LEVELS, Level
from searchengine.prompts import prompt_embeddings
from searchengine.query import Query, parse, parse_similar
from searchengine.result import SearchResult

if TYPE_CHECKING:
    from indexer.pipeline import OnProgress
    from searchengine.detector import LazyDetector
    from searchengine.diagnose import Diagnosis
    from searchengine.look import LookOptions, Looks, OnLook
    from searchengine.rerank import Reranker
    from searchengine.zeroshot import Classified

Announce = Callable[[str], None]
Subject = str | Path | Image.Image
OneOrMore = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def open_library(
    directory: str | os.PathLike[str] | None = None,
    *,
    announce: Announce = lambda _: None,
    **settings: Any,
) -> Library:
    """Opens a library, or a new one that the first `index` creates.

    Args:
        directory: where it lies; without it the platform's data folder.
        announce: is told, a line each, what takes long or was decided (a download, a fallback).
        settings: any field of `Settings`, such as ``encoder="ViT-B-32-256"``, ``top_k=20``.

    Raises UsageError for a setting that is none, LibraryError for a library that can't be used.
    """
    return Library(load_settings(library=directory, **settings), announce)


class Library:
    """A photo library that can be indexed and searched. Use it as a context manager."""

    def __init__(self, settings: Settings, announce: Announce = lambda _: None) -> None:
        self.settings = settings
        self.announce = announce
        self._store: Store | None = None
        self._engine: Engine | None = None
        self._choice = Choice(settings, announce)

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = self._engine = None

    @property
    def exists(self) -> bool:
        """Raises LibraryError where its folder cannot be looked into."""
        return database_is_there(self.settings.library / DATABASE_NAME)

    @property
    def store(self) -> Store:
        """Raises LibraryError where there is no library yet."""
        if self._store is None:
            self._store = Store(self.settings.library)
        return self._store

    # -- indexing

    def index(
        self,
        *folders: str | os.PathLike[str],
        exclude: str | Sequence[str] = (),
        include_hidden: bool = False,
        retry_skipped: bool = False,
        dry_run: bool = False,
        on_progress: OnProgress = lambda _: None,
    ) -> IndexSummary:
        """Brings the library up to date with folders; without any, with all it remembers.

        Args:
            exclude: gitignore patterns to leave out, added to those remembered with the folder.
            include_hidden: also files and folders whose name begins with a dot; remembered too.
            retry_skipped: try again what could not be decoded and has not changed since.
            dry_run: only say what would be done.

        Raises UsageError for a folder that is none, LibraryLocked while another process indexes.
        """
        # searching needs none of this
        from indexer.pipeline import PipelineOptions, index_folders
        from indexer.scan import compile_patterns
        from indexer.targets import AddedRules, check_folders, find_targets

        paths = [os.path.abspath(os.path.expanduser(os.fspath(folder))) for folder in folders]
        check_folders(paths, self.store if self.exists else None)
        patterns = _several(exclude)
        try:
            compile_patterns(patterns)
        except ValueError as error:
            raise UsageError(f"--exclude: {error}") from error
        encoder = self._encoder_for_indexing()  # a wrong name must not leave an empty library
        options = PipelineOptions(
            batch_size=self.settings.batch_size,
            workers=self.settings.worker_count,
            max_megapixels=self.settings.max_megapixels,
            keep_days=self.settings.keep_days,
            retry_skipped=retry_skipped,
            dry_run=dry_run,
        )
        with ExitStack() as stack:
            if dry_run and not self.exists:
                # a dry run leaves nothing behind, not even an empty library
                passing = stack.enter_context(TemporaryDirectory(prefix="searchengine-dry-run-"))
                store = Store(Path(passing), create=True)
                stack.callback(store.close)
            elif not self.exists:
                store = self._store = Store(self.settings.library, create=True)
            else:
                store = self.store
            if not dry_run:
                stack.enter_context(store.writer())
            added = AddedRules(patterns, include_hidden, self.settings.exclude)
            targets = find_targets(store, paths, added, dry_run=dry_run)
            return index_folders(store, targets, encoder, options, on_progress=on_progress)

    def forget(self, folder: str | os.PathLike[str]) -> int:
        """Takes a folder out of the library; its files are not touched. Returns the pictures.

        Raises UsageError where the library knows nothing of that folder.
        """
        path = os.path.abspath(os.path.expanduser(os.fspath(folder)))
        known = any(remembered.path == path for remembered in self.store.folders())
        if not known and not self.store.has_images_under(path):
            raise UsageError(f"The library holds nothing below {path}. Run: searchengine status")
        from indexer.pipeline import save_indexes

        with self.store.writer():
            gone = self.store.forget(path)
            save_indexes(self.store, IndexSummary())
        return gone

    def root_of(self, folder: str | os.PathLike[str]) -> str | None:
        """The indexed folder that this one lies in, or is."""
        from indexer.scan import is_under

        path = os.path.abspath(os.path.expanduser(os.fspath(folder)))
        roots = (remembered.path for remembered in self.store.folders())
        return next((root for root in roots if is_under(path, root)), None)

    # -- searching

    def search(
        self,
        query: str = "",
        *,
        top_k: int | None = None,
        under: OneOrMore = (),
        after: str | None = None,
        before: str | None = None,
        camera: str | None = None,
        sort: Sort = "relevance",
        min_score: float | None = None,
        min_match: Level | None = None,
        add: OneOrMore = (),
        subtract: OneOrMore = (),
        rerank: bool = True,
        on_look: OnLook = lambda _done, _total: None,
    ) -> SearchResult:
        """Pictures that show what the query says, best first.

        Args:
            query: a sentence; may be empty where `add` is given.
            top_k: how many at most.
            under: folders or files the answers must lie in, any of them.
            after, before: when it was taken (EXIF, else the file's time): from `after` on, and
                earlier than `before`; "2024", "2024-05", "2024-05-31".
            camera: part of the camera's name.
            sort: "relevance", or "date": the same pictures, newest first.
            min_score: leave out cosines below it.
            min_match: leave out hits below "fair" or "strong"; docs/match-levels.md.
            add, subtract: sentences or pictures' paths, weighted as in ``2:golden retriever``.
            rerank: hold numbers, places, colours and absences against what a detector sees;
                False: by embeddings alone.
            on_look: told how many pictures the detector has looked at for this query, of how many.

        Raises UsageError, EncoderError, EncoderMismatch, LibraryError.
        """
        parsed = parse(query, add=_several(add), subtract=_several(subtract))
        which = make_filter(under=_several(under), after=after, before=before, camera=camera)
        return self._answer(parsed, top_k, which, sort, min_score, min_match, rerank, on_look)

    def similar(
        self,
        picture: str | os.PathLike[str] | Image.Image,
        *,
        top_k: int | None = None,
        under: OneOrMore = (),
        after: str | None = None,
        before: str | None = None,
        camera: str | None = None,
        sort: Sort = "relevance",
        min_score: float | None = None,
        min_match: Level | None = None,
        add: OneOrMore = (),
        subtract: OneOrMore = (),
    ) -> SearchResult:
        """Pictures like this one, which may lie outside the library; itself left out.

        The arguments and errors are those of `search`.
        """
        if not isinstance(picture, Image.Image):
            picture = Path(os.path.expanduser(picture))
        parsed = parse_similar(picture, add=_several(add), subtract=_several(subtract))
        which = make_filter(under=_several(under), after=after, before=before, camera=camera)
        return self._answer(parsed, top_k, which, sort, min_score, min_match)

    def _answer(
        self,
        query: Query,
        top_k: int | None,
        which: Filter,
        sort: Sort,
        min_score: float | None,
        min_match: Level | None,
        rerank: bool = False,
        on_look: OnLook = lambda _done, _total: None,
    ) -> SearchResult:
        top_k = self.settings.top_k if top_k is None else top_k
        if top_k < 1:
            raise UsageError(f"--top-k is {top_k}; it must be at least 1.")
        if sort not in ("relevance", "date"):
            raise UsageError(f"--sort is {sort!r}; it takes relevance or date.")
        if min_match not in (None, *LEVELS):
            raise UsageError(f"--min-match is {min_match!r}; it takes {', '.join(LEVELS)}.")
        engine = self.engine
        if engine is None:
            self.announce(
                f"The library {self.settings.library} holds no pictures yet. "
                "Run: searchengine index ~/Pictures"
            )
            return SearchResult(query.text, "", "embeddings", [], {"total": 0.0}, [])
        if rerank and self.settings.detector != "auto":
            _ = self.detector  # a wrong name is refused, also where no detector is needed
        result = engine.search(
            query,
            top_k=top_k,
            which=which,
            sort=sort,
            min_score=min_score,
            min_match=min_match,
            rerank=rerank,
            on_look=on_look,
        )
        if query.conditions is None:  # by a picture, or a sum
            words = query.terms[0].subject if rerank and len(query.terms) > 1 else ""
            if isinstance(words, str) and check(words).route == "detector":
                result.notes.append("With --add or --subtract nothing is checked by the detector.")
            return result
        assessment = check(query.text)
        return replace(
            result,
            verdicts=[asdict(verdict) for verdict in assessment.verdicts],
            notes=[*assessment.notes, *result.notes],
        )

    # -- detecting

    @property
    def detector(self) -> LazyDetector:
        """The detector asked for, else the one that knows the library best, else `auto`'s choice.

        Raises UnknownDetector, DetectorError.
        """
        return self._choice.detector(self.detectors_used() if self.exists else [])

    def detectors_used(self) -> list[DetectorRecord]:
        """The detectors that have looked at pictures, the most used one first.

        Raises LibraryError without a library.
        """
        from indexer.detections import detectors

        with self.store.reading() as connection:
            return detectors(connection)

    def detect(self, *, on_look: OnLook = lambda _done, _total: None) -> Looks:
        """Has the detector look at every picture it has not seen, so that searches need not.

        Raises DetectorError where it cannot be had, LibraryError without a library, LibraryLocked
        while another process writes.
        """
        from indexer.detections import contents_not_looked_at
        from searchengine.look import Looks, look_at

        lazy = self.detector
        with self.store.writer():
            pass  # better told now than after all the pictures
        with self.store.reading() as connection:
            missing = contents_not_looked_at(connection, lazy.key)
        if not missing:
            return Looks()
        return look_at(
            self.store,
            lazy.get(),
            lazy.name,
            missing,
            self._look_options(),
            on_look=on_look,
            keep=False,
        )

    def _look_options(self) -> LookOptions:
        from searchengine.look import LookOptions

        return LookOptions(self.settings.worker_count, self.settings.max_megapixels)

    # -- embeddings

    def encode_text(self, text: str) -> npt.NDArray[np.float32]:
        """Returns (D,) float32, L2-normalised."""
        embedding: npt.NDArray[np.float32] = self.encoder.get().encode_texts([text])[0]
        return embedding

    def encode_image(
        self, picture: str | os.PathLike[str] | Image.Image
    ) -> npt.NDArray[np.float32]:
        """Returns (D,) float32, L2-normalised, of a path or a Pillow picture."""
        if not isinstance(picture, Image.Image):
            picture = Path(os.path.expanduser(picture))
        return retrieve.encode_picture(picture, self.encoder.get(), self.settings.max_megapixels)

    def compare(self, subject: Subject, prompts: Subject | Sequence[Subject]) -> list[float]:
        """Cosine similarity of the subject with each prompt.

        A `str` is a sentence, a `Path` or a Pillow picture is a picture; any mix is fine.
        """
        if isinstance(prompts, str | Path | Image.Image):
            prompts = [prompts]
        reference = self._encode(subject)
        return [float(self._encode(prompt) @ reference) for prompt in prompts]

    def _encode(self, subject: Subject) -> npt.NDArray[np.float32]:
        return self.encode_text(subject) if isinstance(subject, str) else self.encode_image(subject)

    def classify(
        self,
        *paths: str | os.PathLike[str],
        labels: Sequence[str],
        multi: bool = False,
        top_k: int | None = None,
        on_look: OnLook = lambda _done, _total: None,
    ) -> Iterator[Classified | Skipped]:
        """Which labels each picture shows, as in `searchengine.classify`, one after the other."""
        from searchengine import zeroshot

        labels = zeroshot.checked_labels(labels, multi=multi)
        if top_k is not None and top_k < 1:
            raise UsageError(f"--top is {top_k}; it must be at least 1.")
        found, skipped = zeroshot.find_pictures(paths, self.settings.exclude)
        if not found:
            return iter(skipped)
        lazy = self.classifying_encoder
        prompts = None
        if multi:
            prompts = prompt_embeddings(lazy, self.settings.cache_dir, announce=self.announce)
        if len(labels) > zeroshot.MANY_LABELS:
            self.announce(f"Embedding {len(labels):,} labels")
        classifier = zeroshot.Classifier(lazy.get(), labels, prompts=prompts)
        outcomes = classifier.classify(
            found,
            top_k=top_k or len(labels),
            workers=self.settings.worker_count,
            max_megapixels=self.settings.max_megapixels,
            on_look=on_look,
        )
        return chain(skipped, outcomes)

    def diagnose(self, picture: str | os.PathLike[str], query: str) -> Diagnosis:
        """Why a picture, of the library or not, does or does not match, and what to try instead.

        Raises UsageError, EncoderError, EncoderMismatch, LibraryError.
        """
        from searchengine.applicability import check
        from searchengine.diagnose import diagnose

        if not self.exists or self.engine is None:
            raise UsageError(
                f"The library {self.settings.library} holds no pictures to compare with. "
                "Run: searchengine index ~/Pictures"
            )
        engine = self.engine
        return diagnose(
            engine,
            self._reranker(engine.record, engine.encoder),
            parse(query),
            os.fspath(picture),
            assessment=check(query),
            cache_dir=self.settings.cache_dir,
            exclude=self.settings.exclude,
        )

    # -- which encoder

    @property
    def encoder(self) -> LazyEncoder:
        """The encoder searches use: the one asked for, the library's own, or `auto`'s choice."""
        if self.exists:
            record = self.store.default_encoder()
            if record is not None:
                return self._choice.searching_encoder(record, self.store.encoders())[1]
        return self._encoder_for_indexing()

    @property
    def classifying_encoder(self) -> LazyEncoder:
        """The one asked for, which the library need not hold, else as in `encoder`."""
        return self._encoder_for_indexing()

    @property
    def engine(self) -> Engine | None:
        """What answers queries; None while nothing is indexed.

        Raises LibraryError without a library, EncoderMismatch for an encoder it doesn't hold.
        """
        if self._engine is None:
            default = self.store.default_encoder()
            if default is None:
                return None
            record, lazy = self._choice.searching_encoder(default, self.store.encoders())
            self._engine = Engine(
                self.store,
                record,
                lazy,
                max_megapixels=self.settings.max_megapixels,
                reranker=lambda: self._reranker(record, lazy),
                candidates=self.settings.candidates,
                cache_dir=self.settings.cache_dir,
                announce=self.announce,
            )
        return self._engine

    def _encoder_for_indexing(self) -> LazyEncoder:
        return self._choice.indexing_encoder(self.store.default_encoder() if self.exists else None)

    def _reranker(self, record: EncoderRecord, encoder: LazyEncoder) -> Reranker:
        # a plain search needs none of this
        from searchengine.rerank import Reranker
        from searchengine.vocabulary import vocabulary

        labels_of = vocabulary().detector_labels
        return Reranker(self.store, self.detector, record, encoder, labels_of, self._look_options())


def _several(value: OneOrMore) -> tuple[str, ...]:
    """A lone text or path is one of them, and not a sequence of its letters."""
    if isinstance(value, str | os.PathLike):
        value = (value,)
    return tuple(os.fspath(item) for item in value)
