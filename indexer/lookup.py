"""What searching and reporting ask of a library: filters, records, counts. It writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexer.records import EncoderRecord, Filter, ImageRecord
from indexer.schema import contents_table, embeddings_table, images_table, library_table
from indexer.store import below

Ids = npt.NDArray[np.int64]

# strftime, not datetime(): with a T between, it compares like EXIF's own time
_MTIME = sa.func.strftime(
    "%Y-%m-%dT%H:%M:%S", images_table.c.mtime_ns / 1_000_000_000, "unixepoch", "localtime"
)
_SHOWN_AT = sa.func.coalesce(contents_table.c.taken_at, _MTIME)

_RECORD_COLUMNS = (
    images_table.c.id,
    images_table.c.directory,
    images_table.c.name,
    images_table.c.content_id,
    images_table.c.size_bytes,
    images_table.c.mtime_ns,
    contents_table.c.width_px,
    contents_table.c.height_px,
    contents_table.c.taken_at,
    contents_table.c.utc_offset,
    contents_table.c.camera,
    contents_table.c.lens,
    contents_table.c.latitude,
    contents_table.c.longitude,
    _SHOWN_AT.label("shown_at"),
)
_IMAGES = images_table.join(contents_table)
_MOST_BOUND_VALUES = 10_000  # SQLite takes 32,766 in one statement


def generation(connection: Connection) -> int:
    """Which state of the library this is; it grows with every batch written."""
    return connection.scalar(sa.select(library_table.c.generation)) or 0


def load_embeddings(
    connection: Connection, encoder: EncoderRecord, *, chunk: int = 50_000
) -> Iterator[tuple[Ids, npt.NDArray[np.float32]]]:
    """Embeddings of the contents that have a file: ids (N,), vectors (N, D), N <= `chunk`."""
    # a plain join with DISTINCT would compare the blobs
    has_file = sa.exists().where(images_table.c.content_id == embeddings_table.c.content_id)
    result = connection.execution_options(yield_per=chunk).execute(
        sa.select(embeddings_table.c.content_id, embeddings_table.c.vector)
        .where(embeddings_table.c.encoder_id == encoder.id, has_file)
        .order_by(embeddings_table.c.content_id)
    )
    for rows in result.partitions():
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f2")
        yield ids, vectors.reshape(len(rows), encoder.dimension).astype(np.float32)  # [N, D]


def embedding_of(
    connection: Connection, content_id: int, encoder: EncoderRecord
) -> npt.NDArray[np.float32] | None:
    """One stored embedding, (D,) float32, or None."""
    blob = connection.scalar(
        sa.select(embeddings_table.c.vector).where(
            embeddings_table.c.content_id == content_id,
            embeddings_table.c.encoder_id == encoder.id,
        )
    )
    return None if blob is None else np.frombuffer(blob, "<f2").astype(np.float32)


def _conditions(which: Filter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if which.under:
        any_of: list[sa.ColumnElement[bool]] = []
        for path in which.under:
            directory, name = os.path.split(path)
            any_of.append(below(path))
            any_of.append(
                sa.and_(images_table.c.directory == directory, images_table.c.name == name)
            )
        conditions.append(sa.or_(*any_of))
    if which.after:
        conditions.append(which.after <= _SHOWN_AT)
    if which.before:
        conditions.append(which.before > _SHOWN_AT)
    if which.camera:
        conditions.append(contents_table.c.camera.icontains(which.camera, autoescape=True))
    return conditions


def contents_matching(connection: Connection, which: Filter) -> Ids:
    """Content ids with at least one file that passes the filter."""
    rows = connection.scalars(
        sa.select(images_table.c.content_id)
        .select_from(_IMAGES)
        .where(*_conditions(which))
        .distinct()
    ).all()
    return np.array(rows, np.int64)


def images_of(
    connection: Connection, content_ids: Sequence[int], which: Filter
) -> list[ImageRecord]:
    """The files that hold these contents and pass the filter, in the contents' order."""
    by_content: dict[int, list[ImageRecord]] = {}
    for start in range(0, len(content_ids), _MOST_BOUND_VALUES):
        some = content_ids[start : start + _MOST_BOUND_VALUES]
        statement = (
            sa.select(*_RECORD_COLUMNS)
            .select_from(_IMAGES)
            .where(images_table.c.content_id.in_(some), *_conditions(which))
            .order_by(images_table.c.directory, images_table.c.name)
        )
        for row in connection.execute(statement):
            record = _record(row)
            by_content.setdefault(record.content_id, []).append(record)
    return [record for content_id in content_ids for record in by_content.get(content_id, ())]


def sizes_of(connection: Connection, content_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Width and height in pixels, upright, of each content."""
    found = {}
    for start in range(0, len(content_ids), _MOST_BOUND_VALUES):
        some = content_ids[start : start + _MOST_BOUND_VALUES]
        statement = sa.select(
            contents_table.c.id, contents_table.c.width_px, contents_table.c.height_px
        ).where(contents_table.c.id.in_(some))
        for content_id, width_px, height_px in connection.execute(statement).all():
            found[content_id] = (width_px, height_px)
    return found


def image_at(connection: Connection, path: str) -> ImageRecord | None:
    """The picture at this absolute path, as last indexed."""
    directory, name = os.path.split(path)
    row = connection.execute(
        sa.select(*_RECORD_COLUMNS)
        .select_from(_IMAGES)
        .where(images_table.c.directory == directory, images_table.c.name == name)
    ).one_or_none()
    return _record(row) if row else None


def skip_reason_at(connection: Connection, path: str) -> str | None:
    """Why the file at this absolute path gave no picture at the last scan."""
    directory, name = os.path.split(path)
    return connection.scalar(
        sa.select(images_table.c.skip_reason).where(
            images_table.c.directory == directory, images_table.c.name == name
        )
    )


def _record(row: Any) -> ImageRecord:
    image_id, directory, name, *rest = row
    return ImageRecord(image_id, os.path.join(directory, name), *rest)


@dataclass(frozen=True, slots=True)
class LibraryCounts:
    """What `searchengine status` counts."""

    pictures: int  # files that can be found
    contents: int  # different ones among them
    skipped: dict[str, int]  # reason -> files remembered as giving no picture
    kept_orphans: int  # contents without a file, kept in case it comes back


def counts(connection: Connection) -> LibraryCounts:
    images = images_table.c
    pictures, contents = connection.execute(
        sa.select(sa.func.count(images.content_id), sa.func.count(images.content_id.distinct()))
    ).one()
    reason = sa.func.substr(images.skip_reason, 1, sa.func.instr(images.skip_reason + ":", ":") - 1)
    skipped = connection.execute(
        sa.select(reason, sa.func.count())
        .where(images.skip_reason.is_not(None))
        .group_by(reason)
        .order_by(sa.func.count().desc())
    )
    orphans = connection.scalar(
        sa.select(sa.func.count()).where(contents_table.c.orphaned_at.is_not(None))
    )
    return LibraryCounts(pictures, contents, {row[0]: row[1] for row in skipped}, orphans or 0)


def embedded_pictures(connection: Connection, encoder: EncoderRecord) -> int:
    """How many files have an embedding of this encoder."""
    return (
        connection.scalar(
            sa.select(sa.func.count())
            .select_from(images_table)
            .join(embeddings_table, embeddings_table.c.content_id == images_table.c.content_id)
            .where(embeddings_table.c.encoder_id == encoder.id)
        )
        or 0
    )


def pictures_without(connection: Connection, encoder: EncoderRecord) -> int:
    """How many readable files have no embedding of this encoder."""
    has_embedding = sa.exists().where(
        embeddings_table.c.content_id == images_table.c.content_id,
        embeddings_table.c.encoder_id == encoder.id,
    )
    statement = (
        sa.select(sa.func.count())
        .select_from(images_table)
        .where(images_table.c.content_id.is_not(None), images_table.c.skip_reason.is_(None))
        .where(~has_embedding)
    )
    return connection.scalar(statement) or 0


def copies(connection: Connection) -> dict[int, int]:
    """The contents that lie in more than one file, and in how many."""
    of_content = images_table.c.content_id
    statement = (
        sa.select(of_content, sa.func.count())
        .where(of_content.is_not(None))
        .group_by(of_content)
        .having(sa.func.count() > 1)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def pictures_under(connection: Connection, folder: str) -> int:
    """How many pictures lie in a folder or deeper."""
    return (
        connection.scalar(
            sa.select(sa.func.count())
            .select_from(images_table)
            .where(below(folder), images_table.c.content_id.is_not(None))
        )
        or 0
    )
