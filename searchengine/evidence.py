"""Holds a query's conditions against what a detector saw in one picture: probabilities, and why.

Pure reckoning: detections in, `Judgement` out. `rerank` fetches the one and ranks by the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log, prod
from typing import Any

import numpy as np

from indexer.records import Detection
from searchengine import counting
from searchengine.binding import Attributes, Vector, assign
from searchengine.boxes import Floats
from searchengine.conditions import Conditions, Count, Relation, RelationName, Thing
from searchengine.relations import between, relation
from searchengine.sighting import Picture, Sighting, sightings

# how often a part's probability says nothing, because the detector or the words were mistaken;
# chosen on captions whose counts and places a person wrote: docs/reranking.md
SLIP_RATE = 0.1
_HARDLY_THERE = 0.03  # a pair less likely than that is not worth its geometry
_UNSEEN_PRESENCE = 0.1  # what is named but not seen may still be there, small or hidden


@dataclass(frozen=True, slots=True)
class Part:
    """One condition, held against one picture."""

    verdict: str  # counting, spatial, binding, negation; semantic: named beside them
    asked: str
    probability: float  # that it holds, in 0..1
    found: str
    boxes: tuple[Detection, ...] = ()
    number: int | None = None  # of counted things

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "asked": self.asked,
            "probability": round(self.probability, 4),
            "found": self.found,
            "number": self.number,
            "boxes": [
                {"label": box.label, "score": box.score, "box": list(box.box_xyxy)}
                for box in self.boxes
            ],
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of all conditions that could be checked."""

    parts: tuple[Part, ...]

    @property
    def probability(self) -> float:
        """That all of them hold, each on its own account."""
        return prod(part.probability for part in self.parts)

    @property
    def log_evidence(self) -> float:
        """The same as a logarithm for ranking, each part trusted but for its slips."""
        return sum(log((1 - SLIP_RATE) * part.probability + SLIP_RATE / 2) for part in self.parts)


_InPicture = Mapping[Thing, Sighting]


class Judge:
    """Judges pictures by one query's conditions.

    `labels` names for each noun of the conditions the detector's labels it stands for; a noun that
    stands for none cannot be checked, and `unchecked` says so. `present` are things the query
    names beside its conditions: "a street with cars" of "a street with cars, no people".
    """

    def __init__(
        self,
        conditions: Conditions,
        labels: Mapping[str, Sequence[str]],
        attributes: Attributes | None = None,
        present: Sequence[Thing] = (),
    ) -> None:
        self.conditions = conditions
        self._present = present
        self._labels = {noun: frozenset(names) for noun, names in labels.items()}
        self._attributes = attributes

    @property
    def unchecked(self) -> tuple[Thing, ...]:
        """Things of the conditions that the detector does not know, each once."""
        named = self.conditions.things
        return tuple(thing for thing in named if not self._labels.get(thing.noun))

    def look(self, views: Mapping[int, Vector]) -> None:
        """Takes in the embeddings of boxes' crops, (D,) each by the detection's id."""
        if self._attributes is not None:
            self._attributes.look(views)

    def judge(self, picture: Picture) -> Judgement:
        return self.judge_all([picture])[0]

    def judge_all(self, pictures: Sequence[Picture]) -> list[Judgement]:
        """Judges many pictures in few steps: each step reckons for all of them at once."""
        conditions = self.conditions
        things = dict.fromkeys((*conditions.things, *self._present))
        of_thing = {thing: self._see(thing, pictures) for thing in things}
        everywhere = [
            {thing: of_thing[thing][at] for thing in things} for at in range(len(pictures))
        ]
        columns = [
            *(self._count(count, everywhere) for count in conditions.counts),
            *self._relations(everywhere),
            self._bindings(everywhere),
            *(self._absence(thing, everywhere) for thing in conditions.excluded),
            *(
                [_presence_beside(thing, seen[thing]) for seen in everywhere]
                for thing in self._present
            ),
        ]
        kept = [column for column in columns if column is not None]
        return [Judgement(tuple(column[at] for column in kept)) for at in range(len(pictures))]

    def _names(self, thing: Thing) -> frozenset[str]:
        return self._labels.get(thing.noun, frozenset())

    def _knows(self, thing: Thing) -> bool:
        return bool(self._names(thing))

    def _see(self, thing: Thing, pictures: Sequence[Picture]) -> list[Sighting]:
        attributes, weigh = self._attributes, None
        if attributes is not None and attributes.decides(thing):
            weigh = partial(attributes.probabilities, thing)
        return sightings(self._names(thing), pictures, weigh)

    # -- the four kinds of conditions

    def _count(self, count: Count, everywhere: Sequence[_InPicture]) -> list[Part] | None:
        if not self._knows(count.thing):
            return None
        op, n = count.op, count.n
        if self._is_flanked(count.thing) and op == "==" and n is not None:
            op, n = ">=", n + 1  # "a person between two people": there is one more of them
        asked = str(Count(count.thing, op, n))
        there = [seen[count.thing] for seen in everywhere]
        distributions = counting.number_distributions([each.probabilities for each in there])
        holds = counting.holds(distributions, op, n).tolist()
        numbers = counting.likeliest(distributions).tolist()
        return [
            Part("counting", asked, chance, f"{number} seen", each.detections[:number], number)
            for each, chance, number in zip(there, holds, numbers, strict=True)
        ]

    def _is_flanked(self, thing: Thing) -> bool:
        """Whether something of the same label must stand between two of these."""
        return any(
            wanted.relation == "between"
            and wanted.object == thing
            and self._names(wanted.subject) & self._names(thing)
            for wanted in self.conditions.relations
        )

    def _relations(self, everywhere: Sequence[_InPicture]) -> list[list[Part] | None]:
        columns = []
        betweens: dict[Thing, list[Thing]] = {}
        for wanted in self.conditions.relations:
            if wanted.relation == "between":
                betweens.setdefault(wanted.subject, []).append(wanted.object)
            else:
                columns.append(self._relation(wanted, everywhere))
        for subject, objects in betweens.items():
            columns.append(self._between(subject, objects, everywhere))
        return columns

    def _relation(self, wanted: Relation, everywhere: Sequence[_InPicture]) -> list[Part] | None:
        asked = f"{wanted.subject} {wanted.relation.replace('_', ' ')} {wanted.object}"
        known = [thing for thing in (wanted.subject, wanted.object) if self._knows(thing)]
        if len(known) < 2:
            return self._presence(asked, known, everywhere)
        pairs = [(seen[wanted.subject], seen[wanted.object]) for seen in everywhere]
        chances = [subject.highest * object.highest for subject, object in pairs]
        likely = [
            pair for pair, chance in zip(pairs, chances, strict=True) if chance >= _HARDLY_THERE
        ]
        fits = _fits(wanted.relation, likely)
        parts = []
        for (subject, object), chance, seen in zip(pairs, chances, everywhere, strict=True):
            if not (subject.detections and object.detections):
                lacking = _lacking((wanted.subject, wanted.object), seen)
                parts.append(Part("spatial", asked, 0.0, lacking))
            elif chance < _HARDLY_THERE:
                shown = subject.shown + object.shown
                parts.append(Part("spatial", asked, 0.0, "not both surely seen", shown))
            else:
                parts.append(_best_pair(asked, subject, object, next(fits)))
        return parts

    def _between(
        self, subject: Thing, objects: Sequence[Thing], everywhere: Sequence[_InPicture]
    ) -> list[Part] | None:
        named = " and ".join(map(str, objects)) if len(objects) > 1 else f"2 × {objects[0]}"
        asked = f"{subject} between {named}"
        first, second = (objects[0], objects[-1])
        known = [thing for thing in (subject, first, second) if self._knows(thing)]
        if len(known) < 3:
            return self._presence(asked, list(dict.fromkeys(known)), everywhere)
        return [self._best_triple(asked, (subject, first, second), seen) for seen in everywhere]

    def _best_triple(
        self, asked: str, things: tuple[Thing, Thing, Thing], seen: _InPicture
    ) -> Part:
        who, one, two = (seen[thing] for thing in things)
        if not (who.detections and one.detections and two.detections):
            return Part("spatial", asked, 0.0, _lacking(things, seen))
        fits = between(who.boxes_px, one.boxes_px, two.boxes_px)  # [N, M, K]
        chances = (
            fits
            * who.probabilities[:, None, None]
            * one.probabilities[None, :, None]
            * two.probabilities[None, None, :]
        )
        ids = [[id(d) for d in each.detections] for each in (who, one, two)]
        for left, right, shape in (
            (0, 1, (..., None)),
            (0, 2, (slice(None), None)),
            (1, 2, (None,)),
        ):
            same = np.equal.outer(ids[left], ids[right]).reshape(len(ids[left]), len(ids[right]))
            chances[np.broadcast_to(same[shape], chances.shape)] = 0.0
        if not chances.any():
            return Part("spatial", asked, 0.0, "too few seen", who.shown)
        at = np.unravel_index(int(chances.argmax()), chances.shape)
        boxes = (who.detections[at[0]], one.detections[at[1]], two.detections[at[2]])
        return Part("spatial", asked, float(chances[at]), f"fits {fits[at]:.0%}", boxes)

    def _presence(
        self, asked: str, known: Sequence[Thing], everywhere: Sequence[_InPicture]
    ) -> list[Part] | None:
        """What is left of a relation when one of its things cannot be seen: the other is there."""
        if not known:
            return None
        found = f"only looked for {' and '.join(map(str, known))}"
        parts = []
        for seen in everywhere:
            probability = prod(seen[thing].is_there for thing in known)
            boxes = tuple(box for thing in known for box in seen[thing].shown[:1])
            parts.append(Part("spatial", asked, probability, found, boxes))
        return parts

    def _bindings(self, everywhere: Sequence[_InPicture]) -> list[Part] | None:
        """Each thing in a box of its own, among those no count and no relation speaks of."""
        elsewhere = {count.thing for count in self.conditions.counts}
        for wanted in self.conditions.relations:
            elsewhere |= {wanted.subject, wanted.object}
        attributes = self.conditions.attributes
        things = [thing for thing in attributes if self._knows(thing) and thing not in elsewhere]
        if not things:
            return None
        asked = " and ".join(map(str, things))
        return [_own_boxes(asked, things, seen) for seen in everywhere]

    def _absence(self, thing: Thing, everywhere: Sequence[_InPicture]) -> list[Part] | None:
        if not self._knows(thing):
            return None
        parts = []
        for there in (seen[thing] for seen in everywhere):
            found = f"{len(there.seen)} seen" if there.seen else "none seen"
            parts.append(Part("negation", f"no {thing}", 1 - there.is_there, found, there.seen))
        return parts


def _fits(name: RelationName, pairs: Sequence[tuple[Sighting, Sighting]]) -> Iterator[Floats]:
    """How well each pair's N subjects and M objects stand in the relation: (N, M) for each."""
    if not pairs:
        return
    fits = relation(
        name,
        np.concatenate([np.repeat(one.boxes_px, len(two.boxes_px), axis=0) for one, two in pairs]),
        np.concatenate([np.tile(two.boxes_px, (len(one.boxes_px), 1)) for one, two in pairs]),
    )
    start = 0
    for one, two in pairs:
        shape = len(one.boxes_px), len(two.boxes_px)
        yield fits[start : start + shape[0] * shape[1]].reshape(shape)
        start += shape[0] * shape[1]


def _best_pair(asked: str, subject: Sighting, object: Sighting, fits: Floats) -> Part:
    chances = fits * subject.probabilities[:, None] * object.probabilities[None, :]  # [N, M]
    same = np.equal.outer([id(d) for d in subject.detections], [id(d) for d in object.detections])
    if same.all():
        return Part("spatial", asked, 0.0, "only one seen", subject.shown)
    chances[same] = 0.0  # a thing is in no relation to itself
    if not chances.any():
        return Part("spatial", asked, 0.0, "no pair fits", subject.shown + object.shown)
    best, other = divmod(int(chances.argmax()), len(object.detections))
    boxes = subject.detections[best], object.detections[other]
    found = f"fits {fits[best, other]:.0%}"
    return Part("spatial", asked, float(chances[best, other]), found, boxes)


def _own_boxes(asked: str, things: Sequence[Thing], seen: _InPicture) -> Part:
    lacking = [thing for thing in things if not seen[thing].detections]
    if lacking:
        return Part("binding", asked, 0.0, _lacking(things, seen))
    # two things of one label share their boxes
    boxes_of = {id(d): d for thing in things for d in seen[thing].detections}
    detections = list(boxes_of.values())
    column = {key: at for at, key in enumerate(boxes_of)}
    chances = np.zeros((len(things), len(detections)))  # [T, N]
    for row, thing in enumerate(things):
        columns = [column[id(detection)] for detection in seen[thing].detections]
        chances[row, columns] = seen[thing].probabilities
    probability, chosen = assign(chances)
    boxes = tuple(detections[at] for at in chosen if at >= 0)
    found = ", ".join(
        f"{thing} {chances[row, at]:.0%}" if at >= 0 else f"no {thing.noun}"
        for row, (thing, at) in enumerate(zip(things, chosen, strict=True))
    )
    return Part("binding", asked, probability, found, boxes)


def _presence_beside(thing: Thing, seen: Sighting) -> Part:
    probability = _UNSEEN_PRESENCE + (1 - _UNSEEN_PRESENCE) * seen.is_there
    found = "seen" if seen.shown else "not seen"
    return Part("semantic", str(thing), probability, found, seen.shown[:1])


def _lacking(things: Sequence[Thing], seen: _InPicture) -> str:
    lacking = dict.fromkeys(str(thing) for thing in things if not seen[thing].detections)
    return f"no {' and no '.join(lacking)} seen"
