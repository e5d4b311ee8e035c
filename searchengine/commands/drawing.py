"""Draws a hit's boxes with characters: where in the picture the detector saw what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = 48
_MOST_ROWS = 12
_ASPECT = 0.5  # a character is about twice as high as wide


def draw_boxes(boxes: Sequence[Mapping[str, Any]], width_px: int, height_px: int) -> list[str]:
    """The picture as a frame with its boxes in it, a line each.

    `boxes` hold a "label", a "score" and a "box": xyxy as fractions of the picture.
    """
    columns = COLUMNS
    rows = round(columns * height_px / max(width_px, 1) * _ASPECT)
    if rows > _MOST_ROWS:
        columns = max(12, round(columns * _MOST_ROWS / rows))
        rows = _MOST_ROWS
    rows = max(rows, 4)
    canvas = [[" "] * columns for _ in range(rows)]
    _frame(canvas, 0, 0, columns - 1, rows - 1, "┌┐└┘─│")
    inside = [box for box in boxes if box["score"] is not None]
    # the largest first, so that what lies in it is drawn over it
    for box in sorted(inside, key=lambda box: -_area(box["box"])):
        x0, y0, x1, y1 = box["box"]
        left, right = _span(x0, x1, columns)
        top, bottom = _span(y0, y1, rows)
        _frame(canvas, left, top, right, bottom, "╔╗╚╝═║")
        room = max(0, right - left - 1)
        name = f"{box['label']} {box['score']:.2f}"
        if len(name) > room:
            name = box["label"][:room]
        for offset, letter in enumerate(name):
            canvas[top][left + 1 + offset] = letter
    return ["".join(line) for line in canvas]


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _span(low: float, high: float, cells: int) -> tuple[int, int]:
    """First and last cell, at least two apart where there is room."""
    first = min(int(low * cells), cells - 2)
    last = min(max(int(high * cells), first + 1), cells - 1)
    return first, last


def _frame(canvas: list[list[str]], left: int, top: int, right: int, bottom: int, pen: str) -> None:
    for column in range(left, right + 1):
        canvas[top][column] = canvas[bottom][column] = pen[4]
    for row in range(top, bottom + 1):
        canvas[row][left] = canvas[row][right] = pen[5]
    corners = ((top, left), (top, right), (bottom, left), (bottom, right))
    for (row, column), corner in zip(corners, pen[:4], strict=True):
        canvas[row][column] = corner
