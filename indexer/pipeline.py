"""A picture's whole way: scan -> decode -> embed -> store, and what leaves the library.

Threads read, hash and decode ahead of the encoder, never by more than a few batches; the calling
thread encodes and writes, one transaction a batch. Stopped at any point, the next run goes on.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from indexer.ahead import Ahead
from indexer.decode import content_hash, decode, read_file
from indexer.encoder import LazyEncoder
from indexer.errors import EncoderError, LibraryError
from indexer.index_file import index_state, save_index
from indexer.records import (
    Decoded,
    Embedded,
    EncoderRecord,
    FileState,
    IndexSummary,
    KnownFile,
    Skipped,
)
from indexer.scan import Scan, ScanRules, diff_directory, is_unchanged
from indexer.store import Store

BATCHES_IN_FLIGHT = 3  # one in the encoder, one ready, one being decoded


@dataclass(frozen=True, slots=True)
class Progress:
    """Told to the caller after every folder of the scan and every file of the embedding."""

    phase: Literal["scan", "encoder", "embed", "finish"]
    done: int
    total: int | None  # unknown while scanning
    skipped: int = 0


Work = tuple[FileState, KnownFile | None]
Outcome = Decoded | Skipped | bytes  # bytes: the hash of a content whose embedding is stored
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A folder to scan. `base` is the remembered root it is a part of, where it is none itself."""

    path: str
    rules: ScanRules
    base: str = ""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    batch_size: int
    workers: int
    max_megapixels: float
    keep_days: int
    retry_skipped: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class _Work:
    """What the scan found to do."""

    to_read: list[tuple[FileState, KnownFile | None]] = field(default_factory=list)
    vanished: list[KnownFile] = field(default_factory=list)


def index_folders(
    store: Store,
    targets: Sequence[Target],
    encoder: LazyEncoder,
    options: PipelineOptions,
    *,
    on_progress: OnProgress = lambda _: None,
) -> IndexSummary:
    """Brings the library up to date with the folders. The caller holds `store.writer()`.

    Ctrl-C is not raised: what is stored stays, and the summary says `interrupted`.
    Raises EncoderError where no picture can be encoded, LibraryError where nothing can be stored.
    """
    started = time.monotonic()
    summary = IndexSummary()
    run = _Run(store, encoder, options, summary, on_progress)
    try:
        work = run.scan(targets)
        if options.dry_run:
            _foretell(work, summary)
        else:
            run.embed(work.to_read)
            run.remove(work.vanished)
            run.promote()
            run.note_scans()
            store.prune(keep_days=options.keep_days)
    except KeyboardInterrupt:
        summary.interrupted = True
    if not options.dry_run:
        on_progress(Progress("finish", run.done, run.done, summary.skipped.total()))
        save_indexes(store, summary)
    summary.seconds = time.monotonic() - started
    return summary


def save_indexes(store: Store, summary: IndexSummary) -> None:
    """Writes the FAISS files that lag behind; a failure costs speed, never a picture."""
    for record in store.encoders():
        with store.reading() as connection:
            state = index_state(store, connection, record)
        if state == "ready":
            continue
        try:
            save_index(store, record)
        except (OSError, LibraryError) as error:
            summary.notes.append(
                f"The search index could not be written ({error}); every search builds it "
                "anew until `searchengine index` succeeds. No picture is lost."
            )


class _Run:
    """The state of one run over all folders."""

    def __init__(
        self,
        store: Store,
        encoder: LazyEncoder,
        options: PipelineOptions,
        summary: IndexSummary,
        on_progress: OnProgress,
    ) -> None:
        self.store = store
        self.encoder = encoder
        self.options = options
        self.summary = summary
        self.on_progress = on_progress
        self.done = 0
        self._scanned: dict[str, str | None] = {}  # root -> what was wrong
        self.record: EncoderRecord | None = None
        self.encode_error = ""
        # contents that came to a new path: if they left an old one in this run, they moved
        self.arrived: Counter[int] = Counter()
        self.stored_lately: deque[bytes] = deque(maxlen=BATCHES_IN_FLIGHT * options.batch_size)

    # -- scan

    def scan(self, targets: Sequence[Target]) -> _Work:
        work = _Work()
        # a link from one root to another is followed in neither, whichever of them is scanned
        roots = [target.path for target in targets] + [f.path for f in self.store.folders()]
        seen_files = 0
        for target in targets:
            if not os.path.isdir(target.path):
                self._leave_alone(target, "is missing")
                continue
            found = _Work()
            scan = Scan(target.path, target.rules, other_roots=roots, base=target.base)
            visited = set()
            pictures = 0
            with self.store.reading() as connection:
                for listing in scan:
                    visited.add(listing.directory)
                    known = self.store.known_files(connection, listing.directory, self.encoder.key)
                    diff = diff_directory(listing, known, retry_skipped=self.options.retry_skipped)
                    found.to_read += diff.to_read
                    found.vanished += diff.vanished
                    self.summary.unchanged += diff.unchanged
                    for skipped in (*listing.skipped, *diff.still_skipped):
                        self.summary.skip(skipped)
                    pictures += len(listing.files)
                    seen_files += len(listing.files)
                    self.on_progress(Progress("scan", seen_files, None))
                for directory in self.store.directories_under(target.path) - visited:
                    known = self.store.known_files(connection, directory, self.encoder.key)
                    found.vanished += known.values()
            work.to_read += found.to_read
            if scan.errors:
                self._report_errors(target, scan.errors, len(found.vanished))
            elif not pictures and found.vanished:
                self._leave_alone(target, "holds no picture any more")
            else:
                work.vanished += found.vanished
                self._note(target, None)
        return work

    def _leave_alone(self, target: Target, what: str) -> None:
        message = (
            f"{target.path} {what}: nothing was removed, in case its drive is not mounted. "
            f"If it is gone for good: searchengine forget {target.path}"
        )
        self.summary.notes.append(message)
        self._note(target, what)

    def _report_errors(
        self, target: Target, errors: Sequence[tuple[str, str]], vanished: int
    ) -> None:
        for path, message in errors[:5]:
            self.summary.notes.append(f"{path} could not be read: {message}")
        if len(errors) > 5:
            self.summary.notes.append(f"... and {len(errors) - 5} more below {target.path}")
        if vanished:
            self.summary.notes.append(
                f"{vanished} pictures below {target.path} were not found, and stay until a scan "
                "without errors. Mend the permission, or leave the folder out with --exclude."
            )
        several = f"{len(errors)} folders or files" if len(errors) > 1 else errors[0][0]
        self._note(target, f"{several} could not be read")

    def _note(self, target: Target, note: str | None) -> None:
        if not target.base:
            self._scanned[target.path] = note

    def note_scans(self) -> None:
        """At the end: a folder whose pictures are not all taken in was not scanned to its end."""
        for path, note in self._scanned.items():
            self.store.note_scan(path, note)

    # -- decode and embed

    def embed(self, to_read: Sequence[tuple[FileState, KnownFile | None]]) -> None:
        batch: list[tuple[FileState, KnownFile | None, Decoded]] = []
        reused: list[tuple[FileState, KnownFile | None, bytes]] = []
        refused: list[tuple[FileState, str]] = []
        with Ahead(self.options.workers, self.options.batch_size * BATCHES_IN_FLIGHT) as ahead:
            for (file, before), outcome in self._outcomes(ahead, to_read):
                if isinstance(outcome, Decoded) and outcome.sha256 in self.stored_lately:
                    outcome = outcome.sha256
                if isinstance(outcome, Skipped):
                    self.summary.skip(outcome)
                    if outcome.is_permanent:
                        refused.append((file, str(outcome)))
                elif isinstance(outcome, bytes):
                    reused.append((file, before, outcome))
                else:
                    batch.append((file, before, outcome))
                if len(batch) == self.options.batch_size:
                    self._encode_and_store(batch)
                    batch = []
                if len(reused) + len(refused) >= 256:
                    self._store_reused(reused, refused)
                    reused, refused = [], []
                self.done += 1
                self.on_progress(
                    Progress("embed", self.done, len(to_read), self.summary.skipped.total())
                )
            self._encode_and_store(batch)
            self._store_reused(reused, refused)

    def _outcomes(self, ahead: Ahead, to_read: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        deferred: list[Work] = []
        for work, outcome in ahead.map(self._read, to_read):
            if outcome is not None:
                yield work, outcome
                continue
            if not deferred:
                self.on_progress(Progress("encoder", self.done, len(to_read)))
                # in this thread and not in a worker: Ctrl-C has to end a download
                self.encoder.get()
            deferred.append(work)
        for work, outcome in ahead.map(self._read, deferred):
            assert outcome is not None  # the encoder is there
            yield work, outcome

    def _read(self, work: Work) -> Outcome | None:
        """In a thread: the decoded picture, or the hash of bytes whose embedding is stored.

        None where the encoder has to be built first, which says how large to decode.
        """
        file, _ = work
        # hash after stat: an edit in between is seen by the next scan
        data = read_file(file.path)
        if isinstance(data, Skipped):
            return data
        sha256 = content_hash(data)
        if self.store.find_content(sha256, self.encoder.key) is not None:
            return sha256
        if not self.encoder.is_built:
            return None
        return decode(
            file.path,
            data,
            sha256=sha256,
            target_px=self.encoder.get().image_size_px,
            max_megapixels=self.options.max_megapixels,
        )

    def _encode_and_store(
        self, batch: Sequence[tuple[FileState, KnownFile | None, Decoded]]
    ) -> None:
        if not batch:
            return
        different = {decoded.sha256: decoded for _, _, decoded in batch}
        embeddings = dict(zip(different, self._encode(list(different.values())), strict=True))
        if len(different) > 1 and all(embedding is None for embedding in embeddings.values()):
            raise EncoderError(
                f"{self.encoder.key} failed on {len(different)} pictures in a row, so it is the "
                f"encoder and not a picture ({self.encode_error}). What is indexed stays. Try "
                "--device cpu, or another --encoder."
            )
        ready: list[Embedded] = []
        befores: list[KnownFile | None] = []
        for file, before, decoded in batch:
            embedding = embeddings[decoded.sha256]
            if embedding is None:
                self.summary.skip(
                    Skipped(file.path, "the encoder failed on it", is_permanent=False)
                )
                continue
            ready.append(Embedded(file, decoded.sha256, decoded.info, embedding))
            befores.append(before)
        if not ready:
            return
        ids = self.store.write(ready, self._encoder_record())
        self.summary.encoded += sum(embedding is not None for embedding in embeddings.values())
        self.summary.reused += len(ready) - len({item.sha256 for item in ready})
        self.stored_lately.extend(different)
        self._count_taken(ready, befores, ids)

    def _encode(self, pictures: Sequence[Decoded]) -> list[np.ndarray | None]:
        """Embeds a batch; where that fails, its halves, so that one picture costs only itself."""
        try:
            vectors = self.encoder.get().encode_images([picture.image for picture in pictures])
            if np.isfinite(vectors).all():
                return [vector.astype(np.float16) for vector in vectors]
            self.encode_error = "values that are no numbers"
        except EncoderError as error:
            self.encode_error = str(error)
        if len(pictures) == 1:
            return [None]
        middle = len(pictures) // 2
        return self._encode(pictures[:middle]) + self._encode(pictures[middle:])

    def _store_reused(
        self,
        reused: Sequence[tuple[FileState, KnownFile | None, bytes]],
        refused: Sequence[tuple[FileState, str]],
    ) -> None:
        if reused:
            items = [Embedded(file, sha256) for file, _, sha256 in reused]
            ids = self.store.write(items, self._encoder_record())
            self.summary.reused += len(items)
            self._count_taken(items, [before for _, before, _ in reused], ids)
        self.store.mark_skipped(refused)

    def _count_taken(
        self,
        items: Sequence[Embedded],
        befores: Sequence[KnownFile | None],
        ids: dict[bytes, int],
    ) -> None:
        for item, before in zip(items, befores, strict=True):
            content_id = ids[item.sha256]
            if before is None or before.content_id is None:
                self.summary.new += 1
                self.arrived[content_id] += 1
            elif before.content_id != content_id:
                self.summary.changed += 1
            elif item.embedding is not None:
                self.summary.new += 1  # known, but new to this encoder
            else:
                self.summary.unchanged += 1  # touched, or written anew with the same bytes
                self.summary.reused -= 1

    def _encoder_record(self) -> EncoderRecord:
        if self.record is None:
            encoder = self.encoder
            known = next((r for r in self.store.encoders() if r.key == encoder.key), None)
            self.record = known or self.store.remember_encoder(
                encoder.key, encoder.spec, encoder.get().dimension
            )
        return self.record

    # -- what leaves

    def remove(self, vanished: Sequence[KnownFile]) -> None:
        for known in vanished:
            if known.content_id is not None and self.arrived[known.content_id] > 0:
                self.arrived[known.content_id] -= 1
                self.summary.moved += 1
                self.summary.new -= 1
            elif known.content_id is not None:
                self.summary.removed += 1
        if vanished:
            self.store.remove([known.image_id for known in vanished])
        elif self.summary.changed:
            self.store.mark_orphans()

    def promote(self) -> None:
        """An encoder that was asked for by name becomes the default once it knows every picture."""
        record = next((r for r in self.store.encoders() if r.key == self.encoder.key), None)
        if record is not None:
            self.store.promote_encoder(record)


def _foretell(work: _Work, summary: IndexSummary) -> None:
    """For --dry-run: tells moves by size and time alone, without opening a file."""
    left = Counter((known.size_bytes, known.mtime_ns) for known in work.vanished)
    for file, before in work.to_read:
        traits = (file.size_bytes, file.mtime_ns)
        if before is not None and before.content_id is not None:
            if is_unchanged(file, before):
                summary.new += 1  # known, but new to this encoder
            else:
                summary.changed += 1
        elif left[traits] > 0:
            left[traits] -= 1
            summary.moved += 1
        else:
            summary.new += 1
    summary.removed = left.total()
