"""The truth of a library: one SQLite file, written by one process at a time.

Everything that must not be lost is written here, one transaction a batch; `index_file` derives
the FAISS file from it. What searching asks stands in `lookup`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Engine

from indexer.errors import LibraryLocked
from indexer.records import Embedded, EncoderRecord, FileState, FolderRecord, KnownFile
from indexer.schema import (
    connect,
    contents_table,
    detections_table,
    embeddings_table,
    encoders_table,
    folders_table,
    images_table,
    library_table,
    looks_table,
    storage_error,
)

DATABASE_NAME = "library.sqlite"


def utc_now() -> str:
    """ISO 8601 with seconds, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def below(folder: str) -> sa.ColumnElement[bool]:
    """SQL for "this image lies in `folder` or deeper"; uses the index on (directory, name)."""
    prefix = folder.rstrip(os.sep) + os.sep
    # the byte after the separator ends the range of all that begins with the prefix
    end = prefix[: -len(os.sep)] + chr(ord(os.sep) + 1)
    directory = images_table.c.directory
    return sa.or_(directory == folder, sa.and_(directory >= prefix, directory < end))


class Store:
    """A library on disk. Threads may share it; each statement takes a connection of a pool."""

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        """Raises LibraryError, LibraryTooNew."""
        self.directory = directory
        self.path = directory / DATABASE_NAME
        self.engine: Engine = connect(self.path, create=create)

    def close(self) -> None:
        self.engine.dispose()

    # -- transactions and the writer's lock

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Holds the lock that makes this process the only writer. Raises LibraryLocked."""
        lock = FileLock(self.directory / "write.lock")
        try:
            with lock.acquire(timeout=0):
                yield
        except Timeout:
            raise LibraryLocked(
                f"Another searchengine is indexing into {self.directory}. "
                "Wait for it to end; searching works meanwhile."
            ) from None

    def is_being_written(self) -> bool:
        """Whether another process holds the writer's lock now."""
        lock = FileLock(self.directory / "write.lock")
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a library that may only be read is written by nobody
            return False

    @contextmanager
    def transaction(self, *, counts: bool = True) -> Iterator[Connection]:
        """A write transaction; `counts` makes readers look for a new generation."""
        try:
            with (
                self.engine.connect().execution_options(is_writing=True) as connection,
                connection.begin(),
            ):
                yield connection
                if counts:
                    generation = library_table.c.generation + 1
                    connection.execute(sa.update(library_table).values(generation=generation))
        except sa.exc.DatabaseError as error:
            raise storage_error(error, self.path) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read transaction: one consistent state, whatever a writer does meanwhile."""
        try:
            with self.engine.connect() as connection, connection.begin():
                yield connection
        except sa.exc.DatabaseError as error:
            raise storage_error(error, self.path) from error

    # -- folders

    def folders(self) -> list[FolderRecord]:
        with self.reading() as connection:
            rows = connection.execute(sa.select(folders_table).order_by(folders_table.c.path))
            return [
                FolderRecord(
                    row.path,
                    tuple(row.exclude),
                    row.include_hidden,
                    row.last_scan_at,
                    row.last_scan_note,
                )
                for row in rows
            ]

    def remember_folder(
        self, path: str, *, exclude: Sequence[str], include_hidden: bool, absorbs: Sequence[str]
    ) -> None:
        """Adds a folder or changes its rules; `absorbs` are folders inside it, now part of it."""
        rules = {"exclude": list(exclude), "include_hidden": include_hidden}
        with self.transaction(counts=False) as connection:
            connection.execute(sa.delete(folders_table).where(folders_table.c.path.in_(absorbs)))
            connection.execute(
                insert(folders_table)
                .values(path=path, **rules)
                .on_conflict_do_update(index_elements=["path"], set_=rules)
            )

    def note_scan(self, path: str, note: str | None) -> None:
        with self.transaction(counts=False) as connection:
            connection.execute(
                sa.update(folders_table)
                .where(folders_table.c.path == path)
                .values(last_scan_at=utc_now(), last_scan_note=note)
            )

    def forget(self, path: str) -> int:
        """Takes a folder and all below it out of the library; returns the number of pictures."""
        prefix = path.rstrip(os.sep) + os.sep
        inside = [
            folder.path
            for folder in self.folders()
            if folder.path == path or folder.path.startswith(prefix)
        ]
        with self.transaction() as connection:
            connection.execute(sa.delete(folders_table).where(folders_table.c.path.in_(inside)))
            skipped = images_table.c.content_id.is_(None)
            connection.execute(sa.delete(images_table).where(below(path), skipped))
            # a column's subquery: a list of ids would pass SQLite's limit of bound values
            gone = connection.execute(sa.delete(images_table).where(below(path))).rowcount
            _mark_orphans(connection)
        return gone

    # -- what the scan and the workers ask

    @staticmethod
    def known_files(
        connection: Connection, directory: str, encoder_key: str
    ) -> dict[str, KnownFile]:
        """The files remembered of one folder, by name."""
        images = images_table.c
        statement = (
            sa.select(
                images.name,
                images.id,
                images.content_id,
                images.size_bytes,
                images.mtime_ns,
                images.seen_at_ns,
                embeddings_table.c.content_id.is_not(None),
                images.skip_reason,
            )
            .select_from(_images_with_embedding(encoder_key))
            .where(images.directory == directory)
        )
        return {row[0]: KnownFile(*row[1:]) for row in connection.execute(statement)}

    def directories_under(self, root: str) -> set[str]:
        with self.reading() as connection:
            return set(
                connection.scalars(
                    sa.select(images_table.c.directory).where(below(root)).distinct()
                )
            )

    def has_images_under(self, root: str) -> bool:
        with self.reading() as connection:
            return (
                connection.scalar(sa.select(images_table.c.id).where(below(root)).limit(1))
                is not None
            )

    def find_content(self, sha256: bytes, encoder_key: str) -> int | None:
        """The content of these bytes, if this encoder's embedding of it is stored."""
        statement = (
            sa.select(contents_table.c.id)
            .join(embeddings_table, embeddings_table.c.content_id == contents_table.c.id)
            .join(encoders_table, encoders_table.c.id == embeddings_table.c.encoder_id)
            .where(contents_table.c.sha256 == sha256, encoders_table.c.key == encoder_key)
        )
        with self.reading() as connection:
            return connection.scalar(statement)

    # -- encoders

    def encoders(self) -> list[EncoderRecord]:
        with self.reading() as connection:
            rows = connection.execute(sa.select(encoders_table).order_by(encoders_table.c.id))
            return [EncoderRecord(*row) for row in rows]

    def default_encoder(self) -> EncoderRecord | None:
        statement = sa.select(encoders_table).join(
            library_table, library_table.c.default_encoder_id == encoders_table.c.id
        )
        with self.reading() as connection:
            row = connection.execute(statement).one_or_none()
            return EncoderRecord(*row) if row else None

    def remember_encoder(self, key: str, spec: Mapping[str, Any], dimension: int) -> EncoderRecord:
        """Adds an encoder; the first one becomes the library's default."""
        with self.transaction(counts=False) as connection:
            connection.execute(
                insert(encoders_table)
                .values(key=key, spec=dict(spec), dimension=dimension)
                .on_conflict_do_update(index_elements=["key"], set_={"spec": dict(spec)})
            )
            row = connection.execute(
                sa.select(encoders_table).where(encoders_table.c.key == key)
            ).one()
            connection.execute(
                sa.update(library_table)
                .where(library_table.c.default_encoder_id.is_(None))
                .values(default_encoder_id=row.id)
            )
        return EncoderRecord(*row)

    def promote_encoder(self, encoder: EncoderRecord) -> bool:
        """Makes it the default if it has an embedding of every picture; says whether it is."""
        lacking = (
            sa.select(images_table.c.id)
            .select_from(_images_with_embedding(encoder.key))
            .where(images_table.c.content_id.is_not(None))
            .where(images_table.c.skip_reason.is_(None))  # no encoder can have those
            .where(embeddings_table.c.content_id.is_(None))
            .limit(1)
        )
        with self.transaction(counts=False) as connection:
            if connection.scalar(lacking) is not None:
                return False
            connection.execute(sa.update(library_table).values(default_encoder_id=encoder.id))
        return True

    # -- the pipeline's writes

    def write(self, batch: Sequence[Embedded], encoder: EncoderRecord) -> dict[bytes, int]:
        """Stores a batch in one transaction: contents, embeddings, and which file holds which.

        Returns the content id of each hash.
        """
        with self.transaction() as connection:
            fresh = [item for item in batch if item.info is not None]
            if fresh:
                connection.execute(
                    insert(contents_table).on_conflict_do_nothing(),
                    [{"sha256": item.sha256, **asdict(item.info)} for item in fresh if item.info],
                )
            known = connection.execute(
                sa.select(contents_table.c.sha256, contents_table.c.id).where(
                    contents_table.c.sha256.in_([item.sha256 for item in batch])
                )
            )
            ids = {row.sha256: row.id for row in known}
            vectors = [
                {
                    "content_id": ids[item.sha256],
                    "encoder_id": encoder.id,
                    "vector": item.embedding.astype("<f2").tobytes(),
                }
                for item in batch
                if item.embedding is not None
            ]
            if vectors:
                connection.execute(insert(embeddings_table).on_conflict_do_nothing(), vectors)
            _upsert_images(
                connection,
                [{**_columns(item.file), "content_id": ids[item.sha256]} for item in batch],
                changes=("content_id",),
            )
            connection.execute(
                sa.update(contents_table)
                .where(contents_table.c.id.in_(set(ids.values())))
                .where(contents_table.c.orphaned_at.is_not(None))
                .values(orphaned_at=None)
            )
        return ids

    def mark_skipped(self, files: Sequence[tuple[FileState, str]]) -> None:
        """Remembers that these bytes give no picture. What the file held before stays found."""
        if not files:
            return
        with self.transaction() as connection:
            rows = [{**_columns(file), "skip_reason": reason} for file, reason in files]
            _upsert_images(connection, rows, changes=())

    def remove(self, image_ids: Sequence[int]) -> None:
        """Takes files out of the results. Their embeddings are kept a while: see `prune`."""
        with self.transaction() as connection:
            connection.execute(
                sa.delete(images_table).where(images_table.c.id == sa.bindparam("image_id")),
                [{"image_id": image_id} for image_id in image_ids],
            )
            _mark_orphans(connection)

    def mark_orphans(self) -> None:
        """Notes the day from which a content has no file any more (a changed file's old bytes)."""
        with self.transaction(counts=False) as connection:
            _mark_orphans(connection)

    def prune(self, *, keep_days: int) -> int:
        """Drops contents that have had no file for `keep_days`; returns how many."""
        limit = (datetime.now(UTC) - timedelta(days=keep_days)).isoformat(timespec="seconds")
        old = sa.select(contents_table.c.id).where(contents_table.c.orphaned_at < limit)
        with self.transaction(counts=False) as connection:
            for table in (embeddings_table, detections_table, looks_table):
                connection.execute(sa.delete(table).where(table.c.content_id.in_(old)))
            return connection.execute(
                sa.delete(contents_table).where(contents_table.c.orphaned_at < limit)
            ).rowcount


def _columns(file: FileState) -> dict[str, Any]:
    directory, name = os.path.split(file.path)
    return {
        "directory": directory,
        "name": name,
        "size_bytes": file.size_bytes,
        "mtime_ns": file.mtime_ns,
        "seen_at_ns": file.seen_at_ns,
        "skip_reason": None,
    }


def _upsert_images(
    connection: Connection, rows: Sequence[Mapping[str, Any]], *, changes: tuple[str, ...]
) -> None:
    statement = insert(images_table)
    changed = (*changes, "size_bytes", "mtime_ns", "seen_at_ns", "skip_reason")
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["directory", "name"],
            set_={column: statement.excluded[column] for column in changed},
        ),
        rows,
    )


def _images_with_embedding(encoder_key: str) -> sa.FromClause:
    encoder_id = (
        sa.select(encoders_table.c.id).where(encoders_table.c.key == encoder_key).scalar_subquery()
    )
    return images_table.outerjoin(
        embeddings_table,
        sa.and_(
            embeddings_table.c.content_id == images_table.c.content_id,
            embeddings_table.c.encoder_id == encoder_id,
        ),
    )


def _mark_orphans(connection: Connection) -> None:
    has_file = sa.exists().where(images_table.c.content_id == contents_table.c.id)
    connection.execute(
        sa.update(contents_table)
        .where(contents_table.c.orphaned_at.is_(None), ~has_file)
        .values(orphaned_at=utc_now())
    )
