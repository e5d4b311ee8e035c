"""The built-in detector on ONNX Runtime: a folder with `detector.onnx` and `detector.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexer.errors import DetectorError
from indexer.records import Detection
from searchengine.boxes import Floats
from searchengine.detector import collect

_MEND = "Install searchengine again: pip install --force-reinstall --no-deps searchengine"


def read_card(folder: Path) -> dict[str, Any]:
    """What `detector.json` says: name, revision, labels, calibration. Raises DetectorError."""
    path = folder / "detector.json"
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DetectorError(
            f"The detector's card {path} cannot be read: {error}. {_MEND}"
        ) from error
    return card


def card_id(card: dict[str, Any]) -> str:
    return f"{card['name']}/{card['revision']}"


class OnnxDetector:
    """Runs the graph on the whole picture, squashed to a square; calibrates; drops duplicates."""

    def __init__(self, session: Any, card: dict[str, Any]) -> None:
        self._session = session
        self.id = card_id(card)
        self.labels = tuple(card["labels"])
        self.image_size_px = int(card["image_size_px"])
        by_label = card["calibration"]["by_label"]
        self._calibration: Floats = np.array([by_label[label] for label in self.labels])  # [L, 2]
        self._duplicate_iou = float(card["duplicate_iou"])

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> OnnxDetector:
        """Raises DetectorError for a missing or damaged file."""
        import onnxruntime

        card = read_card(folder)
        for name, expected in card["files"].items():
            path = folder / name
            try:
                found = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise DetectorError(f"{path} cannot be read: {error.strerror}. {_MEND}") from error
            if found != expected["sha256"]:
                raise DetectorError(f"{path} is damaged (its checksum differs). {_MEND}")
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            folder / "detector.onnx", options, providers=["CPUExecutionProvider"]
        )
        return cls(session, card)

    def detect(self, images: Sequence[Image.Image]) -> list[tuple[Detection, ...]]:
        """For each upright RGB image what is in it, surest first."""
        if not images:
            return []
        size = (self.image_size_px, self.image_size_px)
        pixels = np.stack(
            [np.asarray(image.resize(size, Image.Resampling.BILINEAR)) for image in images]
        )  # [N, H, W, 3]
        logits, boxes = self._session.run(["logits", "boxes_xyxy"], {"pixels": pixels})
        scale, bias = self._calibration[:, 0], self._calibration[:, 1]
        scores = 1 / (1 + np.exp(-(logits.astype(np.float64) * scale + bias)))  # [N, Q, L]
        return [
            collect(self.labels, *answer, duplicate_iou=self._duplicate_iou)
            for answer in zip(scores, boxes.astype(np.float64), strict=True)
        ]
