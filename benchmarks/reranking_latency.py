"""What re-ranking costs: 200 pictures not looked at before, and the same again from the store.

    python benchmarks/reranking_latency.py

On real photographs (VOC's, and no more than `--pictures` of them), with the starter models, in one
process. The first query of all waits for the detector; what a query costs later is the median over
the queries of one kind, and of its stages.
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import arguments, median, report

from searchengine.app import open_library

QUERIES = {
    "embeddings alone": ("people in a market", "cats asleep", "a train in the snow"),
    "counting": ("three people", "two cats", "at least two cars", "how many trains"),
    "spatial": ("a person left of a car", "a cat on a chair", "a person in front of a bus"),
    "negation": ("a street without cars", "a train, no people", "cats without people"),
    "binding": ("a red car and a white car", "a black cat and a white cat"),
}
STAGES = ("embed", "search", "rerank", "match", "total")


def main() -> None:
    options = arguments(
        __doc__,
        data=(Path, Path("../shared/data"), "the photographs"),
        pictures=(int, 1000, "how many of them"),
        rounds=(int, 5, "how often each query is asked"),
    )
    if not options.data.is_dir():
        raise SystemExit(f"There is no {options.data}; --data names the folder of the photographs.")
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="reranking-latency-") as scratch:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        for path in sorted((options.data / "voc" / "images").iterdir())[: options.pictures]:
            shutil.copy(path, pictures)
        library = open_library(Path(scratch) / "library", encoder="starter", detector="starter")
        library.index(pictures)
        library.search("warm up", rerank=False)
        started = time.perf_counter()
        library.search("three dogs")
        first_ms = (time.perf_counter() - started) * 1000
        rows.append({"query": "first, looks at 200", "asked": 1, "total": first_ms})
        library.detect()
        for kind, queries in QUERIES.items():
            took = defaultdict(list)
            for query in queries:
                library.search(query)  # crops and phrases are embedded once
                for _ in range(options.rounds):
                    for stage, value in library.search(query).took_ms.items():
                        took[stage].append(value)
            medians = {stage: median(took[stage]) if took[stage] else "" for stage in STAGES}
            rows.append({"query": kind, "asked": len(queries) * options.rounds, **medians})
    rows = [{"query": "", "asked": "", **dict.fromkeys(STAGES, "")} | row for row in rows]
    report("reranking_latency", options.seed, rows)


if __name__ == "__main__":
    main()
