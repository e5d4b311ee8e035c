"""What of a picture's detections may be one thing of the query, and how surely."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.records import Detection
from searchengine.boxes import Floats, drop_duplicates

_SAME_OBJECT_IOU = 0.7  # boxes of two labels that both stand for the noun: one thing
_SEEN_FROM = 0.5  # more likely than not
_SHOWN_FROM = 0.3  # boxes below it are weighed, but not drawn


@dataclass(frozen=True, slots=True)
class Picture:
    """A candidate and what was seen in it."""

    width_px: int
    height_px: int
    detections: Sequence[Detection]


@dataclass(frozen=True, slots=True)
class Sighting:
    """The boxes that may be one thing of the query, surest first."""

    detections: tuple[Detection, ...]
    probabilities: Floats  # (N,)
    boxes_px: Floats  # (N, 4)

    @property
    def is_there(self) -> float:
        return float(1 - np.prod(1 - self.probabilities))

    @property
    def highest(self) -> float:
        return float(self.probabilities.max(initial=0.0))

    @property
    def seen(self) -> tuple[Detection, ...]:
        """The boxes that are there more likely than not."""
        return self.detections[: int((self.probabilities >= _SEEN_FROM).sum())]

    @property
    def shown(self) -> tuple[Detection, ...]:
        pairs = zip(self.detections, self.probabilities, strict=True)
        return tuple(detection for detection, p in pairs if p >= _SHOWN_FROM)


NOTHING = Sighting((), np.zeros(0), np.zeros((0, 4)))


def sightings(
    labels: Collection[str],
    pictures: Sequence[Picture],
    weigh: Callable[[Sequence[Detection]], Floats] | None = None,
) -> list[Sighting]:
    """For each picture the boxes of these labels; `weigh` makes (N,) factors of their scores.

    All pictures' boxes are reckoned in one go.
    """
    found = [[each for each in picture.detections if each.label in labels] for picture in pictures]
    detections = [detection for some in found for detection in some]
    if not detections:
        return [NOTHING] * len(pictures)
    numbers = [len(some) for some in found]
    sizes_px = np.array([(picture.width_px, picture.height_px) * 2 for picture in pictures])
    boxes = np.array([detection.box_xyxy for detection in detections])  # [N, 4]
    boxes *= np.repeat(sizes_px, numbers, axis=0)  # in pixels: both axes have one unit
    scores = np.array([detection.score for detection in detections])
    probabilities = scores if weigh is None else scores * weigh(detections)
    answer = []
    for some, end in zip(found, np.cumsum(numbers).tolist(), strict=True):
        if not some:
            answer.append(NOTHING)
            continue
        here = slice(end - len(some), end)
        kept = np.arange(len(some))
        if len(labels) > 1 and len(some) > 1:
            kept = drop_duplicates(boxes[here], scores[here], _SAME_OBJECT_IOU)
        if weigh is not None:
            kept = kept[np.argsort(-probabilities[here][kept], kind="stable")]
        those = tuple(some[at] for at in kept)
        answer.append(Sighting(those, probabilities[here][kept], boxes[here][kept]))
    return answer
