"""Where one box lies to another: pictures in numbers. Boxes are pixels, y downwards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchengine.boxes import as_boxes
from searchengine.conditions import RelationName
from searchengine.relations import between, relation

CAT = (100, 100, 160, 160)


def holds(name: RelationName, subject: tuple[float, ...], object: tuple[float, ...]) -> float:
    return float(relation(name, as_boxes([subject]), as_boxes([object]))[0])


CLEAR: list[tuple[RelationName, tuple[float, ...], tuple[float, ...]]] = [
    ("left_of", CAT, (220, 110, 300, 170)),
    ("left_of", CAT, (165, 100, 225, 160)),  # side by side
    ("left_of", CAT, (400, 60, 600, 200)),
    ("right_of", (220, 110, 300, 170), CAT),
    ("above", CAT, (95, 200, 170, 260)),
    ("below", (95, 200, 170, 260), CAT),
    ("on", CAT, (60, 150, 220, 260)),  # on a table
    ("on", (110, 60, 150, 130), CAT),  # a bird on a cat
    ("on", (100, 100, 200, 180), (40, 60, 320, 260)),  # on a sofa, whose back is behind
    ("under", (120, 190, 180, 250), (60, 120, 240, 255)),  # a dog under a bench
    ("under", (100, 120, 150, 300), (60, 60, 200, 160)),  # somebody under an umbrella
    ("next_to", CAT, (170, 105, 240, 170)),
    ("next_to", CAT, (30, 80, 95, 160)),
    ("in_front_of", (120, 130, 170, 220), (60, 80, 260, 200)),  # a child before a car
    ("behind", (60, 80, 260, 200), (120, 130, 170, 220)),
    ("inside", (120, 120, 150, 150), (90, 90, 200, 190)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "subject", "object"), CLEAR)
def test_what_is_plainly_so_holds(
    name: RelationName, subject: tuple[float, ...], object: tuple[float, ...]
) -> None:
    assert holds(name, subject, object) > 0.6


CONTRARY: dict[RelationName, RelationName] = {
    "left_of": "right_of",
    "right_of": "left_of",
    "above": "below",
    "below": "above",
    "on": "under",
    "under": "on",
    "in_front_of": "behind",
    "behind": "in_front_of",
}


@pytest.mark.parametrize(("name", "subject", "object"), [c for c in CLEAR if c[0] in CONTRARY])
def test_what_is_plainly_so_is_not_the_contrary(
    name: RelationName, subject: tuple[float, ...], object: tuple[float, ...]
) -> None:
    assert holds(CONTRARY[name], subject, object) < 0.2


FAR = (500, 400, 560, 460)


@pytest.mark.parametrize("name", ["on", "under", "next_to", "in_front_of", "behind", "inside"])
def test_things_far_apart_touch_in_no_way(name: RelationName) -> None:
    assert holds(name, CAT, FAR) < 0.05


def test_a_thing_diagonally_above_is_neither_clearly_left_nor_above() -> None:
    assert holds("left_of", CAT, (165, 400, 225, 460)) < 0.1
    assert holds("above", CAT, (400, 165, 460, 225)) < 0.1


positions = st.floats(0, 400)


@given(positions, positions, positions, positions, st.floats(20, 120), st.floats(20, 120))
def test_left_is_right_in_the_mirror_and_never_both(
    x: float, y: float, u: float, v: float, side: float, other: float
) -> None:
    a, b = as_boxes([(x, y, x + side, y + side)]), as_boxes([(u, v, u + other, v + other)])
    left = relation("left_of", a, b)[0]
    assert 0 <= left <= 1
    mirror = np.array([-1.0, 1, -1, 1])
    mirrored = [(box * mirror)[:, [2, 1, 0, 3]] for box in (a, b)]
    assert relation("right_of", *mirrored)[0] == pytest.approx(left, abs=1e-6)
    # both at once is impossible
    assert left * relation("right_of", a, b)[0] < 0.05


@given(st.floats(0.2, 5))
def test_the_size_of_the_picture_changes_nothing(scale: float) -> None:
    for name, subject, object in CLEAR:
        larger = holds(name, tuple(v * scale for v in subject), tuple(v * scale for v in object))
        assert larger == pytest.approx(holds(name, subject, object), abs=1e-6)


def test_between_two_things() -> None:
    left, right = as_boxes([(0, 100, 50, 150)]), as_boxes([(200, 110, 250, 160)])
    middle, aside, beyond = (
        as_boxes([box])
        for box in ((100, 100, 150, 150), (100, 400, 150, 450), (300, 100, 350, 150))
    )
    assert between(middle, left, right)[0, 0, 0] > 0.9
    assert between(aside, left, right)[0, 0, 0] < 0.1
    assert between(beyond, left, right)[0, 0, 0] < 0.05
    assert between(middle, right, left)[0, 0, 0] == pytest.approx(
        between(middle, left, right)[0, 0, 0]
    )
