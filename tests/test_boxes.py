"""Box mathematics: the laws it keeps for any boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from searchengine.boxes import (
    areas,
    as_boxes,
    clip_to_picture,
    drop_duplicates,
    iou,
)

fractions = st.floats(0, 1, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    x0, x1 = sorted((draw(fractions), draw(fractions)))
    y0, y1 = sorted((draw(fractions), draw(fractions)))
    return np.array([[x0, y0, x1, y1]])


@given(boxes(), boxes())
def test_iou_is_the_same_both_ways_and_between_nothing_and_all(
    a: np.ndarray, b: np.ndarray
) -> None:
    assert iou(a, b)[0, 0] == iou(b, a)[0, 0]
    assert 0 <= iou(a, b)[0, 0] <= 1 + 1e-9


@given(boxes())
def test_a_box_with_area_overlaps_itself_wholly(box: np.ndarray) -> None:
    assert iou(box, box)[0, 0] == (1.0 if areas(box)[0] > 0 else 0.0)


def test_iou_of_known_boxes() -> None:
    left = as_boxes([(0, 0, 2, 2)])
    others = as_boxes([(1, 0, 3, 2), (2, 0, 4, 2), (0, 0, 1, 1)])
    np.testing.assert_allclose(iou(left, others), [[1 / 3, 0, 1 / 4]])


def test_no_box_at_all_is_fine() -> None:
    assert iou(as_boxes([]), as_boxes([(0, 0, 1, 1)])).shape == (0, 1)
    assert drop_duplicates(as_boxes([]), np.array([]), 0.5).tolist() == []


def test_of_two_boxes_on_one_thing_the_surer_one_stays() -> None:
    pair = as_boxes([(0, 0, 1, 1), (0, 0, 1, 0.9), (2, 2, 3, 3)])
    assert drop_duplicates(pair, np.array([0.4, 0.9, 0.5]), 0.6).tolist() == [1, 2]


def test_boxes_stay_in_the_picture() -> None:
    box = as_boxes([(-0.2, 0.5, 1.3, 1.0)])
    assert clip_to_picture(box).tolist() == [[0, 0.5, 1, 1]]
