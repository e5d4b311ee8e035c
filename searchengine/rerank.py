"""Ranks candidates again by what a detector saw in them, where a query asks what CLIP cannot tell.

Candidates -> look at those not seen yet -> judge -> order. Only pictures are fetched here; what
the conditions mean for boxes stands in `evidence`.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sqlalchemy.engine import Connection

from indexer.detections import (
    contents_with_count,
    detections_of,
    find_detector,
    looked_at,
)
from indexer.encoder import LazyEncoder
from indexer.records import Detection, DetectorRecord, EncoderRecord
from indexer.store import Store
from searchengine.colours import colour_shares
from searchengine.conditions import Conditions, Thing, limits
from searchengine.crops import Crops
from searchengine.detector import LazyDetector
from searchengine.evidence import Judgement, Part
from searchengine.look import LookOptions, OnLook, look_at
from searchengine.plan import LabelsOf, Plan, Planner
from searchengine.retrieve import Candidate
from searchengine.sighting import Picture

# nats that a standard deviation of the cosine is worth beside the conditions: little for "three
# dogs", more the more words there are that only the embedding can tell ("... in deep snow")
EMBEDDING_WEIGHT = 0.25
EMBEDDING_WEIGHT_A_WORD = 0.4
_MOST_WORDS = 6


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its place among the others: `score` decides, the rest explains it."""

    content_id: int
    score: float  # log probability of the conditions plus the embedding's share: for ordering
    explanation: dict[str, Any]


@dataclass(slots=True)
class Reranked:
    """The candidates, best first, and what has to be said of the whole answer."""

    ranked: list[Ranked] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Reranker:
    """Holds what re-ranking needs: the library, a detector, the encoder, the words."""

    def __init__(
        self,
        store: Store,
        detector: LazyDetector,
        record: EncoderRecord,
        encoder: LazyEncoder,
        labels_of: LabelsOf,
        options: LookOptions,
    ) -> None:
        self.store = store
        self.detector = detector
        self.record = record
        self.encoder = encoder
        self.labels_of = labels_of
        self._planner = Planner(labels_of, encoder)
        self._crops = Crops(store, record, encoder, options)
        self.options = options
        self.on_look: OnLook = lambda _done, _total: None

    # -- candidates from the whole library

    def meeting(self, connection: Connection, conditions: Conditions) -> set[int] | None:
        """Contents already looked at that meet the conditions, counted in SQL.

        None where nothing can be said: no picture was looked at, or no noun is known.
        """
        detector = find_detector(connection, self.detector.key)
        if detector is None:
            return None
        found: set[int] | None = None
        for labels, least, most in self._numbers(conditions, detector.labels):
            some = contents_with_count(connection, detector, labels, at_least=least, at_most=most)
            found = some if found is None else found & some
        return found

    def _numbers(
        self, conditions: Conditions, known: Sequence[str]
    ) -> list[tuple[tuple[str, ...], int, int | None]]:
        """Labels and how many of their boxes there must be at least and at most."""
        wanted: list[tuple[Thing, int, int | None]] = []
        flanked = {each.object for each in conditions.relations if each.relation == "between"}
        for count in conditions.counts:
            least, most = limits(count.op, count.n)
            # "two boys" are two people or more, and so are the people somebody is between
            is_whole_label = count.thing.noun in known and count.thing not in flanked
            is_whole_label &= not count.thing.attribute
            wanted.append((count.thing, least, most if is_whole_label else None))
        counted = {count.thing for count in conditions.counts}
        excluded = set(conditions.excluded)
        for thing in conditions.things:
            if thing in excluded:
                if not thing.attribute:
                    wanted.append((thing, 0, 0))
            elif thing not in counted:
                wanted.append((thing, 1, None))
        numbers = [(self.labels_of(thing.noun, known), low, high) for thing, low, high in wanted]
        return [entry for entry in numbers if entry[0]]

    def unknown(self, things: Sequence[Thing]) -> list[Thing]:
        """Those of the things whose noun is in no list; only the encoder may know them."""
        return [thing for thing in things if not self.labels_of(thing.noun, self._labels())]

    def _labels(self) -> Sequence[str]:
        with self.store.reading() as connection:
            detector = find_detector(connection, self.detector.key)
        return detector.labels if detector else self.detector.get().labels

    # -- ranking

    def rerank(
        self,
        conditions: Conditions,
        candidates: Sequence[Candidate],
        absent_cosines: Mapping[Thing, Mapping[int, float]],
        *,
        number: int,
    ) -> Reranked:
        """Orders the candidates by the conditions and the embedding; returns the best `number`.

        Args:
            absent_cosines: for excluded things, the cosine of each content with their name; used
                where the detector does not know them.

        Raises DetectorError where the detector cannot be had.
        """
        answer = Reranked()
        of_content = {candidate.content_id: candidate for candidate in candidates}
        detector, fresh, unseen = self._look(list(of_content), answer)
        plan = self._planner.plan(conditions, detector.labels if detector else ())
        seen = {**self._stored(detector, plan, list(of_content)), **fresh}
        wanted = {id: plan.crops_wanted(seen.get(id, ())) for id in of_content}
        plan.judge.look(self._crops.views(wanted, self.on_look))
        visible = {id: each for id, each in of_content.items() if id not in unseen}
        judgements = plan.judge.judge_all(
            [
                Picture(each.width_px, each.height_px, seen.get(content_id, ()))
                for content_id, each in visible.items()
            ]
        )
        judged = dict(zip(visible, judgements, strict=True))
        judged = self._with_absent(plan, conditions, absent_cosines, judged)
        self._note(plan, conditions, unseen, answer)
        answer.ranked = self._order(candidates, judged, unseen, plan, number)
        return answer

    def examine(
        self,
        conditions: Conditions,
        picture: Image.Image,
        detections: Sequence[Detection],
        cosine: float,
    ) -> tuple[dict[str, Any], list[str]]:
        """Judges one picture that need not be in the library: a hit's explanation, and notes.

        Raises DetectorError.
        """
        plan = self._planner.plan(conditions, self.detector.get().labels)
        numbered = [
            replace(each, id=number, colours=colour_shares(picture, each.box_xyxy))
            for number, each in enumerate(detections, start=1)
        ]
        views = self._crops.views_in(picture, plan.crops_wanted(numbered))
        answer = Reranked()
        self._note(plan, conditions, {}, answer)
        plan.judge.look(views)
        seen = Picture(picture.width, picture.height, numbered)
        return self._explanation(plan, plan.judge.judge(seen), cosine), answer.notes

    def _look(
        self, content_ids: Sequence[int], answer: Reranked
    ) -> tuple[DetectorRecord | None, dict[int, Sequence[Detection]], dict[int, str]]:
        """Looks at candidates not seen before. What could not be stored, and what not be seen."""
        with self.store.reading() as connection:
            detector = find_detector(connection, self.detector.key)
            known = looked_at(connection, detector, content_ids) if detector else set()
        missing = [content_id for content_id in content_ids if content_id not in known]
        unseen: dict[int, str] = {}
        fresh: dict[int, Sequence[Detection]] = {}
        if missing:
            built = self.detector.get()
            looks = look_at(
                self.store,
                built,
                self.detector.name,
                missing,
                self.options,
                on_look=self.on_look,
            )
            if looks.interrupted:
                raise KeyboardInterrupt
            unseen = looks.unseen
            if looks.not_kept:
                fresh = _numbered(looks.seen)
                answer.notes.append(
                    f"What the detector saw now is not kept ({looks.not_kept}): "
                    "the next search looks again."
                )
                if detector is None:
                    detector = DetectorRecord(0, built.id, self.detector.name, built.labels)
            with self.store.reading() as connection:
                detector = find_detector(connection, self.detector.key) or detector
        return detector, fresh, unseen

    def _stored(
        self, detector: DetectorRecord | None, plan: Plan, content_ids: Sequence[int]
    ) -> dict[int, list[Detection]]:
        if detector is None:
            return {}
        wanted = {label for labels in plan.labels.values() for label in labels}
        with self.store.reading() as connection:
            return detections_of(connection, detector, content_ids, wanted)

    # -- the order

    def _with_absent(
        self,
        plan: Plan,
        conditions: Conditions,
        absent_cosines: Mapping[Thing, Mapping[int, float]],
        judged: Mapping[int, Judgement],
    ) -> dict[int, Judgement]:
        """Adds what embeddings say of excluded things that the detector does not know."""
        result = dict(judged)
        for thing in conditions.excluded:
            if plan.labels.get(thing.noun) or thing not in absent_cosines:
                continue
            cosines = absent_cosines[thing]
            values = np.array([cosines.get(content_id, 0.0) for content_id in result])
            standard = _standardised(values)
            for content_id, deviation in zip(result, standard, strict=True):
                # a standard deviation above the candidates' mean is as likely there as not
                probability = float(1 / (1 + np.exp((deviation - 1.0) / 0.4)))
                part = Part("negation", f"no {thing}", probability, "by the embedding")
                result[content_id] = Judgement((*result[content_id].parts, part))
        return result

    def _note(
        self,
        plan: Plan,
        conditions: Conditions,
        unseen: Mapping[int, str],
        answer: Reranked,
    ) -> None:
        for noun, label in plan.guessed.items():
            answer.notes.append(f"{noun!r} was looked for as {label!r}, the nearest label.")
        excluded = set(conditions.excluded)
        unchecked = plan.judge.unchecked
        for things, how in (
            ([thing for thing in unchecked if thing in excluded], "judged by the embedding"),
            ([thing for thing in unchecked if thing not in excluded], "left to the embedding"),
        ):
            if things:
                answer.notes.append(
                    f"The detector {self.detector.key} does not know {_named(things)}: "
                    f"that was {how}."
                )
        for reason, pictures in Counter(unseen.values()).most_common():
            what = "1 picture" if pictures == 1 else f"{pictures} pictures"
            answer.notes.append(f"{what} could not be looked at: {reason}.")

    def _order(
        self,
        candidates: Sequence[Candidate],
        judged: Mapping[int, Judgement],
        unseen: Mapping[int, str],
        plan: Plan,
        number: int,
    ) -> list[Ranked]:
        cosines = {candidate.content_id: candidate.score for candidate in candidates}
        weight = _embedding_weight(plan.judge.conditions)
        ids = list(cosines)
        deviations = dict(
            zip(ids, _standardised(np.array([cosines[id] for id in ids])), strict=True)
        )
        logs = {content_id: judgement.log_evidence for content_id, judgement in judged.items()}
        unknown = float(np.mean(list(logs.values()))) if logs else 0.0  # neither for nor against
        totals = {id: logs.get(id, unknown) + weight * deviations[id] for id in ids}
        ids.sort(key=lambda content_id: (-totals[content_id], content_id))
        return [
            Ranked(id, round(totals[id], 6), self._explanation(plan, judged.get(id), cosines[id]))
            if id not in unseen
            else Ranked(id, round(totals[id], 6), self._not_seen(unseen[id], cosines[id]))
            for id in ids[:number]
        ]

    def _explanation(
        self, plan: Plan, judgement: Judgement | None, cosine: float
    ) -> dict[str, Any]:
        parts = judgement.parts if judgement else ()
        return {
            "detector": self.detector.key,
            "condition": round(judgement.probability, 4) if judgement and parts else None,
            "embedding": round(cosine, 6),
            "parts": [part.as_json() for part in parts],
            "not_checked": [str(thing) for thing in plan.judge.unchecked],
        }

    def _not_seen(self, reason: str, cosine: float) -> dict[str, Any]:
        return {
            "detector": self.detector.key,
            "condition": None,
            "embedding": round(cosine, 6),
            "parts": [],
            "not_checked": [f"the whole picture: {reason}"],
        }


def _named(things: Sequence[Thing]) -> str:
    nouns = list(dict.fromkeys(repr(thing.noun) for thing in things))
    more = f" and {len(nouns) - 5} more" if len(nouns) > 5 else ""
    return ", ".join(nouns[:5]) + more


def _numbered(seen: Mapping[int, Sequence[Detection]]) -> dict[int, Sequence[Detection]]:
    """With ids of their own, below zero, for what the store gave none."""
    ids = itertools.count(-1, -1)
    return {
        content_id: tuple(replace(each, id=next(ids)) for each in detections)
        for content_id, detections in seen.items()
    }


def _embedding_weight(conditions: Conditions) -> float:
    """Grows with the words of the content that no condition accounts for."""
    if conditions.is_absence_alone:
        return 0.0
    accounted = {word for thing in conditions.things for word in str(thing).lower().split()}
    accounted |= {word for each in conditions.relations for word in each.relation.split("_")}
    words = set(re.findall(r"[^\W\d_]{4,}", conditions.content.lower()))
    # a noun stands there in the plural: what it begins with tells it
    stems = tuple(word[:4] for word in accounted if len(word) > 2)
    left = {word for word in words if not word.startswith(stems)} if stems else words
    return EMBEDDING_WEIGHT + EMBEDDING_WEIGHT_A_WORD * min(len(left), _MOST_WORDS)


def _standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Deviations from the mean in standard deviations; zeros where all are equal."""
    spread = float(values.std()) if len(values) else 0.0
    if spread < 1e-9:
        return np.zeros_like(values)
    standard: npt.NDArray[np.float64] = (values - values.mean()) / spread
    return standard
