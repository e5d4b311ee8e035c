"""What the starter encoder's training reads, computed once and kept in its cache folder.

Of each picture the maps before the fine-tuned blocks, in several views; of each caption the states
before MiniLM's last layer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from starter_encoder_model import SIZE_PX, ImageTower, TextTower, read_pixels, tokenize
from torch import Tensor

SEED = 0
VIEWS = 8  # of a picture: as it is, mirrored, and six random crops in other light


@dataclass(frozen=True, slots=True)
class Captions:
    """What MiniLM's last layer reads of every caption, five a picture, end to end."""

    states: npt.NDArray[np.float16]  # [tokens, 384]
    ends: npt.NDArray[np.int64]  # [captions]

    def batch(self, which: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """States [N, T, 384] and mask [N, T] of some captions."""
        starts = np.where(which > 0, self.ends[which - 1], 0)
        lengths = self.ends[which] - starts
        places = np.arange(lengths.max())
        mask = places < lengths[:, None]  # [N, T]
        tokens = np.where(mask, starts[:, None] + places, 0)
        return torch.from_numpy(self.states[tokens]).float(), torch.from_numpy(mask).float()


def crop(image: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Half of the picture or more, mirrored or not, in a little other light."""
    area, stretch = rng.uniform(0.5, 1), np.exp(rng.uniform(-0.25, 0.25))
    width, height = min(1, (area * stretch) ** 0.5), min(1, (area / stretch) ** 0.5)
    x0, y0 = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    sides = np.array([x0, y0, x0 + width, y0 + height]) * [*image.size, *image.size]
    part = image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC, box=tuple(sides))
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        part = enhancer(part).enhance(float(rng.uniform(0.75, 1.25)))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(part)


def draw(path: Path, view: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    if view >= 2:
        return crop(Image.open(path).convert("RGB"), rng)
    return read_pixels(path)[:, :: -1 if view == 1 else 1]


@torch.no_grad()
def cached_grids(tower: ImageTower, paths: Sequence[Path], view: int, cache: Path) -> Tensor:
    """What the fine-tuned blocks read [N, 208, 7, 7] float16, so that the rest runs once."""
    path = cache / f"flickr_{view}_{len(paths)}.npy"
    if not path.exists():
        rng, rows, started = np.random.default_rng([SEED, view]), [], time.monotonic()
        for start in range(0, len(paths), 16):
            pixels = np.stack([draw(p, view, rng) for p in paths[start : start + 16]])
            rows.append(tower.grid(torch.from_numpy(pixels)).half().numpy())
        _save(path, np.concatenate(rows))
        print(f"view {view} of {len(paths)}: {time.monotonic() - started:.0f} s", flush=True)
    return torch.from_numpy(np.load(path))


@torch.no_grad()
def cached_captions(tower: TextTower, texts: Sequence[str], cache: Path, name: str) -> Captions:
    ends_path, states_path = (
        cache / f"{name}_{what}_{len(texts)}.npy" for what in ("ends", "states")
    )
    if not states_path.exists():
        tokens = [row[row != 0] for row in tokenize(texts)]
        ends = np.cumsum([len(row) for row in tokens])
        states = np.zeros((ends[-1], 384), np.float16)
        by_length = np.argsort([len(row) for row in tokens], kind="stable")  # little padding
        for some in np.array_split(by_length, max(1, len(texts) // 64)):
            width = max(len(tokens[i]) for i in some)
            padded = np.stack([np.pad(tokens[i], (0, width - len(tokens[i]))) for i in some])
            for i, row in zip(some, tower.states(torch.from_numpy(padded)), strict=True):
                states[ends[i] - len(tokens[i]) : ends[i]] = row[: len(tokens[i])]
        _save(ends_path, ends)
        _save(states_path, states)
    return Captions(np.load(states_path), np.load(ends_path))


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    """Whole or not at all, so that a stopped command can be given again."""
    draft = path.with_suffix(".tmp.npy")
    np.save(draft, array)
    os.replace(draft, path)
