"""How well a pair of boxes stands in a relation, as seen from the camera: geometry alone.

Each relation is a product of soft conditions on boxes in pixels, 0..1, so that a near miss costs
little and a contradiction all. What people mean by the words follows Visual Genome's annotations
(Krishna et al. 2017) and the Visual Spatial Reasoning set (Liu et al. 2023), whose "left" and
"right" are the viewer's; lengths are measured in units of the two boxes' own mean size, as Logan
and Sadler (1996) do with their acceptability templates. "In front of" and "behind" have no sure
sign in a flat picture: of two things on one ground the nearer one ends lower and hides the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from searchengine.boxes import Floats, areas, centres, sizes
from searchengine.conditions import RelationName


def relation(name: RelationName, subjects_xyxy: Floats, objects_xyxy: Floats) -> Floats:
    """How well each of N subjects stands in the relation to the object beside it in the list.

    Both are (N, 4): all pairs of many pictures are reckoned in one call. "between" two things is
    `between`. Returns (N,) in 0..1.
    """
    return _RELATIONS[name](_Pairs(subjects_xyxy, objects_xyxy))


def between(subjects_xyxy: Floats, firsts_xyxy: Floats, seconds_xyxy: Floats) -> Floats:
    """How well each subject lies between each pair of things. Returns (N, M, K) in 0..1.

    Between is: on the way from one centre to the other, and not far off that way.
    """
    subject = centres(subjects_xyxy)[:, None, None, :]
    first = centres(firsts_xyxy)[None, :, None, :]
    second = centres(seconds_xyxy)[None, None, :, :]
    way = second - first  # [1, M, K, 2]
    length_squared = np.maximum((way**2).sum(axis=-1), 1e-9)
    along = ((subject - first) * way).sum(axis=-1) / length_squared  # [N, M, K]
    off = subject - (first + along[..., None] * way)
    far_off = np.sqrt((off**2).sum(axis=-1) / length_squared)
    inside: Floats = _above(along, 0.1, 0.05) * _above(1 - along, 0.1, 0.05)
    near_the_way: Floats = np.exp(-((far_off / 0.6) ** 2))
    return inside * near_the_way


class _Pairs:
    """What the relations ask of N pairs; lengths in the pair's mean size per axis. (N,) each."""

    def __init__(self, subjects: Floats, objects: Floats) -> None:
        self.subjects = subjects
        self.objects = objects
        self._size_s, self._size_o = sizes(subjects), sizes(objects)
        self._mean = np.maximum((self._size_s + self._size_o) / 2, 1e-9)  # [N, 2]
        # how far the object lies to the right of the subject, and below it
        offset = (centres(objects) - centres(subjects)) / self._mean
        self.right, self.below = offset[:, 0], offset[:, 1]

    # what only some relations ask: each is reckoned when it is asked

    @cached_property
    def _reach(self) -> Floats:
        """How far the boxes' spans reach into each other along x and y; below 0: apart. (N, 2)."""
        low = np.maximum(self.subjects[:, :2], self.objects[:, :2])
        reach: Floats = np.minimum(self.subjects[:, 2:], self.objects[:, 2:]) - low
        return reach

    @cached_property
    def gap(self) -> Floats:
        """Distance between the boxes along x and y, (N, 2)."""
        distance: Floats = np.clip(-self._reach, 0, None) / self._mean.mean(axis=1, keepdims=True)
        return distance

    @cached_property
    def _overlap(self) -> Floats:
        smaller = np.maximum(np.minimum(self._size_s, self._size_o), 1e-9)
        shared: Floats = np.clip(self._reach, 0, None) / smaller
        return shared

    @property
    def overlap_x(self) -> Floats:
        """Shared width, as a share of the narrower one."""
        width: Floats = self._overlap[:, 0]
        return width

    @property
    def overlap_y(self) -> Floats:
        """Shared height, as a share of the lower one."""
        height: Floats = self._overlap[:, 1]
        return height

    @cached_property
    def _area(self) -> Floats:
        area: Floats = np.clip(self._reach, 0, None).prod(axis=1)
        return area

    @cached_property
    def contained(self) -> Floats:
        """How much of the subject lies in the object."""
        return self._area / np.maximum(areas(self.subjects), 1e-9)

    @cached_property
    def contains(self) -> Floats:
        """How much of the object lies in the subject."""
        return self._area / np.maximum(areas(self.objects), 1e-9)

    @cached_property
    def size_ratio(self) -> Floats:
        """The subject's area in the object's."""
        ratio: Floats = areas(self.subjects) / np.maximum(areas(self.objects), 1e-9)
        return ratio

    def _in_object(self, y: Floats) -> Floats:
        """Vertical places in units of the object's height: 0 its top, 1 its bottom."""
        place: Floats = (y - self.objects[:, 1]) / np.maximum(self._size_o[:, 1], 1e-9)
        return place

    @cached_property
    def top_s(self) -> Floats:
        return self._in_object(self.subjects[:, 1])

    @cached_property
    def bottom_s(self) -> Floats:
        return self._in_object(self.subjects[:, 3])

    @cached_property
    def lower_s(self) -> Floats:
        """How much lower the subject ends, in units of the lower height; above 0: it does."""
        height = np.maximum(np.minimum(self._size_s[:, 1], self._size_o[:, 1]), 1e-9)
        lower: Floats = (self.subjects[:, 3] - self.objects[:, 3]) / height
        return lower

    def flipped(self) -> _Pairs:
        """The same pairs with the roles exchanged."""
        return _Pairs(self.objects, self.subjects)


def _above(value: Floats, limit: float, softness: float) -> Floats:
    """A soft `value > limit`: 0.5 at the limit, 0.9 about two softnesses above it."""
    steps: Floats = 1 / (1 + np.exp(-np.clip((value - limit) / softness, -60, 60)))
    return steps


def _near(pairs: _Pairs) -> Floats:
    nearness: Floats = np.exp(-((np.hypot(pairs.gap[:, 0], pairs.gap[:, 1]) / 0.8) ** 2))
    return nearness


def _beside(pairs: _Pairs, to_the_right: Floats) -> Floats:
    # far more to the side than above or below: "left of" is not "above left of"
    sideways = _above(to_the_right - 0.5 * np.abs(pairs.below), 0.25, 0.07)
    return sideways * (1 - 0.7 * _above(np.minimum(pairs.contained, 1.0), 0.75, 0.05))


def _above_of(pairs: _Pairs) -> Floats:
    upright = _above(pairs.below - 0.5 * np.abs(pairs.right), 0.35, 0.08)
    return upright * _above(pairs.overlap_x, 0.1, 0.08)


def _on(pairs: _Pairs) -> Floats:
    """Carried: its foot within the object's outline, itself above the object's middle."""
    foot = _above(pairs.bottom_s, -0.12, 0.05) * _above(1.05 - pairs.bottom_s, 0.0, 0.08)
    higher = _above(pairs.below, 0.02, 0.05)
    return foot * higher * _above(pairs.overlap_x, 0.4, 0.08)


def _under(pairs: _Pairs) -> Floats:
    """Below it, or below its top while it spans the subject: a bench, an umbrella, a table."""
    lower = _above(-pairs.below, 0.02, 0.05)
    spanned = _above(pairs.overlap_x, 0.4, 0.08)
    return lower * spanned * _above(pairs.top_s, 0.05, 0.05)


def _next_to(pairs: _Pairs) -> Floats:
    near = _near(pairs)
    beside = _above(pairs.overlap_y, 0.25, 0.1) * _above(np.abs(pairs.right), 0.3, 0.08)
    apart = _above(0.6 - np.maximum(pairs.contained, pairs.contains), 0.0, 0.1)
    return near * beside * apart


def _in_front_of(pairs: _Pairs) -> Floats:
    near = _near(pairs)
    lower = _above(pairs.lower_s, 0.03, 0.05) * _above(pairs.overlap_y, 0.15, 0.05)
    return near * lower * (0.25 + 0.75 * _above(pairs.overlap_x, 0.2, 0.08))


def _inside(pairs: _Pairs) -> Floats:
    smaller = _above(0.9 - pairs.size_ratio, 0.0, 0.1)
    return _above(pairs.contained, 0.65, 0.07) * smaller


_RELATIONS: dict[RelationName, Callable[[_Pairs], Floats]] = {
    "left_of": lambda pairs: _beside(pairs, pairs.right),
    "right_of": lambda pairs: _beside(pairs, -pairs.right),
    "above": _above_of,
    "below": lambda pairs: _above_of(pairs.flipped()),
    "on": _on,
    "under": _under,
    "next_to": _next_to,
    "in_front_of": _in_front_of,
    "behind": lambda pairs: _in_front_of(pairs.flipped()),
    "inside": _inside,
}
