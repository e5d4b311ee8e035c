"""What detectors saw, by content and detector: a picture is looked at once in its life."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from indexer.records import Detection, DetectorRecord, EncoderRecord
from indexer.schema import (
    contents_table,
    crops_table,
    detections_table,
    detectors_table,
    images_table,
    looks_table,
)
from indexer.store import Store

Vector = npt.NDArray[np.float32]
_MOST_BOUND_VALUES = 10_000  # SQLite takes 32,766 in one statement


def detectors(connection: Connection) -> list[DetectorRecord]:
    """The detectors that have looked at something, the one that saw most pictures first."""
    if not _has_tables(connection):
        return []
    seen = sa.func.count(looks_table.c.content_id)
    rows = connection.execute(
        sa.select(detectors_table)
        .join(looks_table, looks_table.c.detector_id == detectors_table.c.id)
        .group_by(detectors_table.c.id)
        .order_by(seen.desc(), detectors_table.c.id)
    )
    return [_detector(row) for row in rows]


def find_detector(connection: Connection, key: str) -> DetectorRecord | None:
    if not _has_tables(connection):
        return None
    row = connection.execute(
        sa.select(detectors_table).where(detectors_table.c.key == key)
    ).one_or_none()
    return _detector(row) if row else None


def _has_tables(connection: Connection) -> bool:
    """False in a library of the first format that may only be read, and so is not migrated."""
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    return version >= 2


def _detector(row: sa.Row[Any]) -> DetectorRecord:
    return DetectorRecord(row.id, row.key, row.name, tuple(row.labels))


def remember_detector(store: Store, key: str, name: str, labels: Sequence[str]) -> DetectorRecord:
    with store.transaction(counts=False) as connection:
        known = {"name": name, "labels": list(labels)}
        connection.execute(
            insert(detectors_table)
            .values(key=key, **known)
            .on_conflict_do_update(index_elements=["key"], set_=known)
        )
        found = find_detector(connection, key)
        assert found is not None
        return found


def write_looks(
    store: Store, detector: DetectorRecord, looks: Mapping[int, Sequence[Detection]]
) -> None:
    """Stores what was seen in each content (by id), nothing included, in one transaction."""
    if not looks:
        return
    with store.transaction(counts=False) as connection:
        # a content may have left the library while it was looked at
        there = _there(connection, looks)
        old = sa.delete(detections_table).where(
            detections_table.c.detector_id == detector.id,
            detections_table.c.content_id.in_(there),
        )
        connection.execute(old)
        rows = [
            {
                "content_id": content_id,
                "detector_id": detector.id,
                "label": seen.label,
                "score": seen.score,
                **dict(zip(("x0", "y0", "x1", "y1"), seen.box_xyxy, strict=True)),
                "colours": seen.colours,
            }
            for content_id in there
            for seen in looks[content_id]
        ]
        if rows:
            connection.execute(insert(detections_table), rows)
        if there:
            connection.execute(
                insert(looks_table).on_conflict_do_nothing(),
                [{"detector_id": detector.id, "content_id": content_id} for content_id in there],
            )


def _there(connection: Connection, content_ids: Iterable[int]) -> list[int]:
    statement = sa.select(contents_table.c.id).where(contents_table.c.id.in_(list(content_ids)))
    return list(connection.scalars(statement))


@dataclass(frozen=True, slots=True)
class ContentFiles:
    """Where a content's bytes lie; `sha256` tells whether they are still the same."""

    content_id: int
    sha256: bytes
    paths: tuple[str, ...]


def files_of(connection: Connection, content_ids: Sequence[int]) -> list[ContentFiles]:
    """The files of each content, in the order asked for; contents without any are left out."""
    found: dict[int, ContentFiles] = {}
    for some in _chunks(content_ids):
        statement = (
            sa.select(
                contents_table.c.id,
                contents_table.c.sha256,
                images_table.c.directory,
                images_table.c.name,
            )
            .join(images_table, images_table.c.content_id == contents_table.c.id)
            .where(contents_table.c.id.in_(some))
            .order_by(images_table.c.directory, images_table.c.name)
        )
        for content_id, sha256, directory, name in connection.execute(statement):
            paths = found[content_id].paths if content_id in found else ()
            path = os.path.join(directory, name)
            found[content_id] = ContentFiles(content_id, sha256, (*paths, path))
    return [found[content_id] for content_id in content_ids if content_id in found]


def contents_not_looked_at(connection: Connection, detector_key: str) -> list[int]:
    """Contents that have a file and that the detector has not seen yet, in the store's order."""
    looked = (
        sa.select(looks_table.c.content_id)
        .join(detectors_table, detectors_table.c.id == looks_table.c.detector_id)
        .where(detectors_table.c.key == detector_key)
    )
    statement = (
        sa.select(images_table.c.content_id)
        .where(images_table.c.content_id.is_not(None), images_table.c.skip_reason.is_(None))
        .where(images_table.c.content_id.not_in(looked))
        .distinct()
        .order_by(images_table.c.content_id)
    )
    return list(connection.scalars(statement))


def looked_at(
    connection: Connection, detector: DetectorRecord, content_ids: Sequence[int]
) -> set[int]:
    """Those of the contents that the detector has seen."""
    return {
        content_id
        for some in _chunks(content_ids)
        for content_id in connection.scalars(
            sa.select(looks_table.c.content_id).where(
                looks_table.c.detector_id == detector.id, looks_table.c.content_id.in_(some)
            )
        )
    }


def pictures_looked_at(connection: Connection, detector: DetectorRecord) -> int:
    """How many files of the library the detector has seen."""
    statement = (
        sa.select(sa.func.count())
        .select_from(images_table)
        .join(looks_table, looks_table.c.content_id == images_table.c.content_id)
        .where(looks_table.c.detector_id == detector.id)
    )
    return connection.scalar(statement) or 0


def detections_of(
    connection: Connection,
    detector: DetectorRecord,
    content_ids: Sequence[int],
    labels: Collection[str] | None = None,
) -> dict[int, list[Detection]]:
    """What the detector saw in each content, surest first; contents without any are left out."""
    columns = detections_table.c
    found: dict[int, list[Detection]] = {}
    for some in _chunks(content_ids):
        statement = (
            sa.select(
                columns.content_id,
                columns.label,
                columns.score,
                columns.x0,
                columns.y0,
                columns.x1,
                columns.y1,
                columns.colours,
                columns.id,
            )
            .where(columns.detector_id == detector.id, columns.content_id.in_(some))
            .order_by(columns.score.desc(), columns.id)
        )
        if labels is not None:
            statement = statement.where(columns.label.in_(list(labels)))
        for row in connection.execute(statement).all():  # far quicker than one by one
            content_id, label, score, x0, y0, x1, y1, colours, id = row
            found.setdefault(content_id, []).append(
                Detection(label, score, (x0, y0, x1, y1), colours, id)
            )
    return found


def contents_with_count(
    connection: Connection,
    detector: DetectorRecord,
    labels: Collection[str],
    *,
    at_least: int,
    at_most: int | None,
    sure: float = 0.5,
) -> set[int]:
    """Contents in which between `at_least` and `at_most` of the labels' boxes are surer than
    `sure`, over the whole library; reads one index and no picture."""
    if at_most is not None and at_most < max(at_least, 0):
        return set()
    columns = detections_table.c
    number = sa.func.count()
    statement = (
        sa.select(columns.content_id)
        .where(columns.detector_id == detector.id, columns.label.in_(list(labels)))
        .where(columns.score >= sure)
        .group_by(columns.content_id)
    )
    if at_least > 0:
        statement = statement.having(number >= at_least)
        if at_most is not None:
            statement = statement.having(number <= at_most)
        return set(connection.scalars(statement).all())
    seen = set(
        connection.scalars(
            sa.select(looks_table.c.content_id).where(looks_table.c.detector_id == detector.id)
        )
    )
    if at_most is None:
        return seen
    return seen - set(connection.scalars(statement.having(number > at_most)))


def crops_of(
    connection: Connection, encoder: EncoderRecord, detection_ids: Sequence[int]
) -> dict[int, Vector]:
    """The stored embeddings of boxes' crops, (D,) float32 each, by the detection's id."""
    found = {}
    for some in _chunks(detection_ids):
        statement = sa.select(crops_table.c.detection_id, crops_table.c.vector).where(
            crops_table.c.encoder_id == encoder.id, crops_table.c.detection_id.in_(some)
        )
        for detection_id, blob in connection.execute(statement).all():
            found[detection_id] = np.frombuffer(blob, "<f2").astype(np.float32)
    return found


def write_crops(store: Store, encoder: EncoderRecord, crops: Mapping[int, Vector]) -> None:
    """Stores embeddings of crops by the detection's id, in one transaction."""
    if not crops:
        return
    rows = [
        {
            "detection_id": detection_id,
            "encoder_id": encoder.id,
            "vector": vector.astype("<f2").tobytes(),
        }
        for detection_id, vector in crops.items()
    ]
    with store.transaction(counts=False) as connection:
        connection.execute(insert(crops_table).on_conflict_do_nothing(), rows)


def _chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (
        ids[start : start + _MOST_BOUND_VALUES] for start in range(0, len(ids), _MOST_BOUND_VALUES)
    )
