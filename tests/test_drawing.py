"""Boxes drawn with characters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from searchengine.commands.drawing import COLUMNS, draw_boxes


def box(label: str, *corners: float) -> dict[str, object]:
    return {"label": label, "score": 0.9, "box": list(corners)}


def test_boxes_lie_where_they_lie_in_the_picture() -> None:
    lines = draw_boxes([box("cat", 0.05, 0.2, 0.4, 0.8), box("dog", 0.6, 0.2, 0.95, 0.8)], 400, 200)
    assert len({len(line) for line in lines}) == 1
    named = next(line for line in lines if "cat" in line)
    assert named.index("╔cat 0.90") < COLUMNS / 2 < named.index("╔dog 0.90")
    assert lines[0].startswith("┌") and lines[-1].endswith("┘")


def test_what_lies_in_another_thing_is_drawn_over_it() -> None:
    lines = draw_boxes([box("cup", 0.3, 0.3, 0.6, 0.7), box("table", 0, 0, 1, 1)], 300, 300)
    assert any("cup" in line for line in lines)
    assert any("table" in line for line in lines)


corner = st.floats(0, 1)


@given(
    st.lists(st.tuples(corner, corner, corner, corner), max_size=5),
    st.integers(1, 9000),
    st.integers(1, 9000),
)
def test_any_box_in_any_picture_can_be_drawn(
    corners: list[tuple[float, float, float, float]], width_px: int, height_px: int
) -> None:
    boxes = [box("thing", min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    lines = draw_boxes(boxes, width_px, height_px)
    assert 4 <= len(lines) <= 12
    assert {len(line) for line in lines} == {len(lines[0])}
