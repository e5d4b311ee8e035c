"""How long a search takes: the cold command, and by stage in a process that is warm.

The library holds random embeddings of the starter encoder's size: the time does not depend on
what they are, only on how many.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from common import arguments, median, report, run_command

from indexer import encoders
from indexer.pipeline import save_indexes
from indexer.records import Embedded, FileState, IndexSummary, PictureInfo
from indexer.store import Store
from searchengine import open_library

QUERIES = ("a dog on the beach", "sunset over the sea", "children at a birthday", "a red car")


def main() -> None:
    options = arguments(
        __doc__,
        pictures=(int, 100_000, "pictures in the large library; the small one has a hundredth"),
        repeats=(int, 7, "cold commands"),
        warm=(int, 50, "warm searches"),
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="searchengine-latency-") as temporary:
        for pictures in (options.pictures // 100, options.pictures):
            directory = Path(temporary) / str(pictures)
            fill(directory, pictures, options.seed)
            cold = [
                run_command(directory, "search", QUERIES[number % len(QUERIES)]).seconds * 1000
                for number in range(options.repeats)
            ]
            with open_library(directory, encoder="starter") as library:
                first = library.search(QUERIES[0]).took_ms
                warm = [
                    library.search(QUERIES[number % len(QUERIES)]).took_ms
                    for number in range(options.warm)
                ]
                half = str(Path("/photos/0000"))
                filtered = [library.search(QUERIES[0], under=[half]).took_ms for _ in range(10)]
            rows.append(
                {
                    "pictures": pictures,
                    "cold command ms": median(cold),
                    "first search ms": first["total"],
                    "warm embed ms": median([took["embed"] for took in warm]),
                    "warm search ms": median([took["search"] for took in warm]),
                    "warm total ms": median([took["total"] for took in warm]),
                    "with --under ms": median([took["total"] for took in filtered]),
                }
            )
    report("search_latency", options.seed, rows)


def fill(directory: Path, pictures: int, seed: int) -> None:
    """A library of random unit vectors, written as the pipeline writes."""
    random = np.random.default_rng(seed)
    store = Store(directory, create=True)
    spec = encoders.EncoderSpec("starter")
    with open_library(directory, encoder="starter") as library:
        dimension = library.encoder.get().dimension
    record = store.remember_encoder(encoders.encoder_id(spec), asdict(spec), dimension)
    for start in range(0, pictures, 1000):
        vectors = random.standard_normal((min(1000, pictures - start), dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        batch = [
            Embedded(
                FileState(f"/photos/{number // 1000:04d}/{number:07d}.jpg", 1, 1, 1),
                number.to_bytes(32, "big"),
                PictureInfo(4000, 3000, "JPEG", taken_at="2024-05-01T12:33:10"),
                vector.astype(np.float16),
            )
            for number, vector in enumerate(vectors, start=start)
        ]
        store.write(batch, record)
    save_indexes(store, IndexSummary())
    store.close()


if __name__ == "__main__":
    main()
