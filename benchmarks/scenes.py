"""Scenes composed from photographic cut-outs: exact truth for numbers, places and colours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

SIDE_PX = 448
# noun -> cut-out of ../shared/data/stamps; the first ones are labels of COCO
STAMPS = {
    "sheep": "animals/mammals/bovines/sheep.png",
    "cow": "animals/mammals/bovines/cow.png",
    "horse": "animals/mammals/equines/horse.png",
    "zebra": "animals/mammals/equines/zebra.png",
    "apple": "food/fruit/apple_red.png",
    "truck": "vehicles/garbagetruck.png",
    "car": "vehicles/race/indycar.png",
    "airplane": "vehicles/flight/planes/747.png",
    "boat": "vehicles/ship/chineseJunk.png",
    "penguin": "animals/birds/penguin.png",
    "frog": "animals/amphibians/frog-1.png",
    "guitar": "hobbies/music/string/guitar_classical.png",
}
COLOURS = {"red": (225, 30, 30), "blue": (35, 70, 225), "green": (30, 160, 50),
           "yellow": (245, 215, 40)}  # fmt: skip
COUNTED = ("sheep", "zebra", "apple", "penguin", "airplane")
PAIRS = (("sheep", "boat"), ("zebra", "truck"), ("cow", "car"), ("frog", "guitar"))
TINTED = (("car", "truck"), ("horse", "boat"))
RELATIONS = ("left_of", "right_of", "above", "below", "on", "under", "next_to", "in_front_of",
             "behind", "inside", "between")  # fmt: skip
# what a composed relation implies, or leaves open: such scenes are no fair wrong answers
_OPEN = {
    "left_of": {"next_to"},
    "right_of": {"next_to"},
    "above": {"on"},
    "below": {"under"},
    "on": {"above", "behind"},
    "under": {"below", "in_front_of", "behind", "inside"},
    "next_to": {"left_of", "right_of"},
    "in_front_of": {"next_to", "left_of", "right_of", "under", "below"},
    "behind": {"next_to", "left_of", "right_of", "on", "above"},
    "inside": {"on", "in_front_of", "under", "behind"},
    "between": {"next_to", "left_of", "right_of"},
}


@dataclass(frozen=True)
class Placed:
    """One cut-out in a scene."""

    noun: str
    colour: str
    box_xyxy: tuple[float, float, float, float]  # fractions


@dataclass(frozen=True)
class Scene:
    """One composed picture and its truth."""

    file: str
    kind: str  # count, place, colour
    things: list[Placed] = field(default_factory=list)
    pair: tuple[str, str] = ("", "")
    relation: str = ""

    def number(self, noun: str) -> int:
        return sum(thing.noun == noun for thing in self.things)

    def says(self, relation: str) -> bool | None:
        """Whether the pair stands so; None where the composition leaves it open."""
        if relation == self.relation:
            return True
        return None if relation in _OPEN[self.relation] else False


def compose(stamps: Path, folder: Path, seed: int, number: int = 1000) -> list[Scene]:
    """Writes the scenes below `folder` (two fifths count, two fifths place, a fifth colour)."""
    cut_outs = {noun: _cut_out(stamps / file) for noun, file in STAMPS.items()}
    scenes = []
    for at in range(number):
        random = np.random.default_rng([seed, at])
        kind = ("count", "count", "place", "place", "colour")[at % 5]
        file = f"{kind}/{at:04}.jpg"
        canvas = _ground(random)
        if kind == "count":
            scene = Scene(file, kind, _count_scene(canvas, cut_outs, random))
        elif kind == "place":
            nth = at // 5 * 2 + (at % 5 - 2)
            pair = PAIRS[nth % len(PAIRS)]
            relation = RELATIONS[nth // len(PAIRS) % len(RELATIONS)]
            scene = Scene(file, kind, _place_scene(canvas, cut_outs, random, pair, relation), pair,
                          relation)  # fmt: skip
        else:
            pair = TINTED[at // 5 % len(TINTED)]
            scene = Scene(file, kind, _colour_scene(canvas, cut_outs, random, pair), pair)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        canvas.save(folder / file, quality=92)
        scenes.append(scene)
    truth = [asdict(scene) for scene in scenes]
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    return scenes


def _cut_out(path: Path) -> Image.Image:
    picture = Image.open(path).convert("RGBA")
    return picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 60)).getbbox())


def _ground(random: np.random.Generator) -> Image.Image:
    coarse = random.normal(random.uniform(90, 200), 18, (4, 4, 1)) + random.normal(0, 10, (1, 1, 3))
    small = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    return small.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


def tinted(picture: Image.Image, colour: str) -> Image.Image:
    """The cut-out in another colour, its light and shade kept."""
    light = ImageOps.autocontrast(picture.convert("L"), cutoff=2).point(lambda v: 70 + v * 0.72)
    paint = Image.new("RGB", picture.size, COLOURS[colour])
    painted = ImageChops.multiply(paint, Image.merge("RGB", (light,) * 3))
    painted.putalpha(picture.getchannel("A"))
    return painted


def _paste(
    canvas: Image.Image, picture: Image.Image, noun: str, centre: Sequence[float], height: float,
    colour: str = "",
) -> Placed:  # fmt: skip
    """Pastes with this centre and height in pixels; the box is what is inside the canvas."""
    scale = height / picture.height
    size = max(8, round(picture.width * scale)), max(8, round(height))
    piece = picture.resize(size, Image.Resampling.LANCZOS)
    left, top = round(centre[0] - size[0] / 2), round(centre[1] - size[1] / 2)
    canvas.paste(piece, (left, top), piece)
    box = (max(0, left), max(0, top), min(SIDE_PX, left + size[0]), min(SIDE_PX, top + size[1]))
    return Placed(noun, colour, tuple(round(value / SIDE_PX, 4) for value in box))


def _count_scene(
    canvas: Image.Image, cut_outs: dict[str, Image.Image], random: np.random.Generator
) -> list[Placed]:
    first, second = random.choice(COUNTED, 2, replace=False)
    nouns = [first] * int(random.integers(1, 6)) + [second] * int(random.integers(0, 3))
    cells = random.permutation(9)[: len(nouns)]
    things = []
    for noun, cell in zip(nouns, cells, strict=True):
        x, y = (cell % 3 + 0.5) * SIDE_PX / 3, (cell // 3 + 0.5) * SIDE_PX / 3
        picture = _fitted(cut_outs[noun], random)
        height = _height(picture, random.uniform(90, 130))
        jitter = random.uniform(-8, 8, 2)
        things.append(_paste(canvas, picture, str(noun), (x + jitter[0], y + jitter[1]), height))
    return things


def _colour_scene(
    canvas: Image.Image, cut_outs: dict[str, Image.Image], random: np.random.Generator,
    pair: tuple[str, str],
) -> list[Placed]:  # fmt: skip
    colours = random.choice(list(COLOURS), 2, replace=False)
    sides = random.permutation([0.28, 0.72])
    things = []
    for noun, colour, side in zip(pair, colours, sides, strict=True):
        picture = tinted(_fitted(cut_outs[noun], random), str(colour))
        centre = (side * SIDE_PX, random.uniform(0.35, 0.65) * SIDE_PX)
        height = _height(picture, random.uniform(140, 190))
        things.append(_paste(canvas, picture, noun, centre, height, str(colour)))
    return things


def _place_scene(
    canvas: Image.Image, cut_outs: dict[str, Image.Image], random: np.random.Generator,
    pair: tuple[str, str], relation: str,
) -> list[Placed]:  # fmt: skip
    """The pair, laid out so that nobody would doubt the relation. Lengths in pixels."""
    subject, object = (_fitted(cut_outs[noun], random) for noun in pair)
    hs, ho = _height(subject, random.uniform(95, 120)), _height(object, random.uniform(105, 130))
    if relation == "inside":
        ho *= 1.7
        fit = min(
            0.6 * ho / hs,
            0.5 * ho * object.width / object.height / (hs * subject.width / subject.height),
        )
        hs *= min(0.5, fit)
    elif relation in ("on", "under"):
        ho *= 1.3
        hs *= 0.8
    ws, wo = subject.width * hs / subject.height, object.width * ho / object.height
    middle = np.array([SIDE_PX / 2, SIDE_PX / 2]) + random.uniform(-15, 15, 2)
    gap = random.uniform(8, 55)
    slip = random.uniform(-0.15, 0.15) * min(hs, ho)
    apart_x, apart_y = (ws + wo) / 2 + gap, (hs + ho) / 2 + gap
    if relation == "between":
        reach = (ws + wo) / 2 + random.uniform(0, 15)
        way = np.array([reach, -slip])
        at = [middle, middle - way, middle + way]
        order = [(object, pair[1], at[1], ho), (object, pair[1], at[2], ho),
                 (subject, pair[0], at[0], hs)]  # fmt: skip
        return [
            _paste(canvas, picture, noun, where, height) for picture, noun, where, height in order
        ]
    side = random.choice([-1, 1])
    offset = {  # of the subject's centre from the object's
        "left_of": (-apart_x, slip),
        "right_of": (apart_x, slip),
        "above": (slip, -apart_y),
        "below": (slip, apart_y),
        "on": (slip, -ho / 2 - hs / 2 + ho * random.uniform(0.12, 0.35)),
        "under": (slip, hs / 2 + random.uniform(-0.2, 0.3) * ho),  # its top at the middle
        "next_to": (side * ((ws + wo) / 2 + random.uniform(0, 12)), slip),
        "in_front_of": (side * (ws + wo) * random.uniform(0.2, 0.33), (ho - hs) / 2 + 0.28 * ho),
        "behind": (side * (ws + wo) * random.uniform(0.2, 0.33), (ho - hs) / 2 - 0.28 * ho),
        "inside": (random.uniform(-0.15, 0.15) * wo, random.uniform(-0.12, 0.12) * ho),
    }[relation]
    object_at = np.clip(middle - np.array(offset) / 2, 10, SIDE_PX - 10)
    pieces = [(object, pair[1], object_at, ho), (subject, pair[0], object_at + offset, hs)]
    if relation in ("behind", "under"):
        pieces.reverse()  # what is in front is pasted last
    return [_paste(canvas, picture, noun, where, height) for picture, noun, where, height in pieces]


def _fitted(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(picture) if random.random() < 0.5 else picture


def _height(picture: Image.Image, side: float) -> float:
    """The height at which the longer side is `side`."""
    return side * picture.height / max(picture.size)
