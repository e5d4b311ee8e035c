"""A query's middle stages: embed it, search the vectors, fetch what the hits are."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sqlalchemy.engine import Connection

from indexer import lookup
from indexer.encoder import Encoder
from indexer.errors import UsageError
from indexer.records import EncoderRecord, Filter, ImageRecord, Skipped
from indexer.vectors import VectorIndex
from searchengine.query import Term

Vector = npt.NDArray[np.float32]


def load_picture(subject: Path | Image.Image, target_px: int, max_megapixels: float) -> Image.Image:
    """An upright RGB picture from a path or from a Pillow picture, not much larger than its use.

    Raises UsageError.
    """
    # a search by text needs none of the codecs
    from indexer.decode import content_hash, decode, read_file, upright_rgb

    if isinstance(subject, Image.Image):
        return upright_rgb(subject.copy(), target_px=target_px)
    path = str(subject)
    if not os.path.exists(path):
        raise UsageError(f"There is no picture {path}. Check the spelling.")
    data = read_file(path)
    if isinstance(data, Skipped):
        raise UsageError(f"The picture {path} cannot be used: {data}")
    decoded = decode(
        path,
        data,
        sha256=content_hash(data),
        target_px=target_px,
        max_megapixels=max_megapixels,
    )
    if isinstance(decoded, Skipped):
        raise UsageError(f"The picture {path} cannot be used: {decoded}")
    return decoded.image


def encode_picture(subject: Path | Image.Image, encoder: Encoder, max_megapixels: float) -> Vector:
    """Returns (D,) float32, L2-normalised. Raises UsageError, EncoderError."""
    picture = load_picture(subject, encoder.image_size_px, max_megapixels)
    embedding: Vector = encoder.encode_images([picture])[0]
    return embedding


def encode_term(term: Term, encoder: Encoder, max_megapixels: float) -> Vector:
    """Returns (D,) float32, L2-normalised. Raises UsageError, EncoderError."""
    if not isinstance(term.subject, str):
        return encode_picture(term.subject, encoder, max_megapixels)
    embedding: Vector = encoder.encode_texts([term.subject])[0]
    return embedding


def weighted_sum(terms: Sequence[Term], embeddings: Sequence[Vector]) -> Vector:
    """Returns (D,) float32, L2-normalised. Raises UsageError where the terms cancel out."""
    total = np.sum(
        [term.weight * embedding for term, embedding in zip(terms, embeddings, strict=True)], axis=0
    )
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise UsageError("What is subtracted cancels out what is searched for; nothing is left.")
    unit: Vector = (total / length).astype(np.float32)
    return unit


def stored_embedding(connection: Connection, term: Term, encoder: EncoderRecord) -> Vector | None:
    """The embedding of a picture of the library, if the file is still the one indexed."""
    if not isinstance(term.subject, Path):
        return None
    try:
        info = os.stat(term.subject)
    except (OSError, ValueError):
        return None
    record = lookup.image_at(connection, os.path.abspath(term.subject))
    if record is None or (info.st_size, info.st_mtime_ns) != (record.size_bytes, record.mtime_ns):
        return None
    return lookup.embedding_of(connection, record.content_id, encoder)


def nearest(
    connection: Connection,
    index: VectorIndex,
    query: Vector,
    *,
    top_k: int,
    which: Filter,
    leave_out: str | None = None,
) -> list[tuple[ImageRecord, float]]:
    """The `top_k` files nearest to the query among those that pass the filter, best first.

    `leave_out` is the path of a file that may not answer (the picture searched by).
    """
    allowed = None if which.is_empty else lookup.contents_matching(connection, which)
    # one content more: the picture that is left out would take a place otherwise
    extra = 1 if leave_out is not None else 0
    ids, scores = index.search(query, top_k=top_k + extra, allowed=allowed)
    score_of = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    records = lookup.images_of(connection, ids.tolist(), which)
    found = [(record, score_of[record.content_id]) for record in records]
    found.sort(key=lambda item: (-item[1], item[0].path))  # equal scores: the same order each time
    if leave_out is not None:
        # the library may know the same file by a link
        real = os.path.realpath(leave_out)
        found = [item for item in found if os.path.realpath(item[0].path) != real]
    return found[:top_k]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A content that a query's conditions will be held against."""

    content_id: int
    score: float  # cosine with the query
    width_px: int
    height_px: int


def candidates(
    connection: Connection,
    index: VectorIndex,
    query: Vector,
    *,
    number: int,
    which: Filter,
    meeting: Collection[int] | None,
) -> list[Candidate]:
    """The `number` contents nearest to the query, and as many of those in `meeting`.

    `meeting` are contents known to meet the conditions, however far from the query.
    """
    allowed = None if which.is_empty else lookup.contents_matching(connection, which)
    ids, scores = index.search(query, top_k=number, allowed=allowed)
    cosines = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    if meeting:
        few = np.fromiter(meeting, np.int64, len(meeting))
        few = few if allowed is None else np.intersect1d(allowed, few)
        ids, scores = index.search(query, top_k=number, allowed=few)
        cosines |= dict(zip(ids.tolist(), scores.tolist(), strict=True))
    sizes = lookup.sizes_of(connection, list(cosines))
    # what left the library since the index was read has no size
    return [Candidate(id, score, *sizes[id]) for id, score in cosines.items() if id in sizes]
