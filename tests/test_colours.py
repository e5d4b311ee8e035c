"""The colours of a box's pixels, by name."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from searchengine.colours import BASIC, basic_colours, colour_probabilities, colour_shares

WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("paint", "name"),
    [
        ("#000000", "black"), ("#1a1a1a", "black"), ("#ffffff", "white"), ("#808080", "grey"),
        ("#e01010", "red"), ("#8b0000", "red"), ("#ff8800", "orange"), ("#ffd700", "yellow"),
        ("#20a030", "green"), ("#2040e0", "blue"), ("#87ceeb", "blue"), ("#8020a0", "purple"),
        ("#ffc0cb", "pink"), ("#ff69b4", "pink"), ("#8b4513", "brown"), ("#5c4033", "brown"),
    ],
)  # fmt: skip
def test_a_plain_colour_has_its_everyday_name(paint: str, name: str) -> None:
    shares = colour_shares(Image.new("RGB", (40, 30), paint), WHOLE)
    assert BASIC[max(range(len(BASIC)), key=lambda at: shares[at])] == name


def test_shares_are_those_of_the_box_alone() -> None:
    picture = Image.new("RGB", (100, 100), "blue")
    ImageDraw.Draw(picture).rectangle((60, 60, 99, 99), fill="red")
    red = colour_shares(picture, (0.6, 0.6, 1.0, 1.0))
    assert red[BASIC.index("red")] == 255
    assert colour_shares(picture, (0.0, 0.0, 0.5, 0.5))[BASIC.index("blue")] == 255


def test_a_red_thing_before_a_green_ground_is_called_red() -> None:
    picture = Image.new("RGB", (100, 100), "green")
    ImageDraw.Draw(picture).ellipse((15, 15, 85, 85), fill="red")
    shares = colour_shares(picture, WHOLE)
    (red,), (green,), (blue,) = (
        colour_probabilities([shares], (name,)) for name in ("red", "green", "blue")
    )
    assert red > 0.9
    assert blue < 0.1
    assert blue < green < 0.6


def test_boxes_are_weighed_each_by_itself() -> None:
    pictures = [Image.new("RGB", (20, 20), paint) for paint in ("red", "blue", "white")]
    shares = [colour_shares(picture, WHOLE) for picture in pictures]
    red, blue, white = colour_probabilities(shares, ("blue", "white"))
    assert red < 0.1
    assert min(blue, white) > 0.9


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("red", ("red",)), ("dark blue", ("blue",)), ("Grey", ("grey",)), ("gray", ("grey",)),
        ("ginger", ("orange", "brown")), ("little white", ("white",)), ("wooden", ()), ("", ()),
    ],
)  # fmt: skip
def test_a_colour_word_stands_for_basic_colours(attribute: str, expected: tuple[str, ...]) -> None:
    assert basic_colours(attribute) == expected


def test_every_colour_word_names_a_basic_colour() -> None:
    for name in BASIC:
        assert name in basic_colours(name)
