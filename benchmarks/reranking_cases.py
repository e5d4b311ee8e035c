"""The queries of `reranking.py` and which pictures answer them: truth from boxes people drew."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from PIL import Image
from scenes import COLOURS, COUNTED, PAIRS, RELATIONS, TINTED, Scene

from searchengine.boxes import as_boxes, sizes

Things = list[tuple[str, tuple[float, ...]]]  # label, box in fractions
Boxes = dict[str, Things]  # by file
Truth = Callable[[str], bool | None]  # file -> right, wrong, open

NUMBERS = {1: "exactly one", 2: "two", 3: "three", 4: "four", 5: "five"}
FIVE = ("person", "car", "cat", "train", "bus")  # whose boxes in VOC people drew
WORDS = {name: name.replace("_", " ") for name in RELATIONS} | {
    "left_of": "to the left of",
    "right_of": "to the right of",
}
_PLURALS = {
    "person": "people",
    "sheep": "sheep",
    "bus": "buses",
    "knife": "knives",
    "couch": "couches",
    "bench": "benches",
    "wine glass": "wine glasses",
}
_CROWD = "(crowd)"


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


def table_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def drawn_boxes(data: Path) -> dict[str, Boxes]:
    """By source: boxes drawn by people alone; a crowd keeps its mark."""
    found: dict[str, Boxes] = {}
    for source in ("coco", "voc"):
        files: Boxes = {path.name: [] for path in sorted((data / source / "images").iterdir())}
        for row in table_rows(data / source / "boxes.tsv"):
            if float(row["score"]) < 1 or (source == "voc" and row["label"] not in FIVE):
                continue
            box = tuple(float(row[name]) for name in ("x0", "y0", "x1", "y1"))
            files[row["file"]].append((row["label"], box))
        found[source] = files
    return found


# -- scenes


def scene_cases(scenes: Sequence[Scene], folder: Path) -> Iterator[Case]:
    of = {scene.file: scene for scene in scenes}

    def case(verdict: str, kind: str, query: str, truth: Callable[[Scene], bool | None]) -> Case:
        files = tuple(scene.file for scene in scenes if scene.kind == kind)
        return Case(verdict, "scenes", query, folder / kind, files, lambda file: truth(of[file]))

    for noun in COUNTED:
        for number, word in NUMBERS.items():
            yield case("counting", "count", f"{word} {_plural(noun, number)}", _has(noun, number))
        yield case("counting", "count", f"at least four {_plural(noun)}", _has_at_least(noun, 4))
        for other in COUNTED:
            if other != noun:
                query = f"{_plural(noun)} without {_plural(other)}"
                yield case("negation", "count", query, _has_without(noun, other))
    for pair in PAIRS:
        for relation in RELATIONS:
            query = f"{pair[0]} {WORDS[relation]} a {pair[1]}"
            if relation == "between":
                query = f"{pair[0]} between two {_plural(pair[1])}"
            yield case("spatial", "place", query, _stands_so(pair, relation))
    for first, second in TINTED:
        for one, two in permutations(COLOURS, 2):
            query = f"{one} {first} and {two} {second}"
            yield case("binding", "colour", query, _is_coloured({(first, one), (second, two)}))


def _has(noun: str, number: int) -> Callable[[Scene], bool]:
    return lambda scene: scene.number(noun) == number


def _has_at_least(noun: str, number: int) -> Callable[[Scene], bool]:
    return lambda scene: scene.number(noun) >= number


def _has_without(noun: str, other: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.number(noun) > 0 and scene.number(other) == 0


def _stands_so(pair: tuple[str, str], relation: str) -> Callable[[Scene], bool | None]:
    return lambda scene: scene.says(relation) if scene.pair == pair else False


def _is_coloured(wanted: set[tuple[str, str]]) -> Callable[[Scene], bool]:
    return lambda scene: {(thing.noun, thing.colour) for thing in scene.things} == wanted


# -- photographs


def photograph_cases(boxes: dict[str, Boxes], places: dict[str, Path]) -> Iterator[Case]:
    """Queries with at least three right pictures (five for an absence)."""
    for source, files in boxes.items():
        drawn = {label for things in files.values() for label, _ in things}
        labels = (
            FIVE if source == "voc" else sorted(label for label in drawn if _CROWD not in label)
        )
        for case in _cases_of(source, files, places[source], labels):
            if len(case.right) >= (5 if case.verdict == "negation" else 3):
                yield case


def _cases_of(source: str, files: Boxes, folder: Path, labels: Sequence[str]) -> Iterator[Case]:
    def case(verdict: str, query: str, truth: Truth) -> Case:
        return Case(verdict, source, query, folder, tuple(files), truth)

    for label in labels:
        for number in (1, 2, 3, 4):
            query = f"{NUMBERS[number]} {_plural(label, number)}"
            yield case("counting", query, _counts(files, label, number))
    for label, other in permutations(labels, 2):
        both = [file for file, seen in files.items() if _shows(seen, label) and _shows(seen, other)]
        if len(both) >= 3:  # or nobody would be misled
            query = f"{_plural(label)} without {_plural(other)}"
            yield case("negation", query, _lacks(files, label, other))
        if both:
            for relation in ("left_of", "right_of", "above", "on", "next_to"):
                query = f"{label} {WORDS[relation]} a {other}"
                yield case("spatial", query, _stands(files, folder, label, other, relation))


def _plural(noun: str, number: int = 2) -> str:
    return noun if number == 1 else _PLURALS.get(noun, f"{noun}s")


def _shows(things: Things, label: str) -> bool:
    return any(name.startswith(label) for name, _ in things)


def _is_crowded(things: Things, label: str) -> bool:
    return any(name.startswith(label) and _CROWD in name for name, _ in things)


def _counts(files: Boxes, label: str, number: int) -> Truth:
    def truth(file: str) -> bool | None:
        if _is_crowded(files[file], label):
            return None
        return sum(name == label for name, _ in files[file]) == number

    return truth


def _lacks(files: Boxes, label: str, other: str) -> Truth:
    return lambda file: _shows(files[file], label) and not _shows(files[file], other)


def _stands(files: Boxes, folder: Path, label: str, other: str, relation: str) -> Truth:
    """Plain rules with a margin: a pair that is clearly so is right, a pair nearly so is open."""

    def truth(file: str) -> bool | None:
        things = files[file]
        if _is_crowded(things, label) or _is_crowded(things, other):
            return None
        if not (_shows(things, label) and _shows(things, other)):
            return False
        with Image.open(folder / file) as picture:
            size = picture.size
        subjects, objects = (
            as_boxes([box for name, box in things if name == wanted]) * (size * 2)  # in pixels
            for wanted in (label, other)
        )
        best: bool | None = False
        for subject in subjects:
            for object in objects:
                clear, near = _rule(relation, subject, object)
                if clear:
                    return True
                best = None if near else best
        return best

    return truth


def _rule(relation: str, s: Any, o: Any) -> tuple[bool, bool]:
    """Whether a pair of boxes is clearly so, and whether it may be so."""
    (ws, hs), (wo, ho) = sizes(s[None])[0], sizes(o[None])[0]
    shared_y = min(s[3], o[3]) - max(s[1], o[1])
    shared_x = min(s[2], o[2]) - max(s[0], o[0])
    right = (o[0] + o[2] - s[0] - s[2]) / (ws + wo)  # in mean widths
    below = (o[1] + o[3] - s[1] - s[3]) / (hs + ho)
    if relation in ("left_of", "right_of"):
        right = right if relation == "left_of" else -right
        return right > 0.6 and shared_y > 0.5 * min(hs, ho), right > 0.05
    if relation == "above":
        return below > 0.7 and shared_x > 0.4 * min(ws, wo), below > 0.05
    if relation == "on":
        foot = (s[3] - o[1]) / ho
        clear = 0 < foot < 0.6 and below > 0.2 and shared_x > 0.7 * ws
        return clear, below > -0.2 and foot > -0.3
    gap = max(0.0, -shared_x)
    side_by_side = shared_y > 0.5 * min(hs, ho) and abs(right) > 0.6
    return side_by_side and gap < 0.15 * (ws + wo), gap < ws + wo
