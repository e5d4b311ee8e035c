"""What a query's nouns mean to a detector, and which of its boxes the encoder must tell apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from indexer.encoder import LazyEncoder
from indexer.records import Detection
from searchengine.binding import Attributes, Vector
from searchengine.colours import basic_colours
from searchengine.conditions import Conditions, Thing
from searchengine.evidence import Judge
from searchengine.vocabulary import vocabulary

_CROPS_A_PICTURE = 6  # the surest boxes of each thing
_CROP_FROM = 0.2  # boxes below it are not worth the encoder's time
LabelsOf = Callable[[str, Sequence[str]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query's conditions are held against one detector's boxes."""

    judge: Judge
    labels: dict[str, tuple[str, ...]]  # by noun; () for what the detector does not know
    guessed: dict[str, str]  # noun -> the label that the encoder found nearest
    doubtful: frozenset[Thing]  # things whose boxes need the encoder's view

    def crops_wanted(self, detections: Sequence[Detection]) -> list[Detection]:
        """The boxes of one picture that are worth the encoder's view."""
        found: dict[int, Detection] = {}
        for thing in self.doubtful:
            names = self.labels[thing.noun]
            some = [d for d in detections if d.label in names and d.score >= _CROP_FROM]
            found.update({detection.id: detection for detection in some[:_CROPS_A_PICTURE]})
        return [detection for detection in found.values() if detection.id]


class Planner:
    """Makes plans; remembers the texts that the encoder has seen."""

    def __init__(self, labels_of: LabelsOf, encoder: LazyEncoder) -> None:
        self.labels_of = labels_of
        self.encoder = encoder
        self._texts: dict[str, Vector] = {}

    def plan(self, conditions: Conditions, known: Sequence[str]) -> Plan:
        """`known` are the detector's labels. Raises EncoderError."""
        things = conditions.things
        guessed: dict[str, str] = {}
        nouns = dict.fromkeys(thing.noun for thing in things)
        labels = {noun: self.labels_of(noun, known) for noun in nouns}
        taken = {label for some in labels.values() for label in some}
        for noun in nouns:
            nearest = None if labels[noun] else self._nearest_label(noun, known)
            # "a table without a tablecloth": the cloth is not the table
            if nearest is not None and nearest not in taken:
                labels[noun], guessed[noun] = (nearest,), nearest
        present = self._named_beside(conditions, known)
        labels |= {thing.noun: self.labels_of(thing.noun, known) for thing in present}
        # also those beside: of "men but no women" the crops must tell which is which
        every = (*things, *present)
        rivals = {
            thing: [
                other
                for other in every
                if other != thing and set(labels[other.noun]) & set(labels[thing.noun])
            ]
            for thing in every
            if labels[thing.noun]
        }
        doubtful = {thing for thing, others in rivals.items() if thing.attribute or others}
        attributes = None
        if doubtful:
            attributes = Attributes(
                {thing: rivals[thing] for thing in doubtful},
                self._encode_texts,
                self.encoder.get().logit_scale,
            )
        judge = Judge(conditions, labels, attributes, present)
        return Plan(judge, labels, guessed, frozenset(doubtful))

    def _named_beside(self, conditions: Conditions, known: Sequence[str]) -> list[Thing]:
        """Things that a negated query's positive part names and the detector knows.

        Only there: embeddings find "people" by themselves, but what is left of them once the
        pictures with cars are gone may show none.
        """
        if not conditions.excluded:
            return []
        spoken_of = {thing.noun for thing in conditions.things}
        words = re.findall(r"[^\W\d_]+", conditions.positive.lower())
        found: dict[tuple[str, ...], Thing] = {}
        at = 0
        while at < len(words):
            for length in (3, 2, 1):
                name = " ".join(words[at : at + length])
                is_colour = length == 1 and bool(basic_colours(name))  # "orange"
                labels = () if is_colour else self.labels_of(name, known)
                if labels and not spoken_of & {name, *labels}:
                    found.setdefault(labels, Thing(vocabulary().plurals.singular(name)))
                if labels:
                    break
            at += length
        return list(found.values())

    def _nearest_label(self, noun: str, known: Sequence[str]) -> str | None:
        """The label that means nearly the same to the text encoder.

        Nearly the same: nearer than nineteen of twenty labels are to the label next to them, so
        that the limit needs no number of its own for each encoder.
        """
        if len(known) < 3:
            return None
        labels = self._encode_texts([f"a photo of a {label}" for label in known])  # [L, D]
        (word,) = self._encode_texts([f"a photo of a {noun}"])
        between_labels = labels @ labels.T  # [L, L]
        np.fill_diagonal(between_labels, -1.0)
        limit = np.quantile(between_labels.max(axis=1), 0.95)
        similarities = labels @ word
        best = int(similarities.argmax())
        return known[best] if similarities[best] > limit else None

    def _encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        missing = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if missing:
            embeddings = self.encoder.get().encode_texts(missing)
            self._texts.update(zip(missing, embeddings, strict=True))
        return np.stack([self._texts[text] for text in texts])
