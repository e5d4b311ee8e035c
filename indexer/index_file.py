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
    ids, vectors = lookup.load_embeddings(connection, encoder)
    index = FlatIndex(encoder.dimension)
    index.add(ids, vectors)
    return index


def save_index(store: Store, encoder: EncoderRecord) -> None:
    """Writes the file of the library's present state; the caller is the writer.

    Raises OSError where the disk does not take it; the library is whole without it.
    """
    with store.reading() as connection:
        generation = lookup.generation(connection)
        data = build_index(connection, encoder).to_bytes()
    path = index_path(store.directory, encoder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    with store.transaction(counts=False) as connection:
        connection.execute(
            sa.update(encoders_table)
            .where(encoders_table.c.id == encoder.id)
            .values(index_generation=generation, index_sha256=hashlib.sha256(data).digest())
        )


def index_state(store: Store, connection: Connection, encoder: EncoderRecord) -> str:
    """For status: "ready", "behind", "missing" or "damaged"; all but the first mend themselves."""
    if encoder.index_generation is None:
        return "missing"
    path = index_path(store.directory, encoder)
    if not path.exists():
        return "missing"
    if _read_checked(path, encoder.index_sha256) is None:
        return "damaged"
    return "ready" if encoder.index_generation == lookup.generation(connection) else "behind"


def write_atomically(path: Path, data: bytes) -> None:
    """The file holds either its old content or all of the new one, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself is in the folder's own pages
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_checked(path: Path, sha256: bytes | None) -> FlatIndex | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    # FAISS loads most bit flips without a word (346 of 360 tried), so the checksum decides
    if hashlib.sha256(data).digest() != sha256:
        return None
    return FlatIndex.from_bytes(data)
