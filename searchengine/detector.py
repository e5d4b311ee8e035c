"""The seam between pictures and boxes: the `Detector` protocol.

The two runtimes live in `onnx_detector` and `torch_detector`; `detectors` picks and builds one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from indexer.errors import DetectorError
from indexer.records import Detection
from searchengine.boxes import Floats, areas, clip_to_picture, drop_duplicates

LEAST_SCORE = 0.1  # boxes below it are noise to every use here, and not kept


class Detector(Protocol):
    """Finds the things it knows in pictures.

    Attributes:
        id: model, weights and calibration, such as ``starter/1``; two detectors with one id see
            the same.
        labels: what it knows, each a singular English noun.
        image_size_px: what it looks at; a picture decoded below it loses detail.
    """

    @property
    def id(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def image_size_px(self) -> int: ...

    def detect(self, images: Sequence[Image.Image]) -> list[tuple[Detection, ...]]:
        """For each upright RGB image what is in it, surest first. Raises DetectorError."""
        ...


class LazyDetector:
    """A detector that is built when the first picture needs it: cached answers need no model."""

    def __init__(self, key: str, name: str, build: Callable[[], Detector]) -> None:
        self.key = key
        self.name = name
        self._build = build
        self._detector: Detector | None = None
        self._error: DetectorError | None = None
        self._lock = threading.Lock()

    def get(self) -> Detector:
        """Raises DetectorError, DetectorUnavailable; the second time without trying again."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._detector is None:
                try:
                    self._detector = self._build()
                except DetectorError as error:
                    self._error = error
                    raise
            return self._detector


def collect(
    labels: Sequence[str], scores: Floats, boxes_xyxy: Floats, *, duplicate_iou: float
) -> tuple[Detection, ...]:
    """One picture's detections from a DETR's raw answer.

    Args:
        scores: (Q, L) calibrated probabilities, a row for each query.
        boxes_xyxy: (Q, 4) fractions.
        duplicate_iou: of two boxes of one label that overlap more, the surer one stays.
    """
    boxes_xyxy = clip_to_picture(boxes_xyxy)
    has_area = areas(boxes_xyxy) > 0
    found = []
    for at, label in enumerate(labels):
        (queries,) = np.nonzero((scores[:, at] >= LEAST_SCORE) & has_area)
        kept = drop_duplicates(boxes_xyxy[queries], scores[queries, at], duplicate_iou)
        for query in queries[kept]:
            x0, y0, x1, y1 = (round(float(value), 5) for value in boxes_xyxy[query])
            found.append(Detection(label, round(float(scores[query, at]), 4), (x0, y0, x1, y1)))
    found.sort(key=lambda detection: -detection.score)
    return tuple(found)
