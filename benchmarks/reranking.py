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

import csv
import hashlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import arguments, median, report
from PIL import Image
from scenes import COLOURS, COUNTED, PAIRS, RELATIONS, TINTED, Scene, compose

from indexer.detections import remember_detector, write_looks
from indexer.records import Detection, Filter
from searchengine.app import Library, open_library
from searchengine.boxes import as_boxes, sizes
from searchengine.colours import colour_shares
from searchengine.detector import Detector, LazyDetector
from searchengine.engine import Engine
from searchengine.look import LookOptions
from searchengine.query import parse
from searchengine.rerank import Reranker
from searchengine.vocabulary import vocabulary

NUMBERS = {1: "exactly one", 2: "two", 3: "three", 4: "four", 5: "five"}
FIVE = ("person", "car", "cat", "train", "bus")  # whose boxes in VOC people drew
PLURALS = {"person": "people", "sheep": "sheep", "bus": "buses"}
Truth = Callable[[str], bool | None]  # file -> right, wrong, open


@dataclass(frozen=True)
class Case:
    """A query, where it is asked, and which files are right."""

    verdict: str
    source: str
    query: str
    folder: Path
    files: tuple[str, ...]
    truth: Truth

    @property
    def right(self) -> set[str]:
        return {file for file in self.files if self.truth(file)}


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
        boxes = _drawn_boxes(options.data)
        places = {
            "scenes": folder / "scenes",
            "coco": (options.data / "coco" / "images").absolute(),
            "voc": (options.data / "voc" / "images").absolute(),
        }
        library.index(*places.values())
        oracle = _Oracle(library, scenes, boxes, places)
        cases = [*_scene_cases(scenes, places["scenes"]), *_photograph_cases(boxes, places)]
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
        rows += _latency(library, real, cases)
    if not options.skip_captions:
        rows += _captions(options.data, options.captions, options.detector)
    report("reranking", options.seed, rows)


# -- the truth


def _drawn_boxes(data: Path) -> dict[str, dict[str, list[tuple[str, tuple[float, ...]]]]]:
    """Source -> file -> (label, box), by people alone; crowds are kept under their own label."""
    found: dict[str, dict[str, list[tuple[str, tuple[float, ...]]]]] = {}
    for source in ("coco", "voc"):
        files = {path.name: [] for path in sorted((data / source / "images").iterdir())}
        for row in _table_rows(data / source / "boxes.tsv"):
            if float(row["score"]) < 1 or (source == "voc" and row["label"] not in FIVE):
                continue
            box = tuple(float(row[name]) for name in ("x0", "y0", "x1", "y1"))
            files[row["file"]].append((row["label"], box))
        found[source] = files
    return found


def _table_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


class _Oracle:
    """People's boxes, written into the library as if a detector had found them."""

    def __init__(
        self,
        library: Library,
        scenes: Sequence[Scene],
        boxes: dict[str, dict[str, list[tuple[str, tuple[float, ...]]]]],
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


# -- the queries


def _plural(noun: str, number: int) -> str:
    return noun if number == 1 else PLURALS.get(noun, f"{noun}s")


def _scene_cases(scenes: Sequence[Scene], folder: Path) -> Iterable[Case]:
    of = {scene.file: scene for scene in scenes}
    kinds = {kind: tuple(s.file for s in scenes if s.kind == kind) for kind in
             ("count", "place", "colour")}  # fmt: skip
    for noun in COUNTED:
        for number, word in NUMBERS.items():
            query = f"{word} {_plural(noun, number)}"
            yield Case("counting", "scenes", query, folder / "count", kinds["count"],
                       lambda f, n=noun, k=number: of[f].number(n) == k)  # fmt: skip
        query = f"at least four {_plural(noun, 4)}"
        yield Case("counting", "scenes", query, folder / "count", kinds["count"],
                   lambda f, n=noun: of[f].number(n) >= 4)  # fmt: skip
        for other in COUNTED:
            if other != noun:
                query = f"{_plural(noun, 2)} without {_plural(other, 2)}"
                yield Case("negation", "scenes", query, folder / "count", kinds["count"],
                           lambda f, n=noun, o=other: of[f].number(n) > 0 and not of[f].number(o))  # fmt: skip
    words = {name: name.replace("_", " ") for name in RELATIONS}
    words |= {"left_of": "to the left of", "right_of": "to the right of"}
    for subject, object in PAIRS:
        for relation in RELATIONS:
            query = f"{subject} {words[relation]} a {object}"
            if relation == "between":
                query = f"{subject} between two {_plural(object, 2)}"
            yield Case("spatial", "scenes", query, folder / "place", kinds["place"],
                       lambda f, p=(subject, object), r=relation:
                       of[f].says(r) if of[f].pair == p else False)  # fmt: skip
    for first, second in TINTED:
        for one in COLOURS:
            for two in COLOURS:
                if one != two:
                    wanted = {(first, one), (second, two)}
                    query = f"{one} {first} and {two} {second}"
                    yield Case("binding", "scenes", query, folder / "colour", kinds["colour"],
                               lambda f, w=wanted: {(t.noun, t.colour) for t in of[f].things} == w)  # fmt: skip


def _photograph_cases(
    boxes: dict[str, dict[str, list[tuple[str, tuple[float, ...]]]]], places: dict[str, Path]
) -> Iterable[Case]:
    for source, files in boxes.items():
        labels = (
            FIVE
            if source == "voc"
            else sorted(
                {
                    label
                    for things in files.values()
                    for label, _ in things
                    if "(crowd)" not in label
                }
            )
        )
        for label in labels:
            for number, word in list(NUMBERS.items())[:4]:
                case = Case("counting", source, f"{word} {_plural(label, number)}", places[source],
                            tuple(files), lambda f, l=label, k=number, b=files: _counts(b[f], l, k))  # fmt: skip
                if len(case.right) >= 3:
                    yield case
            for other in labels:
                if other == label:
                    continue
                query = f"{_plural(label, 2)} without {_plural(other, 2)}"
                case = Case("negation", source, query, places[source], tuple(files),
                            lambda f, l=label, o=other, b=files: _lacks(b[f], l, o))  # fmt: skip
                if len(case.right) >= 5 and any(_has(b, label) and _has(b, other) for b in files.values()):  # fmt: skip
                    yield case
                for relation, words in (("left_of", "to the left of"), ("right_of", "to the right of"),
                                        ("above", "above"), ("on", "on"), ("next_to", "next to")):  # fmt: skip
                    case = Case("spatial", source, f"{label} {words} a {other}", places[source],
                                tuple(files), lambda f, l=label, o=other, r=relation, b=files, s=source:
                                _stands(b[f], l, o, r, places[s] / f))  # fmt: skip
                    if len(case.right) >= 3:
                        yield case


def _has(things: Sequence[tuple[str, tuple[float, ...]]], label: str) -> bool:
    return any(name.startswith(label) for name, _ in things)


def _is_crowded(things: Sequence[tuple[str, tuple[float, ...]]], label: str) -> bool:
    return any(name.startswith(label) and "(crowd)" in name for name, _ in things)


def _counts(things: Any, label: str, number: int) -> bool | None:
    if _is_crowded(things, label):
        return None
    return sum(name == label for name, _ in things) == number


def _lacks(things: Any, label: str, other: str) -> bool | None:
    return _has(things, label) and not _has(things, other)


def _stands(things: Any, label: str, other: str, relation: str, path: Path) -> bool | None:
    """Plain rules with a margin: a pair that is clearly so is right, a pair nearly so is open."""
    if _is_crowded(things, label) or _is_crowded(things, other):
        return None
    width, height = _size(path)
    scale = (width, height, width, height)
    pixels = {
        name: as_boxes([[v * s for v, s in zip(box, scale, strict=True)] for n, box in things
                        if n == name]) for name in (label, other)
    }  # fmt: skip
    best: bool | None = False
    for s in pixels[label]:
        for o in pixels[other]:
            clear, near = _rule(relation, s, o)
            if clear:
                return True
            best = None if near else best
    return best


def _rule(relation: str, s: Any, o: Any) -> tuple[bool, bool]:
    (ws, hs), (wo, ho) = sizes(s[None])[0], sizes(o[None])[0]
    shared_y = min(s[3], o[3]) - max(s[1], o[1])
    shared_x = min(s[2], o[2]) - max(s[0], o[0])
    right = (o[0] + o[2] - s[0] - s[2]) / (ws + wo)  # of the mean widths
    below = (o[1] + o[3] - s[1] - s[3]) / (hs + ho)
    if relation in ("left_of", "right_of"):
        right = right if relation == "left_of" else -right
        return right > 0.6 and shared_y > 0.5 * min(hs, ho), right > 0.05
    if relation == "above":
        return below > 0.7 and shared_x > 0.4 * min(ws, wo), below > 0.05
    if relation == "on":
        foot = (s[3] - o[1]) / ho
        return 0 < foot < 0.6 and below > 0.2 and shared_x > 0.7 * ws, below > -0.2 and foot > -0.3
    gap = max(0.0, -shared_x)
    side_by_side = shared_y > 0.5 * min(hs, ho) and abs(right) > 0.6
    return side_by_side and gap < 0.15 * (ws + wo), gap < (ws + wo)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


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


def _latency(
    library: Library, detector: LazyDetector, cases: Sequence[Case]
) -> list[dict[str, Any]]:
    """(d): the stages of a query whose 200 candidates have all been looked at."""
    engine = _engine(library, detector)
    some = [case for case in cases if case.source == "voc"][:30]
    took = defaultdict(list)
    for _ in range(2):  # the first round warms up
        took.clear()
        for case in some:
            result = engine.search(parse(case.query), top_k=10, which=Filter())
            for stage, value in result.took_ms.items():
                took[stage].append(value)
    return [
        {
            "boxes": detector.key,
            "verdict": "latency",
            "pictures": "200 cached candidates: re-rank, total (ms)",
            "queries": len(some),
            "embeddings alone": median(took["rerank"]),
            "re-ranked": median(took["total"]),
        }
    ]


def _captions(data: Path, number: int, detector: str) -> list[dict[str, Any]]:
    """(c): recall@10 of captions on pictures that training never saw, with and without."""
    captions: dict[str, list[str]] = defaultdict(list)
    for row in _table_rows(data / "flickr8k" / "captions.tsv"):
        captions[row["file"]].append(row["caption"])
    files = sorted(captions, key=lambda file: hashlib.sha256(file.encode()).hexdigest())[:number]
    with TemporaryDirectory(prefix="captions-") as scratch:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        for file in files:
            (pictures / file).symlink_to((data / "flickr8k" / "images" / file).absolute())
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
