"""The tables of a library's SQLite file, its connections, and its numbered migrations."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from indexer.errors import LibraryError, LibraryTooNew, SearchEngineError, StorageFull

PAGE_SIZE_BYTES = 16384  # one 768-dimensional float16 embedding is 1.5 KB: ten a page


class PathBytes(sa.TypeDecorator[str]):
    """A path as the bytes the file system knows: names that are not UTF-8 survive the round."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> bytes | None:
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: bytes | None, dialect: Any) -> str | None:
        return None if value is None else os.fsdecode(value)


metadata = sa.MetaData()

# one row: what the library remembers of itself
library_table = sa.Table(
    "library",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),  # counts the transactions that matter
    sa.Column("default_encoder_id", sa.ForeignKey("encoders.id"), nullable=True),
)

folders_table = sa.Table(
    "folders",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", PathBytes, nullable=False, unique=True),
    sa.Column("exclude", sa.JSON, nullable=False),
    sa.Column("include_hidden", sa.Boolean, nullable=False),
    sa.Column("last_scan_at", sa.String, nullable=True),  # ISO 8601, UTC
    sa.Column("last_scan_note", sa.String, nullable=True),  # what went wrong, or null
)

contents_table = sa.Table(
    "contents",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("width_px", sa.Integer, nullable=False),
    sa.Column("height_px", sa.Integer, nullable=False),
    sa.Column("format", sa.String, nullable=False),
    sa.Column("orientation", sa.Integer, nullable=False),
    sa.Column("taken_at", sa.String),
    sa.Column("utc_offset", sa.String),
    sa.Column("camera", sa.String),
    sa.Column("lens", sa.String),
    sa.Column("latitude", sa.Float),
    sa.Column("longitude", sa.Float),
    # when its last file left: kept a while, for what is moved comes back
    sa.Column("orphaned_at", sa.String, index=True),
)

images_table = sa.Table(
    "images",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("directory", PathBytes, nullable=False),
    sa.Column("name", PathBytes, nullable=False),
    # null while nothing of the file could ever be decoded
    sa.Column("content_id", sa.ForeignKey("contents.id"), nullable=True, index=True),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("seen_at_ns", sa.Integer, nullable=False),
    sa.Column("skip_reason", sa.String, nullable=True),  # why these very bytes give no picture
    sa.UniqueConstraint("directory", "name"),
    # a deleted picture's id is never given to another one: clients keep ids
    sqlite_autoincrement=True,
)

encoders_table = sa.Table(
    "encoders",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String, nullable=False, unique=True),  # Encoder.id
    sa.Column("spec", sa.JSON, nullable=False),  # what builds it again
    sa.Column("dimension", sa.Integer, nullable=False),
    # the derived FAISS file: which state of the library it holds, and its checksum
    sa.Column("index_generation", sa.Integer, nullable=True),
    sa.Column("index_sha256", sa.LargeBinary, nullable=True),
)

embeddings_table = sa.Table(
    "embeddings",
    metadata,
    sa.Column("content_id", sa.ForeignKey("contents.id"), primary_key=True),
    sa.Column("encoder_id", sa.ForeignKey("encoders.id"), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # (D,) float16, little-endian
)

detectors_table = sa.Table(
    "detectors",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String, nullable=False, unique=True),  # Detector.id
    sa.Column("name", sa.String, nullable=False),  # what builds it again
    sa.Column("labels", sa.JSON, nullable=False),
)

# which contents a detector has looked at, even where it found nothing
looks_table = sa.Table(
    "looks",
    metadata,
    sa.Column("content_id", sa.ForeignKey("contents.id"), primary_key=True),
    sa.Column("detector_id", sa.ForeignKey("detectors.id"), primary_key=True, index=True),
    sqlite_with_rowid=False,
)

detections_table = sa.Table(
    "detections",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("content_id", sa.ForeignKey("contents.id"), nullable=False, index=True),
    sa.Column("detector_id", sa.ForeignKey("detectors.id"), nullable=False),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("score", sa.Float, nullable=False),  # calibrated: the probability that it is there
    sa.Column("x0", sa.Float, nullable=False),  # fractions of the upright width and height
    sa.Column("y0", sa.Float, nullable=False),
    sa.Column("x1", sa.Float, nullable=False),
    sa.Column("y1", sa.Float, nullable=False),
    sa.Column("colours", sa.LargeBinary, nullable=False),  # shares of the basic colours, 0..255
    # counting over the whole library reads this index alone
    sa.Index("ix_detections_count", "detector_id", "label", "content_id", "score"),
    # a box's id is never given to another one: a crop may be embedded meanwhile
    sqlite_autoincrement=True,
)

# what the encoder makes of a box's crop; only made once a query asks for it
crops_table = sa.Table(
    "crops",
    metadata,
    sa.Column("detection_id", sa.ForeignKey("detections.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("encoder_id", sa.ForeignKey("encoders.id"), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # (D,) float16, little-endian
)

_DETECTION_TABLES = (detectors_table, looks_table, detections_table, crops_table)


def _create_first(connection: Connection) -> None:
    later = set(_DETECTION_TABLES)
    metadata.create_all(
        connection, tables=[table for table in metadata.sorted_tables if table not in later]
    )
    connection.execute(sa.insert(library_table).values(id=1, generation=0))


def _add_detections(connection: Connection) -> None:
    metadata.create_all(connection, tables=_DETECTION_TABLES)


# MIGRATIONS[n] brings a library from version n to n + 1; the first one creates it.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create_first, _add_detections)
SCHEMA_VERSION = len(MIGRATIONS)


def database_is_there(path: Path) -> bool:
    """Raises LibraryError where its folder does not let anybody look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise LibraryError(
            f"The library's folder {path.parent} cannot be read: {error.strerror}. Mend its "
            "permissions, or name another with --library DIR or SEARCHENGINE_LIBRARY."
        ) from error
    return True


def connect(path: Path, *, create: bool) -> Engine:
    """Opens the SQLite file, creating or migrating it as needed.

    Raises:
        LibraryTooNew: a newer version of this program wrote it.
        LibraryError: it cannot be opened, or is no SQLite file.
    """
    is_there = database_is_there(path)
    if path.parent.exists() and not path.parent.is_dir():
        raise LibraryError(f"{path.parent} is a file; --library takes a folder.")
    if not create and not is_there:
        raise LibraryError(f"There is no library at {path.parent}. Run: searchengine index FOLDER")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryError(
            f"The library's folder {path.parent} cannot be made: {error.strerror}. "
            "Name another with --library DIR or SEARCHENGINE_LIBRARY."
        ) from error
    effective = os.access in os.supports_effective_ids
    if not create and not os.access(path.parent, os.W_OK, effective_ids=effective):
        return _read_only_engine(path)
    engine = _writable_engine(path)

    @sa.event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        # pysqlite's own transaction handling breaks up DDL and read transactions; ours begins below
        connection.isolation_level = None
        for pragma in (
            f"page_size={PAGE_SIZE_BYTES}",  # only before the first table
            "journal_mode=WAL",
            "synchronous=FULL",  # a batch told as done survives a power cut
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_writing = connection.get_execution_options().get("is_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    try:
        _migrate(engine, path)
    except sa.exc.DatabaseError as error:
        raise storage_error(error, path) from error
    return engine


def _writable_engine(path: Path) -> Engine:
    # URL.create, not a string: a "?" or "%" in the path would be read as part of the address
    address = sa.URL.create("sqlite", database=str(path))
    return sa.create_engine(address, connect_args={"timeout": 30}, max_overflow=-1)


def _read_only_engine(path: Path) -> Engine:
    """For a read-only drive, or somebody else's library: it can be searched."""
    log = path.with_name(path.name + "-wal")
    # without its folder SQLite cannot share the log; where there is none, nothing is missed
    immutable = "" if log.exists() and log.stat().st_size else "&immutable=1"
    address = f"file:{quote(os.fsencode(path))}?mode=ro{immutable}"
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False),
        poolclass=sa.QueuePool,
    )
    try:
        with engine.connect() as connection:
            _check_version(connection, path)
    except sa.exc.DatabaseError as error:
        raise storage_error(error, path) from error
    return engine


def _migrate(engine: Engine, path: Path) -> None:
    with engine.connect() as connection:
        version = _check_version(connection, path)
    if version == SCHEMA_VERSION:
        return
    with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
        # read again under the write lock: another process may have been quicker
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        for number in range(version, SCHEMA_VERSION):
            MIGRATIONS[number](connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {number + 1}")


def _check_version(connection: Connection, path: Path) -> int:
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > SCHEMA_VERSION:
        raise LibraryTooNew(
            f"The library {path.parent} has format {version}; this searchengine knows up to "
            f"{SCHEMA_VERSION}. Run: pip install --upgrade searchengine"
        )
    return version


def storage_error(error: sa.exc.DatabaseError, path: Path) -> SearchEngineError:
    """What SQLite says, as a message that tells the mend."""
    text = str(error.orig)
    if "full" in text or "disk I/O error" in text:
        return StorageFull(
            f"The disk of the library {path.parent} is full or fails ({text}). Nothing stored "
            "before is lost. Make room, then run the same command again."
        )
    if "not a database" in text or "malformed" in text:
        return LibraryError(
            f"The library's database {path} is damaged ({text}). Your pictures are untouched. "
            f"Move the folder {path.parent} away and index again, or restore it from a backup."
        )
    if "locked" in text:
        return LibraryError(
            f"The library {path.parent} is busy: another process writes to it. "
            "Wait for it to end, then run the same command again."
        )
    if "unable to open" in text or "readonly" in text:
        return LibraryError(
            f"The library's database {path} cannot be opened for writing ({text}). "
            "Check the permissions of that folder, or name another with --library DIR."
        )
    return LibraryError(f"The library's database {path} does not answer: {text}")
