"""Attributes bound to boxes: which of two things is the red one."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import ColourEncoder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from indexer.records import Detection
from searchengine.binding import Attributes, assign
from searchengine.colours import colour_shares
from searchengine.conditions import Conditions, Thing
from searchengine.crops import crop
from searchengine.evidence import Judge
from searchengine.sighting import Picture

LEFT, RIGHT = (0.05, 0.2, 0.45, 0.8), (0.55, 0.2, 0.95, 0.8)
RED_CAR, BLUE_CAR = Thing("car", "red"), Thing("car", "blue")
ENCODER = ColourEncoder()


Views = dict[int, np.ndarray]


def two_cars(left: str, right: str) -> tuple[Picture, Views]:
    picture = Image.new("RGB", (200, 100), "white")
    detections, views = [], {}
    for id, (paint, box) in enumerate(((left, LEFT), (right, RIGHT)), start=1):
        inside = tuple(round(v * s) for v, s in zip(box, (200, 100, 200, 100), strict=True))
        picture.paste(
            Image.new("RGB", (inside[2] - inside[0], inside[3] - inside[1]), paint), inside
        )
        detections.append(Detection("car", 0.9, box, colour_shares(picture, box), id))
        views[id] = ENCODER.encode_images([crop(picture, box)])[0]
    return Picture(200, 100, detections), views


def judge(*things: Thing) -> Judge:
    rivals = {thing: [other for other in things if other != thing] for thing in things}
    attributes = Attributes(rivals, ENCODER.encode_texts, 100.0)
    return Judge(Conditions("cars", attributes=things), {"car": ["car"]}, attributes)


def chance(judge: Judge, left: str, right: str) -> float:
    picture, views = two_cars(left, right)
    judge.look(views)
    return judge.judge(picture).probability


def test_red_and_blue_are_found_and_red_and_green_are_not() -> None:
    both = judge(RED_CAR, BLUE_CAR)
    assert chance(both, "red", "blue") > 0.5
    assert chance(both, "blue", "red") > 0.5
    assert chance(both, "red", "green") < 0.1


def test_one_box_is_not_two_things() -> None:
    picture, _ = two_cars("red", "blue")
    alone = Picture(200, 100, picture.detections[:1])
    (part,) = judge(RED_CAR, BLUE_CAR).judge(alone).parts
    assert part.probability == 0.0
    assert "no car" in part.found


def test_a_picture_without_the_thing_says_which_is_lacking() -> None:
    (part,) = judge(RED_CAR, BLUE_CAR).judge(Picture(200, 100, [])).parts
    assert (part.probability, part.found) == (0.0, "no red car and no blue car seen")


def test_without_a_view_the_pixels_decide_and_without_both_nothing_is_known() -> None:
    picture, _ = two_cars("red", "blue")
    assert judge(RED_CAR, BLUE_CAR).judge(picture).probability > 0.5
    wooden = Attributes({Thing("car", "wooden"): []}, ENCODER.encode_texts, 100.0)
    assert wooden.probabilities(Thing("car", "wooden"), picture.detections).tolist() == [0.5, 0.5]


def test_the_boxes_of_a_binding_come_in_the_order_of_its_things() -> None:
    picture, views = two_cars("red", "blue")
    blue_first = judge(BLUE_CAR, RED_CAR)
    blue_first.look(views)
    (part,) = blue_first.judge(picture).parts
    assert [box.box_xyxy for box in part.boxes] == [RIGHT, LEFT]


def test_a_crop_is_the_box_and_a_little_more_within_the_picture() -> None:
    picture = Image.new("RGB", (100, 100))
    assert crop(picture, (0.0, 0.25, 0.5, 0.75)).size == (54, 58)
    assert crop(picture, (0.5, 0.5, 0.5001, 0.5001)).size == (1, 1)


@given(st.integers(1, 4), st.integers(0, 5), st.randoms(use_true_random=False))
def test_an_assignment_gives_every_thing_a_box_of_its_own(
    things: int, boxes: int, random: object
) -> None:
    chances = np.random.default_rng(random.randint(0, 10**6)).uniform(0.01, 1, (things, boxes))  # type: ignore[attr-defined]
    probability, chosen = assign(chances)
    taken = [at for at in chosen if at >= 0]
    assert len(set(taken)) == len(taken) == min(things, boxes)
    if things <= boxes:
        assert probability == pytest.approx(
            np.prod([chances[row, at] for row, at in enumerate(chosen)])
        )
    else:
        assert probability == 0.0
