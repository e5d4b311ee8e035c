"""Numbers from boxes with probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchengine.boxes import Floats
from searchengine.conditions import Operator, limits
from searchengine.counting import holds, likeliest, number_distributions


def distributions(of_pictures: list[list[float]]) -> Floats:
    return number_distributions([np.array(some) for some in of_pictures])


def count_probability(probabilities: list[float], operator: Operator, n: int | None) -> float:
    return float(holds(distributions([probabilities]), operator, n)[0])


def likeliest_number(probabilities: list[float]) -> int:
    return int(likeliest(distributions([probabilities]))[0])


chances = st.lists(st.floats(0, 1), max_size=12)


@given(chances)
def test_the_numbers_share_one_probability(probabilities: list[float]) -> None:
    (distribution,) = distributions([probabilities])
    assert len(distribution) == len(probabilities) + 1
    assert distribution.sum() == pytest.approx(1)
    assert distribution.min() >= 0


@given(chances, st.integers(0, 13))
def test_exactly_more_and_fewer_are_all_there_is(probabilities: list[float], n: int) -> None:
    parts = [count_probability(probabilities, op, n) for op in ("==", ">", "<")]
    assert sum(parts) == pytest.approx(1)
    at_least = count_probability(probabilities, ">=", n)
    assert at_least == pytest.approx(parts[0] + parts[1])
    assert count_probability(probabilities, "<=", n) == pytest.approx(parts[0] + parts[2])


@given(chances)
def test_the_order_of_the_boxes_is_all_the_same(probabilities: list[float]) -> None:
    assert count_probability(probabilities, "==", 2) == pytest.approx(
        count_probability(sorted(probabilities), "==", 2)
    )


def test_two_sure_boxes_and_a_doubtful_one() -> None:
    boxes = [1.0, 1.0, 0.25]
    assert count_probability(boxes, "==", 2) == pytest.approx(0.75)
    assert count_probability(boxes, "==", 3) == pytest.approx(0.25)
    assert count_probability(boxes, ">=", 2) == pytest.approx(1)
    assert count_probability(boxes, "<", 2) == pytest.approx(0)
    assert likeliest_number(boxes) == 2


def test_many_doubtful_boxes_are_weighed_together() -> None:
    # five boxes at 0.4: two are likeliest, though not one passes a threshold of a half
    assert likeliest_number([0.4] * 5) == 2
    assert count_probability([0.4] * 5, ">=", 1) == pytest.approx(1 - 0.6**5)


def test_how_many_asks_for_any_number_but_none() -> None:
    assert count_probability([0.5, 0.5], "?", None) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [("==", (3, 3)), (">=", (3, None)), ("<=", (0, 3)), (">", (4, None)), ("<", (0, 2))],
)
def test_limits_of_a_condition(operator: str, expected: tuple[int, int | None]) -> None:
    assert limits(operator, 3) == expected  # type: ignore[arg-type]


def test_fewer_than_none_is_met_by_no_number() -> None:
    assert limits("<", 0) == (0, -1)
    assert count_probability([0.5], "<", 0) == 0


@given(st.lists(chances, max_size=5))
def test_pictures_with_fewer_boxes_are_not_disturbed_by_those_with_more(
    of_pictures: list[list[float]],
) -> None:
    together = distributions(of_pictures)
    assert len(together) == len(of_pictures)
    for row, probabilities in zip(together, of_pictures, strict=True):
        (alone,) = distributions([probabilities])
        assert row[: len(alone)] == pytest.approx(alone)
        assert row[len(alone) :].sum() == 0
