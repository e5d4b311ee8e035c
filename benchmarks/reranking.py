"""What re-ranking brings, against embeddings alone: precision@10 for each kind of condition.

    python benchmarks/reranking.py                    # people's boxes, then the starter detector
    python benchmarks/reranking.py --detector FOLDER  # another detector than the starter

(a) With boxes drawn by people (COCO, VOC) or known from the composition (scenes) in the place of a
detector, so that only our own logic can be wrong; (b) with a real detector; (c) recall@10 on plain
captions, which re-ranking must leave alone; (d) what it costs in time. A query's precision is
taken over its first 10 answers, or as many as there are right ones. Pictures whose truth is open
(a crowd, a relation that the composition does not decide) are taken out of the answers first.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import arguments, report
from PIL import Image
from reranking_cases import Boxes, Case, drawn_boxes, photograph_cases, scene_cases, table_rows
from scenes import Scene, compose

from indexer.detections import remember_detector, write_looks
from indexer.records import Detection, Filter
from searchengine.app import Library, open_library
from searchengine.colours import colour_shares
from searchengine.detector import Detector, LazyDetector
from searchengine.engine import Engine
from searchengine.look import LookOptions
from searchengine.query import parse
from searchengine.rerank import Reranker
from searchengine.vocabulary import vocabulary


def main() -> None:
    options = arguments(
        __doc__,
        data=(Path, Path("../shared/data"), "the photographs"),
        detector=(str, "starter", "the detector of part (b)"),
        captions=(int, 1000, "pictures of part (c)"),
        skip_captions=(int, 0, "1: without part (c)"),
        verbose=(int, 0, "1: every query's figures, on stderr"),
    )
    if not options.data.is_dir():
        raise SystemExit(f"There is no {options.data}; --data names the folder of the photographs.")
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="reranking-") as scratch:
        folder = Path(scratch)
        library = open_library(folder / "library", encoder="starter", detector=options.detector)
        scenes = compose(options.data / "stamps" / "images", folder / "scenes", options.seed)
        boxes = drawn_boxes(options.data)
        places = {
            "scenes": (folder / "scenes").resolve(),
            "coco": (options.data / "coco" / "images").resolve(),
            "voc": (options.data / "voc" / "images").resolve(),
        }
        library.index(*places.values())
        oracle = _Oracle(library, scenes, boxes, places)
        cases = [*scene_cases(scenes, places["scenes"]), *photograph_cases(boxes, places)]
        plain = _precisions(cases, _engine(library, None))
        checked = _precisions(cases, _engine(library, oracle.detector))
        rows += _table("oracle", cases, plain, checked, options.verbose)
        real = library.detector
        started = time.perf_counter()
        library.detect()
        pictures = len(scenes) + sum(len(files) for files in boxes.values())
        rate = pictures / (time.perf_counter() - started)
        checked = _precisions(cases, _engine(library, real))
        rows += _table(real.key, cases, plain, checked, options.verbose)
        print(f"{real.key} looked at {pictures:,} pictures, {rate:.1f} pictures/s", file=sys.stderr)
    if not options.skip_captions:
        rows += _captions(options.data, options.captions, options.detector)
    report("reranking", options.seed, rows)


# -- people's boxes as a detector


class _Oracle:
    """People's boxes, written into the library as if a detector had found them."""

    def __init__(
        self,
        library: Library,
        scenes: Sequence[Scene],
        boxes: dict[str, Boxes],
        places: dict[str, Path],
    ) -> None:
        of_path = {
            str(places["scenes"] / scene.file): [
                (thing.noun, thing.box_xyxy) for thing in scene.things
            ]
            for scene in scenes
        }
        for source, files in boxes.items():
            of_path |= {str(places[source] / file): things for file, things in files.items()}
        labels = sorted({label for things in of_path.values() for label, _ in things})
        self.labels = [label for label in labels if "(crowd)" not in label]
        store = library.store
        record = remember_detector(store, "oracle", "oracle", self.labels)
        engine = library.engine
        assert engine is not None
        everything = engine.search(
            parse("picture"), top_k=len(of_path) + 10, which=Filter(), rerank=False
        )
        contents = _contents(library)
        looks = {}
        for hit in everything.hits:
            picture = Image.open(hit.path).convert("RGB")
            looks[contents[hit.path]] = tuple(
                Detection(label, 1.0, box, colour_shares(picture, box))
                for label, box in of_path[hit.path]
                if "(crowd)" not in label
            )
        with store.writer():
            write_looks(store, record, looks)
        self.detector = LazyDetector("oracle", "oracle", _no_detector)


def _no_detector() -> Detector:
    raise SystemExit("Every picture has its boxes already; the oracle looks at none.")


def _contents(library: Library) -> dict[str, int]:
    from indexer.detections import contents_not_looked_at
    from indexer.lookup import images_of

    with library.store.reading() as connection:
        ids = contents_not_looked_at(connection, "nobody")
        return {record.path: record.content_id for record in images_of(connection, ids, Filter())}


# -- the measurements


def _engine(library: Library, detector: LazyDetector | None) -> Engine:
    found = library.engine
    assert found is not None
    options = LookOptions(library.settings.worker_count, library.settings.max_megapixels)

    def reranker() -> Reranker:
        assert detector is not None
        return Reranker(
            library.store, detector, found.record, found.encoder,
            vocabulary().detector_labels, options,
        )  # fmt: skip

    return Engine(
        library.store,
        found.record,
        found.encoder,
        max_megapixels=library.settings.max_megapixels,
        reranker=reranker if detector is not None else None,
        candidates=library.settings.candidates,
    )


def _precisions(cases: Sequence[Case], engine: Engine) -> list[float]:
    values = []
    for case in cases:
        result = engine.search(
            parse(case.query), top_k=200, which=Filter(under=(str(case.folder),))
        )
        answers = []
        for hit in result.hits:
            truth = case.truth(str(Path(hit.path).relative_to(_root(case))))
            if truth is not None:
                answers.append(truth)
        first = min(10, len(case.right))
        values.append(sum(answers[:first]) / first)
    return values


def _root(case: Case) -> Path:
    return case.folder.parent if case.source == "scenes" else case.folder


def _table(
    who: str, cases: Sequence[Case], plain: Sequence[float], checked: Sequence[float], verbose: int
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for case, before, after in zip(cases, plain, checked, strict=True):
        groups[case.verdict, case.source].append((before, after))
        if verbose:
            print(f"{who} {case.source} {before:.2f} {after:.2f} {len(case.right):4} {case.query}",
                  file=sys.stderr)  # fmt: skip
    return [
        {
            "boxes": who,
            "verdict": verdict,
            "pictures": source,
            "queries": len(values),
            "embeddings alone": sum(before for before, _ in values) / len(values),
            "re-ranked": sum(after for _, after in values) / len(values),
        }
        for (verdict, source), values in sorted(groups.items())
    ]


def _captions(data: Path, number: int, detector: str) -> list[dict[str, Any]]:
    """(c): recall@10 of captions on pictures that training never saw, with and without."""
    captions: dict[str, list[str]] = defaultdict(list)
    for row in table_rows(data / "flickr8k" / "captions.tsv"):
        captions[row["file"]].append(row["caption"])
    files = sorted(captions, key=lambda file: hashlib.sha256(file.encode()).hexdigest())[:number]
    with TemporaryDirectory(prefix="captions-") as scratch:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        for file in files:
            (pictures / file).symlink_to((data / "flickr8k" / "images" / file).resolve())
        library = open_library(Path(scratch) / "library", encoder="starter", detector=detector)
        library.index(pictures)
        library.detect()
        engine = _engine(library, library.detector)
        found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for file in files:
            for caption in captions[file]:
                query = parse(caption)
                demands = query.conditions is not None and not query.conditions.is_empty
                kind = "with a condition" if demands else "plain"
                hits = [
                    any(Path(hit.path).name == file for hit in engine.search(
                        query, top_k=10, which=Filter(), rerank=rerank).hits)
                    for rerank in (False, True)
                ]  # fmt: skip
                found[kind].append((hits[0], hits[1]))
    found["all"] = [pair for pairs in list(found.values()) for pair in pairs]
    return [
        {
            "boxes": detector,
            "verdict": "captions, recall@10",
            "pictures": f"flickr8k, {kind}",
            "queries": len(pairs),
            "embeddings alone": sum(before for before, _ in pairs) / len(pairs),
            "re-ranked": sum(after for _, after in pairs) / len(pairs),
        }
        for kind, pairs in sorted(found.items())
    ]


if __name__ == "__main__":
    main()
