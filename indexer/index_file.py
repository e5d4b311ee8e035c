"""The derived FAISS file of one encoder: loaded if it is exactly what the library says, else
built anew from SQLite. Never trusted, never needed, only quicker.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexer import lookup
from indexer.records import EncoderRecord
from indexer.schema import encoders_table
from indexer.store import Store
from indexer.vectors import FlatIndex


def index_path(directory: Path, encoder: EncoderRecord) -> Path:
    """Where the FAISS file of an encoder lies."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", encoder.key).strip("-").lower()
    return directory / "vectors" / f"{encoder.id}-{slug}.faiss"


def load_index(store: Store, connection: Connection, encoder: EncoderRecord) -> FlatIndex:
    """The index of the state that `connection` sees. Reads the file where it holds that state."""
    if encoder.index_generation == lookup.generation(connection):
        index = _read_checked(index_path(store.directory, encoder), encoder.index_sha256)
        if index is not None:
            return index
    return build_index(connection, encoder)


def build_index(connection: Connection, encoder: EncoderRecord) -> FlatIndex:
    """The index of the state that `connection` sees, from SQLite, a chunk at a time."""
    index = FlatIndex(encoder.dimension)
    for ids, vectors in lookup.load_embeddings(connection, encoder):
        index.add(ids, vectors)
    return index


def save_index(store: Store, encoder: EncoderRecord) -> None:
    """Writes the file of the library's present state; the caller is the writer.

    Raises OSError where the disk does not take it; the library is whole without it.
    """
    with store.reading() as connection:
        generation = lookup.generation(connection)
        index = build_index(connection, encoder)
    path = index_path(store.directory, encoder)
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256 = _write_atomically(index, path)
    with store.transaction(counts=False) as connection:
        connection.execute(
            sa.update(encoders_table)
            .where(encoders_table.c.id == encoder.id)
            .values(index_generation=generation, index_sha256=sha256)
        )


def index_state(store: Store, connection: Connection, encoder: EncoderRecord) -> str:
    """For status: "ready", "behind", "missing" or "damaged"; all but the first mend themselves."""
    sha256 = _sha256(index_path(store.directory, encoder))
    if encoder.index_generation is None or sha256 is None:
        return "missing"
    if sha256 != encoder.index_sha256:
        return "damaged"
    return "ready" if encoder.index_generation == lookup.generation(connection) else "behind"


def _write_atomically(index: FlatIndex, path: Path) -> bytes:
    """Gives the file's sha256. It holds its old content or all of the new, also after a power cut.

    Raises OSError.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        index.write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        sha256 = _sha256(temporary)
        assert sha256 is not None  # it was written just now
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself is in the folder's own pages
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return sha256


def _read_checked(path: Path, sha256: bytes | None) -> FlatIndex | None:
    # FAISS loads most bit flips without a word (346 of 360 tried), so the checksum decides
    if sha256 is None or _sha256(path) != sha256:
        return None
    return FlatIndex.read(path)


def _sha256(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
