"""Fakes of the protocols: real behaviour, small numbers. Nothing is patched anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from indexer.encoder import Embeddings
from indexer.errors import EncoderError
from indexer.records import Box, Detection

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
}


class ColourEncoder:
    """Embeds the mean colour of a picture's four quarters; a text is the colours it names.

    `seen` counts the pictures that were encoded; `fails_on` is the colour that raises, `nan_on`
    the one whose embedding is not a number.
    """

    def __init__(self, *, fails_on: str | None = None, nan_on: str | None = None) -> None:
        self.seen = 0
        self.batches: list[int] = []
        self._fails_on = COLOURS[fails_on] if fails_on else None
        self._nan_on = COLOURS[nan_on] if nan_on else None

    id = "colour/1"
    dimension = 13
    image_size_px = 8
    logit_scale = 100.0

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        rows = []
        for image in images:
            assert image.mode == "RGB", image.mode
            quarters = np.asarray(image.resize((2, 2), Image.Resampling.BOX), np.float32)
            mean = tuple(round(float(v)) for v in quarters.mean(axis=(0, 1)))
            if mean == self._fails_on:
                raise EncoderError("the fake was told to fail")
            row = self._row(quarters.reshape(-1))
            rows.append(np.full_like(row, np.nan) if mean == self._nan_on else row)
        self.seen += len(images)
        self.batches.append(len(images))
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        rows = []
        for text in texts:
            named = [COLOURS[word] for word in text.split() if word in COLOURS] or [(128,) * 3]
            rows.append(self._row(np.tile(np.mean(named, axis=0), 4)))
        return np.stack(rows)

    @staticmethod
    def _row(samples: np.ndarray) -> np.ndarray:
        centred = np.append(np.asarray(samples, np.float32) - 128.0, 32.0)  # never all zero
        return (centred / np.linalg.norm(centred)).astype(np.float32)


class ColourDetector:
    """Sees in a picture what `answers` say of its mean colour: (label, score, box) each.

    `looks` counts the pictures it was shown.
    """

    id = "colour-detector/1"
    labels = ("person", "dog", "cat", "car")
    image_size_px = 8

    def __init__(self, answers: Mapping[str, Sequence[tuple[str, float, Box]]]) -> None:
        self._answers = {COLOURS[name]: seen for name, seen in answers.items()}
        self.looks = 0

    def detect(self, images: Sequence[Image.Image]) -> list[tuple[Detection, ...]]:
        self.looks += len(images)
        found = []
        for image in images:
            mean = tuple(round(v) for v in np.asarray(image, np.float32).mean(axis=(0, 1)))
            found.append(tuple(Detection(*seen) for seen in self._answers.get(mean, ())))
        return found
