"""What a library holds and what is wrong with it, as one record for `status`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from indexer import detections, lookup
from indexer.index_file import index_path, index_state
from indexer.schema import SCHEMA_VERSION
from indexer.store import Store


@dataclass(frozen=True, slots=True)
class FolderStatus:
    path: str
    pictures: int
    last_scan_at: str | None  # ISO 8601, UTC
    note: str | None


@dataclass(frozen=True, slots=True)
class EncoderStatus:
    key: str
    is_default: bool
    pictures: int  # files with an embedding
    lacking: int  # readable files without one
    dimension: int
    index: str  # ready, behind, missing or damaged
    index_bytes: int


@dataclass(frozen=True, slots=True)
class DetectorStatus:
    key: str
    pictures: int  # files it has looked at


@dataclass(frozen=True, slots=True)
class Problem:
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    directory: str
    format_version: int
    pictures: int
    contents: int
    skipped: dict[str, int]  # reason -> files
    kept_orphans: int
    folders: list[FolderStatus]
    encoders: list[EncoderStatus]
    detectors: list[DetectorStatus]
    database_bytes: int
    problems: list[Problem]  # none are told while an indexing run is changing everything
    is_being_indexed: bool


def library_status(store: Store) -> LibraryStatus:
    """Raises LibraryError where the library can't be read."""
    default = store.default_encoder()
    folders = store.folders()
    records = store.encoders()
    with store.reading() as connection:
        counts = lookup.counts(connection)
        encoders = [
            EncoderStatus(
                record.key,
                default is not None and record.id == default.id,
                lookup.embedded_pictures(connection, record),
                lookup.pictures_without(connection, record),
                record.dimension,
                index_state(store, connection, record),
                _size(index_path(store.directory, record)),
            )
            for record in records
        ]
        detectors = [
            DetectorStatus(record.key, detections.pictures_looked_at(connection, record))
            for record in detections.detectors(connection)
        ]
        folder_states = [
            FolderStatus(
                folder.path,
                lookup.pictures_under(connection, folder.path),
                folder.last_scan_at,
                folder.last_scan_note,
            )
            for folder in folders
        ]
    return LibraryStatus(
        directory=str(store.directory),
        format_version=SCHEMA_VERSION,
        pictures=counts.pictures,
        contents=counts.contents,
        skipped=counts.skipped,
        kept_orphans=counts.kept_orphans,
        folders=folder_states,
        encoders=encoders,
        detectors=detectors,
        database_bytes=sum(_size(path) for path in _database_files(store.path)),
        problems=[] if store.is_being_written() else _problems(folder_states, encoders),
        is_being_indexed=store.is_being_written(),
    )


def _problems(folders: list[FolderStatus], encoders: list[EncoderStatus]) -> list[Problem]:
    problems = []
    for folder in folders:
        if folder.last_scan_at is None:
            problems.append(
                Problem(f"{folder.path} was never scanned to its end", "searchengine index")
            )
        if folder.note:
            problems.append(
                Problem(
                    f"{folder.path}: {folder.note}",
                    "Mount its drive or mend its permissions, then: searchengine index. "
                    f"If it is gone for good: searchengine forget {folder.path}",
                )
            )
    for encoder in encoders:
        if encoder.index == "damaged":
            problems.append(
                Problem(f"The search index of {encoder.key} is damaged", "searchengine index")
            )
        elif encoder.index in ("missing", "behind") and encoder.pictures:
            problems.append(
                Problem(
                    f"The search index of {encoder.key} is {encoder.index}. "
                    "Searches are complete but slower",
                    "searchengine index",
                )
            )
        if encoder.lacking:
            name = encoder.key.removesuffix("+int8")
            mend = "" if encoder.is_default else f" --encoder {name}"
            problems.append(
                Problem(
                    f"{encoder.lacking:,} pictures have no {encoder.key} embedding: a search with "
                    "it does not find them",
                    f"searchengine index{mend}",
                )
            )
    return problems


def _database_files(path: Path) -> list[Path]:
    return [path, path.with_name(path.name + "-wal")]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
