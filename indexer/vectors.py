"""Nearest neighbours: the `VectorIndex` protocol, and FAISS behind it with its traps guarded.

FAISS takes the same id twice, pads short answers with id -1 and stores NaN rows without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


class VectorIndex(Protocol):
    """Ids and unit vectors; the score is the dot product, which for unit vectors is the cosine."""

    def __len__(self) -> int: ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Adds N rows. Raises ValueError on a wrong shape, an id twice, or a non-finite row."""
        ...

    def search(
        self, query: Vectors, *, top_k: int, allowed: Ids | None = None
    ) -> tuple[Ids, Vectors]:
        """Returns ids and scores, best first, at most `top_k`, among `allowed` ids only."""
        ...


# waiting for a second thread that a model's threads still keep busy costs more than the search
# itself: 20 ms instead of 0.2 ms for 1,000 vectors on two cores, just after ONNX Runtime
_SMALL = 50_000


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """FAISS works with so many threads meanwhile; None: as many as it likes."""
    import faiss

    before = faiss.omp_get_max_threads()
    if number is not None:
        faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class FlatIndex:
    """Exact search over float16 rows, which is how the library keeps its embeddings anyway.

    Half the memory and file of float32 rows, and no loss against them.
    """

    def __init__(self, dimension: int) -> None:
        import faiss

        rows = faiss.IndexScalarQuantizer(
            dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._index: Any = faiss.IndexIDMap2(rows)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    @property
    def ids(self) -> Ids:
        import faiss

        return np.asarray(faiss.vector_to_array(self._index.id_map), np.int64)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        if vectors.shape != (len(ids), self.dimension):
            raise ValueError(f"vectors {vectors.shape} for {len(ids)} ids of {self.dimension}")
        if not np.isfinite(vectors).all():
            raise ValueError("a vector that is not finite")
        if not len(ids):
            return
        if ids.min() < 0:
            raise ValueError("a negative id")
        if len(np.unique(ids)) != len(ids) or np.isin(ids, self.ids).any():
            raise ValueError("an id that is there already")
        self._index.add_with_ids(np.ascontiguousarray(vectors, np.float32), ids)

    def search(
        self, query: Vectors, *, top_k: int, allowed: Ids | None = None
    ) -> tuple[Ids, Vectors]:
        import faiss

        top_k = min(top_k, len(self) if allowed is None else len(allowed))
        if top_k < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        parameters = None
        if allowed is not None:
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(allowed))  # type: ignore[call-arg]
        with _threads(1 if len(self) < _SMALL else None):
            scores, ids = self._index.search(
                np.ascontiguousarray(query.reshape(1, -1), np.float32), top_k, params=parameters
            )  # [1, top_k]
        found = ids[0] >= 0  # fewer rows than asked for are padded with -1
        return ids[0][found], scores[0][found]

    def vectors_of(self, ids: Ids) -> Vectors:
        """The rows of these ids, (N, D), all of which must be there. Raises KeyError."""
        try:
            rows: Vectors = self._index.reconstruct_batch(np.ascontiguousarray(ids, np.int64))
        except RuntimeError as error:  # FAISS knows no other
            raise KeyError("an id that is not there") from error
        return rows

    def write(self, path: Path) -> None:
        """Raises OSError."""
        import faiss

        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:  # FAISS knows no other
            raise OSError(f"{path} cannot be written: {error}") from error

    @classmethod
    def read(cls, path: Path) -> FlatIndex:
        """Reads what `write` wrote. The caller has checked the checksum: FAISS checks nothing."""
        import faiss

        flat = cls.__new__(cls)
        flat._index = faiss.read_index(str(path))
        return flat
