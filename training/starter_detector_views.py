"""The starter detector's training views and their cached feature maps.

A *view* is one 416 x 416 training picture made from the data (a picture as it is, a crop, a
mosaic of four, or a scene with objects pasted in). The backbone's first half is frozen, so a
view's feature maps are computed once and read from memory-mapped files ever after.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from starter_common import read_table
from starter_detector_data import (
    FEATURE_SHAPES,
    IMAGE_SIZE_PX,
    LABEL_INDEX,
    LABELS,
    STAMP_LABELS,
    STEM_SHAPE,
    Floats,
    Ints,
    Picture,
    Pixels,
    read_pictures,
)


@dataclass(slots=True)
class View:
    """A rendered training picture with its boxes."""

    pixels: Pixels  # [416, 416, 3]
    labels: Ints
    boxes_xyxy: Floats
    confidence: Floats


@lru_cache(maxsize=512)
def _open(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def crop_view(
    picture: Picture, window: tuple[float, float, float, float], mirrored: bool, size_px: int
) -> View:
    """The part of a picture inside `window` (x0, y0, x1, y1 in 0..1, may reach outside)."""
    image = _open(picture.path)
    x0, y0, x1, y1 = window
    box = (x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height)
    if min(x0, y0) < 0 or max(x1, y1) > 1:  # zoomed out: grey around
        canvas = Image.new("RGB", (round(box[2] - box[0]), round(box[3] - box[1])), (127,) * 3)
        canvas.paste(image, (round(-box[0]), round(-box[1])))
        image = canvas.resize((size_px, size_px), Image.Resampling.BILINEAR)
    else:
        image = image.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box)
    scale = np.array([x1 - x0, y1 - y0] * 2, np.float32)
    boxes = (picture.boxes_xyxy - np.array([x0, y0] * 2, np.float32)) / scale
    clipped = boxes.clip(0, 1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    seen = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) / np.maximum(area, 1e-9)
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        clipped = clipped[:, [2, 1, 0, 3]]
        clipped[:, [0, 2]] = 1 - clipped[:, [0, 2]]
    keep = seen > 0.3
    return View(np.asarray(image), picture.labels[keep], clipped[keep], picture.confidence[keep])


def random_window(
    rng: np.random.Generator, picture: Picture, scale: tuple[float, float], focus: int | None
) -> tuple[float, float, float, float]:
    """A window of random size; around the box `focus`, if given, and never smaller than it."""
    width, height = rng.uniform(*scale) * np.exp(rng.uniform(-0.15, 0.15, 2))
    if focus is None:
        x0, y0 = (rng.uniform(min(0, 1 - side), max(0, 1 - side)) for side in (width, height))
    else:
        bx0, by0, bx1, by1 = picture.boxes_xyxy[focus]
        width, height = max(width, (bx1 - bx0) * 1.1), max(height, (by1 - by0) * 1.1)
        x0 = rng.uniform(bx1 - width, bx0)
        y0 = rng.uniform(by1 - height, by0)
        if width < 1:
            x0 = min(max(x0, 0), 1 - width)
        if height < 1:
            y0 = min(max(y0, 0), 1 - height)
    return float(x0), float(y0), float(x0 + width), float(y0 + height)


def jitter(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Brightness, contrast, colour and, one time in five, a blur: what cameras differ in."""
    image = Image.fromarray(pixels)
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(float(rng.uniform(0.7, 1.3)))
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.2))))
    return np.asarray(image)


def mosaic_view(rng: np.random.Generator, four: list[Picture]) -> View:
    """Four pictures in one, around a random middle: small objects, and many of them."""
    pixels = np.empty((IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), np.uint8)
    centre = rng.uniform(0.35, 0.65, 2)
    parts = []
    for index, picture in enumerate(four):
        x0, x1 = (0.0, centre[0]) if index % 2 == 0 else (centre[0], 1.0)
        y0, y1 = (0.0, centre[1]) if index < 2 else (centre[1], 1.0)
        window = random_window(rng, picture, (0.75, 1.0), None)
        part = crop_view(picture, _inside(window), rng.random() < 0.5, IMAGE_SIZE_PX)
        px0, px1, py0, py1 = (round(side * IMAGE_SIZE_PX) for side in (x0, x1, y0, y1))
        small = Image.fromarray(part.pixels).resize((px1 - px0, py1 - py0))
        pixels[py0:py1, px0:px1] = np.asarray(small)
        scale = np.array([x1 - x0, y1 - y0] * 2, np.float32)
        part.boxes_xyxy = part.boxes_xyxy * scale + np.array([x0, y0] * 2, np.float32)
        parts.append(part)
    return View(
        pixels,
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.confidence for part in parts]),
    )


def _inside(window: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = window
    return max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)


@dataclass(frozen=True, slots=True)
class Cutout:
    """Something that can be pasted: a stamp, or a trusted box of a photograph."""

    label: int | None  # None: a distractor that is no COCO label
    path: Path
    box_xyxy: tuple[float, float, float, float] | None  # None: the whole file, with its alpha

    def load(self) -> Image.Image:
        """RGBA, cropped to what is seen."""
        if self.box_xyxy is None:
            image = Image.open(self.path).convert("RGBA")
            return image.crop(image.getchannel("A").getbbox() or (0, 0, *image.size))
        image = _open(self.path)
        x0, y0, x1, y1 = self.box_xyxy
        box = (x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height)
        patch = image.crop(tuple(round(side) for side in box)).convert("RGBA")
        # soft corners: a hard rectangle would teach that rectangles are objects
        mask = Image.new("L", patch.size, 0)
        radius = min(patch.size) // 3
        ImageDraw.Draw(mask).rounded_rectangle(
            (1, 1, patch.width - 2, patch.height - 2), radius, 255
        )
        patch.putalpha(mask.filter(ImageFilter.GaussianBlur(max(1, min(patch.size) / 30))))
        return patch


def find_cutouts(data: Path, train: Iterable[Picture]) -> list[Cutout]:
    """Stamps, and boxes of training pictures: certain, alone in their place, not people."""
    cutouts = []
    folder = data / "stamps" / "images"
    for row in read_table(data / "stamps" / "captions.tsv"):
        names = [name for word, name in STAMP_LABELS.items() if word in row["file"]]
        label = LABEL_INDEX[names[0]] if names else None
        cutouts.append(Cutout(label, folder / row["file"], None))
    for picture in train:
        width_px, height_px = _size(picture.path)
        for index, (label, box) in enumerate(zip(picture.labels, picture.boxes_xyxy, strict=True)):
            sides_px = (box[2] - box[0]) * width_px, (box[3] - box[1]) * height_px
            certain = picture.confidence[index] >= 0.999 and label != LABEL_INDEX["person"]
            if certain and min(sides_px) >= 36 and not _is_covered(picture, index):
                cutouts.append(Cutout(int(label), picture.path, tuple(map(float, box))))
    return cutouts


@cache
def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _is_covered(picture: Picture, index: int) -> bool:
    """Whether other boxes take more than a quarter of this box."""
    box, others = picture.boxes_xyxy[index], np.delete(picture.boxes_xyxy, index, axis=0)
    if len(others) == 0:
        return False
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    overlap = np.prod(np.clip(high - low, 0, None), axis=1)
    return bool(overlap.sum() > 0.25 * np.prod(box[2:] - box[:2]))


def pasted_view(rng: np.random.Generator, ground: Picture, cutouts: list[Cutout]) -> View:
    """A picture with cut-outs pasted over it; boxes that they hide for the most part go."""
    scale = (0.7, 1.0)
    view = crop_view(
        ground, _inside(random_window(rng, ground, scale, None)), rng.random() < 0.5, IMAGE_SIZE_PX
    )
    canvas = Image.fromarray(view.pixels)
    labels, boxes, confidence = list(view.labels), list(view.boxes_xyxy), list(view.confidence)
    for cutout in cutouts:
        patch = cutout.load()
        if rng.random() < 0.5:
            patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        side_px = IMAGE_SIZE_PX * float(np.exp(rng.uniform(np.log(0.12), np.log(0.6))))
        factor = side_px / max(patch.size)
        width_px, height_px = (max(8, round(side * factor)) for side in patch.size)
        patch = patch.resize((width_px, height_px), Image.Resampling.BILINEAR)
        x_px = int(rng.integers(0, IMAGE_SIZE_PX - width_px + 1))
        y_px = int(rng.integers(0, IMAGE_SIZE_PX - height_px + 1))
        canvas.paste(patch, (x_px, y_px), patch)
        box = np.array([x_px, y_px, x_px + width_px, y_px + height_px], np.float32) / IMAGE_SIZE_PX
        visible = [_hidden_share(old, box) < 0.6 for old in boxes]
        labels = [old for old, seen in zip(labels, visible, strict=True) if seen]
        confidence = [old for old, seen in zip(confidence, visible, strict=True) if seen]
        boxes = [old for old, seen in zip(boxes, visible, strict=True) if seen]
        if cutout.label is not None:
            labels.append(cutout.label)
            boxes.append(box)
            confidence.append(1.0)
    return View(
        np.asarray(canvas),
        np.array(labels, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(confidence, np.float32),
    )


def _hidden_share(box: Floats, cover: Floats) -> float:
    low, high = np.maximum(box[:2], cover[:2]), np.minimum(box[2:], cover[2:])
    return float(np.prod(np.clip(high - low, 0, None)) / max(np.prod(box[2:] - box[:2]), 1e-9))


def label_weights(pictures: Iterable[Picture], power: float) -> Floats:
    """(80,) weight of each label, 1 for the most frequent, growing with rarity."""
    counts = np.ones(len(LABELS), np.float32)
    for picture in pictures:
        np.add.at(counts, picture.labels, picture.confidence)
    return (counts.max() / counts) ** power


def plan_views(data: Path, seed: int) -> tuple[list[str], list[Callable[[], View]]]:
    """Every view in a fixed order: its kind ("test/coco", "train/voc/crop") and how to draw it."""
    pictures = read_pictures(data)
    train = [picture for picture in pictures if picture.part == "train"]
    kinds: list[str] = []
    recipes: list[Callable[[], View]] = []

    def add(kind: str, recipe: Callable[[np.random.Generator], View], jittered: bool) -> None:
        generator = np.random.default_rng([seed, len(recipes)])

        def draw() -> View:
            view = recipe(generator)
            if jittered:
                view.pixels = jitter(generator, view.pixels)
            return view

        kinds.append(kind)
        recipes.append(draw)

    whole = (0.0, 0.0, 1.0, 1.0)
    for picture in pictures:
        if picture.part != "train":
            kind = f"{picture.part}/{picture.source}"
            add(kind, lambda _, p=picture: crop_view(p, whole, False, IMAGE_SIZE_PX), False)

    # how often each picture is shown whole, and how often cropped
    rarity = label_weights(train, 0.5)
    rng = np.random.default_rng(seed)
    later: list[tuple[str, Callable[[np.random.Generator], View], bool]] = []
    for picture in train:
        relevant = len(picture.labels) > 0
        if picture.source == "caltech101" and not relevant and rng.random() > 0.25:
            continue  # distractors alone: a quarter of them is plenty
        if picture.source == "flickr8k" and rng.random() > 0.5:
            continue  # half of them whole, all of them in mosaics: people small enough to matter
        mirrored = bool(rng.random() < 0.5)
        later.append(
            (
                f"train/{picture.source}/plain",
                lambda _, p=picture, m=mirrored: crop_view(p, whole, m, IMAGE_SIZE_PX),
                False,
            )
        )
        wanted = float((rarity[picture.labels] * picture.confidence).max(initial=0.0))
        crops = {"coco": 30, "voc": 3}.get(picture.source, min(2.0, wanted / 10))
        for turn in range(int(crops) + int(rng.random() < crops % 1)):

            def crop(
                g: np.random.Generator, p: Picture = picture, m: bool = mirrored, t: int = turn
            ) -> View:
                chance = rarity[p.labels] * p.confidence
                focus = None
                if len(chance) and g.random() < 0.7:
                    focus = int(g.choice(len(chance), p=chance / chance.sum()))
                window = random_window(g, p, (0.35, 1.15), focus)
                return crop_view(p, window, m if t % 2 else not m, IMAGE_SIZE_PX)

            later.append((f"train/{picture.source}/crop", crop, True))

    chance = np.array(
        [
            (0.2 + (rarity[p.labels] * p.confidence).max(initial=0.0))
            * {"coco": 3.0, "voc": 2.0, "flickr8k": 1.0, "caltech101": 0.5}[p.source]
            for p in train
        ]
    )
    chance /= chance.sum()
    for _ in range(6000):
        four = [train[index] for index in rng.choice(len(train), 4, p=chance)]
        later.append(("train/mosaic", lambda g, f=four: mosaic_view(g, f), False))
    cutouts = find_cutouts(data, train)
    per_label = Counter(cutout.label for cutout in cutouts)
    paste_chance = np.array(
        [per_label[c.label] ** -0.6 * (0.3 if c.label is None else 1.0) for c in cutouts]
    )
    paste_chance /= paste_chance.sum()
    grounds = [picture for picture in train if picture.source in ("voc", "flickr8k")]
    for _ in range(2400):
        ground = grounds[int(rng.integers(len(grounds)))]
        some = [cutouts[i] for i in rng.choice(len(cutouts), rng.integers(2, 7), p=paste_chance)]
        later.append(("train/paste", lambda g, b=ground, s=some: pasted_view(g, b, s), True))

    # shuffled, so that a half-built cache is already a fair sample
    for index in rng.permutation(len(later)):
        add(*later[index])
    return kinds, recipes


# --- cached feature maps ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Feature maps of every view (memory-mapped float16) and its boxes."""

    kinds: npt.NDArray[np.str_]  # [V]
    features: dict[str, npt.NDArray[np.float16]]  # "stem", "stride16", "stride32": [V, C, H, W]
    labels: list[Ints]
    boxes_xyxy: list[Floats]
    confidence: list[Floats]

    def __len__(self) -> int:
        return len(self.labels)


def build_cache(
    data: Path,
    cache: Path,
    seed: int,
    backbone: Callable[[Pixels], list[Floats]],
    log: Callable[[str], None],
    limit: int,
    batch: int = 16,
) -> None:
    """Draw the first `limit` views and store their features; continues a stopped call."""
    cache.mkdir(parents=True, exist_ok=True)
    kinds, recipes = plan_views(data, seed)
    state_path, boxes_path = cache / "state.json", cache / "boxes.jsonl"
    state = {"seed": seed, "views": len(recipes), "done": 0}
    if state_path.exists():
        stored = json.loads(state_path.read_text())
        if {**stored, "done": 0} == state:
            state = stored
    done, wanted = int(state["done"]), min(limit, len(recipes))
    if done >= wanted:
        return
    lines = boxes_path.read_text().splitlines()[:done] if done else []
    boxes_path.write_text("".join(line + "\n" for line in lines))
    maps = {
        name: np.lib.format.open_memmap(
            cache / f"{name}.npy", "r+" if done else "w+", np.float16, (len(recipes), *shape)
        )
        for name, shape in {"stem": STEM_SHAPE, **FEATURE_SHAPES}.items()
    }
    started, first = time.monotonic(), done
    with boxes_path.open("a") as boxes_file, ThreadPoolExecutor(2) as pool:
        coming = deque(pool.submit(recipe) for recipe in recipes[done : min(done + 64, wanted)])
        while done < wanted:
            views = []
            while coming and len(views) < batch:
                views.append(coming.popleft().result())
                following = done + len(views) + len(coming)
                if following < wanted:
                    coming.append(pool.submit(recipes[following]))
            outputs = backbone(np.stack([view.pixels for view in views]))
            for array, output in zip(maps.values(), outputs, strict=True):
                array[done : done + len(views)] = output
            for kind, view in zip(kinds[done : done + len(views)], views, strict=True):
                row = [kind, view.labels.tolist(), view.boxes_xyxy.round(5).tolist()]
                boxes_file.write(json.dumps([*row, view.confidence.round(3).tolist()]) + "\n")
            done += len(views)
            if done // batch % 40 == 0 or done == wanted:
                boxes_file.flush()
                for array in maps.values():
                    array.flush()
                state_path.write_text(json.dumps({**state, "done": done}))
                rate = (done - first) / (time.monotonic() - started)
                log(f"cached {done}/{wanted} views, {rate:.1f}/s")


def tune_maps(
    cache: Path, late: Callable[[Floats], list[Floats]], part: slice, batch: int = 16
) -> None:
    """Write the maps that the trained stages make of `part` of the views beside the first ones."""
    stored = open_cache(cache)
    maps = [np.load(cache / f"tuned_{name}.npy", mmap_mode="r+") for name in FEATURE_SHAPES]
    views = np.arange(len(stored))[part]
    for start in range(0, len(views), batch):
        some = views[start : start + batch]
        outputs = late(stored.features["stem"][some].astype(np.float32))
        for array, output in zip(maps, outputs, strict=True):
            array[some] = output


def new_tuned_maps(cache: Path) -> None:
    """Empty files for `tune_maps`."""
    views = int(json.loads((cache / "state.json").read_text())["done"])
    for name, shape in FEATURE_SHAPES.items():
        np.lib.format.open_memmap(
            cache / f"tuned_{name}.npy", "w+", np.float16, (views, *shape)
        ).flush()


def open_cache(cache: Path, tuned: bool = False) -> FeatureCache:
    """Whatever part of the cache is ready; with `tuned`, the maps of the trained stages."""
    prefix = "tuned_" if tuned else ""
    done = int(json.loads((cache / "state.json").read_text())["done"])
    rows = [json.loads(line) for line in (cache / "boxes.jsonl").read_text().splitlines()[:done]]
    return FeatureCache(
        np.array([row[0] for row in rows]),
        {
            "stem": np.load(cache / "stem.npy", mmap_mode="r"),
            **{
                name: np.load(cache / f"{prefix}{name}.npy", mmap_mode="r")
                for name in FEATURE_SHAPES
            },
        },
        [np.array(row[1], np.int64) for row in rows],
        [np.array(row[2], np.float32).reshape(-1, 4) for row in rows],
        [np.array(row[3], np.float32) for row in rows],
    )
