"""Which box is the red one: attributes of boxes from their colours and from the encoder's view.

A box's crop is compared with "a photo of a red car" and with what else it could be: the query's
other things of the same kind, and the other colours. Where the attribute is a colour, the colours
of the box's own pixels have a say too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from indexer.records import Detection
from searchengine.boxes import Floats
from searchengine.colours import BASIC, basic_colours, colour_probabilities
from searchengine.conditions import Thing

Vector = npt.NDArray[np.float32]
EncodeTexts = Callable[[Sequence[str]], npt.NDArray[np.float32]]

_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a crop is compared with: (P, D) embeddings of phrases, the thing's own among them."""

    embeddings: npt.NDArray[np.float32]
    own: int


class Attributes:
    """Tells the things of one query apart that one detector's label cannot.

    `rivals` are, for a thing, the things of the query that the same boxes could be.
    """

    def __init__(
        self, rivals: Mapping[Thing, Sequence[Thing]], encode: EncodeTexts, logit_scale: float
    ) -> None:
        self._logit_scale = logit_scale
        self._choices: dict[Thing, _Choice] = {}
        self._by_view: dict[Thing, dict[int, float]] = {}
        for thing, others in rivals.items():
            phrases = _phrases(thing, others)
            if len(phrases) > 1:
                self._choices[thing] = _Choice(encode(phrases), 0)

    def decides(self, thing: Thing) -> bool:
        """Whether a box of the right label still may be another thing."""
        return thing in self._choices

    def look(self, views: Mapping[int, Vector]) -> None:
        """Takes in crops' embeddings, (D,) each by the detection's id, all at once."""
        if not views:
            return
        crops = np.stack(list(views.values()))  # [K, D]
        for thing, choice in self._choices.items():
            logits = self._logit_scale * (crops @ choice.embeddings.T)  # [K, P]
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            own = shares[:, choice.own] / shares.sum(axis=1)
            self._by_view[thing] = dict(zip(views, own.tolist(), strict=True))

    def probabilities(self, thing: Thing, detections: Sequence[Detection]) -> Floats:
        """How likely each box holds this thing, given that its label is right. (N,) in 0..1.

        Of a box whose crop was not looked at, only the colours are known.
        """
        if thing not in self._choices:
            return np.ones(len(detections))
        views = self._by_view.get(thing, {})
        by_view = np.array([views.get(detection.id, np.nan) for detection in detections])
        wanted = basic_colours(thing.attribute)
        coloured = np.array([bool(wanted and detection.colours) for detection in detections], bool)
        result = np.where(np.isnan(by_view), 0.5, by_view)
        if coloured.any():
            shares = [each.colours for each, has in zip(detections, coloured, strict=True) if has]
            by_pixels, view = colour_probabilities(shares, wanted), by_view[coloured]
            # the pixels know the colour, the view knows which part of the box is the thing
            both = np.sqrt(by_pixels * np.maximum(view, 0.05))
            result[coloured] = np.where(np.isnan(view), by_pixels, both)
        return result


def assign(probabilities: Floats) -> tuple[float, list[int]]:
    """The best one-to-one assignment of T things to N boxes.

    Args:
        probabilities: (T, N), how likely each thing is in each box.

    Returns the product over the things of their box's probability, and each thing's box; a thing
    that finds none has -1 and makes the product 0.
    """
    from scipy.optimize import linear_sum_assignment

    things, boxes = probabilities.shape
    if boxes == 0:
        return 0.0, [-1] * things
    rows, columns = linear_sum_assignment(-np.log(np.maximum(probabilities, _LEAST)))
    chosen = [-1] * things
    for row, column in zip(rows, columns, strict=True):
        chosen[row] = int(column)
    if -1 in chosen:
        return 0.0, chosen
    return float(np.prod([probabilities[row, at] for row, at in enumerate(chosen)])), chosen


def _phrases(thing: Thing, rivals: Sequence[Thing]) -> list[str]:
    """The thing's own phrase first, then what the crop could show instead."""
    phrases = [_phrase(thing)]
    phrases += [_phrase(rival) for rival in rivals if rival != thing]
    own = basic_colours(thing.attribute)
    if own:
        phrases += [_phrase(Thing(thing.noun, name)) for name in BASIC if name not in own]
    elif thing.attribute:
        phrases.append(_phrase(Thing(thing.noun)))
    return list(dict.fromkeys(phrases))


def _phrase(thing: Thing) -> str:
    words = str(thing)
    article = "an" if words[:1].lower() in "aeiou" else "a"
    return f"a photo of {article} {words}"
