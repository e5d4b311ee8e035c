"""Box mathematics in NumPy. Boxes are xyxy, x to the right and y downwards, in one unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def as_boxes(boxes_xyxy: Sequence[Sequence[float]] | Floats) -> Floats:
    """Returns (N, 4) float64, also for no box at all."""
    return np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)


def centres(boxes_xyxy: Floats) -> Floats:
    """Returns (N, 2): x, y."""
    middle: Floats = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return middle


def sizes(boxes_xyxy: Floats) -> Floats:
    """Returns (N, 2): width, height; never below zero."""
    return np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None)


def areas(boxes_xyxy: Floats) -> Floats:
    """Returns (N,)."""
    width_and_height = sizes(boxes_xyxy)
    return width_and_height[:, 0] * width_and_height[:, 1]


def intersections(a_xyxy: Floats, b_xyxy: Floats) -> Floats:
    """Areas shared by each of N boxes with each of M. Returns (N, M)."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])  # [N, M, 2]
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    shared = np.clip(high - low, 0, None)
    common: Floats = shared[..., 0] * shared[..., 1]
    return common


def iou(a_xyxy: Floats, b_xyxy: Floats) -> Floats:
    """Intersection over union of each of N boxes with each of M. Returns (N, M) in 0..1."""
    shared = intersections(a_xyxy, b_xyxy)
    union = areas(a_xyxy)[:, None] + areas(b_xyxy)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def drop_duplicates(boxes_xyxy: Floats, scores: Floats, limit: float) -> npt.NDArray[np.intp]:
    """The boxes to keep, surest first: of two that overlap more than `limit`, the surer one."""
    kept: list[int] = []
    overlaps = iou(boxes_xyxy, boxes_xyxy)
    for at in np.argsort(-scores, kind="stable"):
        if not (overlaps[at, kept] > limit).any():
            kept.append(int(at))
    return np.array(kept, np.intp)


def clip_to_picture(boxes_xyxy: Floats) -> Floats:
    """Boxes in fractions, cut at the picture's edges. Returns (N, 4)."""
    return np.clip(boxes_xyxy, 0.0, 1.0)
