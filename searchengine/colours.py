"""Names the colours of a box's pixels, so that "a red car" can be checked without any model.

The eleven basic colours of Berlin and Kay (1969), as van de Weijer et al. (2009) use them to
describe objects; here by fixed limits of hue, saturation and value.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from indexer.config_files import config_path
from indexer.records import Box

BASIC = (
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip
_SIDE_PX = 24  # of the square a box is reduced to: its colours, not its details
_AT = {name: at for at, name in enumerate(BASIC)}
# upper limits of hue in degrees; above the last one it is red again
_HUES = ((14, "red"), (40, "orange"), (68, "yellow"), (165, "green"), (255, "blue"),
         (300, "purple"), (343, "pink"), (361, "red"))  # fmt: skip


def colour_shares(image: Image.Image, box_xyxy: Box) -> bytes:
    """How much of the box each basic colour fills, 0..255 each, in the order of `BASIC`.

    Pixels near the middle weigh most: the corners of a box are mostly background.
    """
    x0, y0, x1, y1 = box_xyxy
    crop = image.resize(
        (_SIDE_PX, _SIDE_PX),
        Image.Resampling.BOX,
        box=(x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height),
    )
    names = _names(np.asarray(crop.convert("HSV"), np.float32))  # [S, S]
    shares = np.bincount(names.ravel(), weights=_weights().ravel(), minlength=len(BASIC))
    return bytes(np.round(255 * shares / shares.sum()).astype(np.uint8))


def basic_colours(attribute: str) -> tuple[str, ...]:
    """The basic colours an attribute names, () if it names none ("dark blue" is blue)."""
    words = re.findall(r"[a-z]+", attribute.casefold())
    by_word = _basic_by_word()
    exact = [word for word in words if word in by_word]
    # the last colour word is the head: "dark blue", "cherry red"
    return by_word[exact[-1]] if exact else ()


def colour_probabilities(
    shares: Sequence[bytes], wanted: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    """How likely each of N things with these shares is called one of the colours. (N,) in 0..1.

    Half the box in that colour is enough, a tenth is none: other parts of a thing (tyres,
    windows, faces) and the background fill the rest.
    """
    table = np.frombuffer(b"".join(shares), np.uint8).reshape(-1, len(BASIC)).astype(np.float64)
    share = table[:, [_AT[name] for name in wanted]].sum(axis=1) / np.maximum(table.sum(axis=1), 1)
    probabilities: npt.NDArray[np.float64] = 1 / (1 + np.exp(-14 * (share - 0.3)))
    return probabilities


def _names(hsv: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    hue = hsv[..., 0] * (360 / 255)
    saturation, value = hsv[..., 1] / 255, hsv[..., 2] / 255
    names = np.full(hue.shape, _AT["red"], np.intp)
    low = 0.0
    for high, name in _HUES:
        names[(hue >= low) & (hue < high)] = _AT[name]
        low = high
    warm = (hue < 45) | (hue >= 343)
    pale_red = ((hue < 14) | (hue >= 330)) & (saturation < 0.55) & (value > 0.75)
    names[pale_red] = _AT["pink"]
    names[warm & ~pale_red & (value < 0.65) & (hue >= 8) & (hue < 50)] = _AT["brown"]
    names[warm & ~pale_red & (saturation < 0.5) & (value < 0.8) & (hue < 45)] = _AT["brown"]
    colourless = (saturation < 0.16) | ((saturation < 0.25) & (value < 0.3))
    names[colourless] = _AT["grey"]
    names[colourless & (value > 0.78)] = _AT["white"]
    names[value < 0.18] = _AT["black"]
    names[colourless & (value < 0.28)] = _AT["black"]
    return names


@functools.cache
def _weights() -> npt.NDArray[np.float64]:
    axis = np.linspace(-1, 1, _SIDE_PX)
    distance_squared = axis[:, None] ** 2 + axis[None, :] ** 2
    weights: npt.NDArray[np.float64] = np.exp(-2.5 * distance_squared)
    return weights


@functools.cache
def _basic_by_word() -> dict[str, tuple[str, ...]]:
    content = tomllib.loads(config_path("colours.toml").read_text(encoding="utf-8"))
    by_word: dict[str, tuple[str, ...]] = {}
    for basic in BASIC:
        for word in content[basic]:
            by_word[word] = (*by_word.get(word, ()), basic)
    return by_word
