"""The DETR family through transformers: DETR, RT-DETR, D-FINE and whatever loads like them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexer.errors import DetectorError, DetectorUnavailable
from indexer.records import Detection
from searchengine.detector import collect

_DUPLICATE_IOU = 0.8  # a DETR gives one box a thing; of two nearly equal ones, one is a slip


def load_transformers() -> Any:
    """The library, without its chatter. Raises DetectorUnavailable where it is missing."""
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise DetectorUnavailable(
            "This detector needs transformers. Run: pip install transformers "
            "(or use the built-in one: --detector starter)"
        ) from error
    quiet: Any = logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return transformers


class TorchDetector:
    """A Hugging Face object detector."""

    def __init__(self, model: Any, processor: Any, *, id: str, device: str) -> None:
        self._model = model.eval().to(device)
        self._processor = processor
        self._device = device
        self.id = id
        names = model.config.id2label
        self._classes = len(names)
        # DETR lists COCO's unused numbers as "N/A", and has a class more than labels: "nothing"
        self._columns = [
            at for at in sorted(names) if names[at] and names[at].casefold() not in ("n/a", "none")
        ]
        self.labels = tuple(names[at] for at in self._columns)
        self.image_size_px = _image_size_px(processor)

    @classmethod
    def load(
        cls, source: str | Path, *, id: str, device: str = "cpu", local_only: bool = False
    ) -> TorchDetector:
        """From a hub repository or a folder of that layout.

        Raises DetectorUnavailable where it cannot be had, DetectorError for what is no detector.
        """
        transformers = load_transformers()
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(
                source, local_files_only=local_only
            )
            model = transformers.AutoModelForObjectDetection.from_pretrained(
                source, local_files_only=local_only
            )
        except OSError as error:
            first = str(error).strip().splitlines()[0]
            raise DetectorUnavailable(f"The detector {source} cannot be had: {first}") from error
        except (ValueError, RuntimeError, ImportError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise DetectorError(
                f"{source} is no detector that can be used here: {first}"
            ) from error
        return cls(model, processor, id=id, device=device)

    def detect(self, images: Sequence[Image.Image]) -> list[tuple[Detection, ...]]:
        """For each upright RGB image what is in it, surest first. Raises DetectorError."""
        if not images:
            return []
        import torch

        try:
            inputs = self._processor(images=list(images), return_tensors="pt").to(self._device)
            with torch.inference_mode():
                output = self._model(**inputs)
        except RuntimeError as error:  # out of memory, above all
            first = str(error).strip().splitlines()[0]
            raise DetectorError(f"{self.id} failed: {first}. Try --device cpu.") from error
        logits = output.logits.float()
        # DETR and YOLOS have a softmax with a class for "nothing", their heirs a focal loss
        has_nothing = logits.shape[-1] == self._classes + 1
        scores = logits.softmax(-1) if has_nothing else logits.sigmoid()
        # fractions of the picture itself, also where the processor padded it
        boxes = output.pred_boxes.float()  # [N, Q, 4]: centre and size
        boxes_xyxy = torch.cat(
            [boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1
        )
        scores_of = scores[..., self._columns].double().cpu().numpy()  # [N, Q, L]
        if not np.isfinite(scores_of).all():
            raise DetectorError(
                f"{self.id} answers with values that are no numbers. Try --device cpu."
            )
        return [
            collect(self.labels, *answer, duplicate_iou=_DUPLICATE_IOU)
            for answer in zip(scores_of, boxes_xyxy.double().cpu().numpy(), strict=True)
        ]


def _image_size_px(processor: Any) -> int:
    size = getattr(processor, "size", None) or {}
    values = [size.get(name) for name in ("shortest_edge", "height", "width")]
    return max((int(value) for value in values if value), default=640)
