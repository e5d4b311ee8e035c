"""Train, export and measure the starter encoder that ships in `indexer/starter/`.

    python training/starter_encoder.py --data ../shared/data --out indexer/starter --revision 3

Two halves side by side: EfficientNet-Lite2 with its last blocks fine-tuned on Flickr8k captions
together with MiniLM's last layer, and ConSE over ImageNet's class names, untrained. The loss sees
both halves' sum, so that the trained half learns what ConSE does not know yet. Stamps, COCO, VOC
and Caltech-101 are never trained on.

Split of Flickr8k by sha256 of the file name, in rising order: the first 1,000 are the test, the
next 1,000 the validation set for choosing (stamps were in view), the rest for training. The
shipped weights are trained on training and validation pictures (`--holdout test`).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from starter_common import read_table
from starter_encoder_model import (
    CONSE_WEIGHT,
    SIZE_PX,
    ImageTower,
    TextTower,
    read_pixels,
    tokenize,
)
from starter_encoder_report import evaluate, export, flickr, recalls
from timm.data import ImageNetInfo
from torch import Tensor

EPOCHS, BATCH, SEED = 8, 256, 0
VIEWS = 4  # of a picture: as it is, mirrored, and two random crops in other light
CAPTIONS = 2  # of a picture's five, drawn anew every step
TEST = VALIDATION = 1000


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


# --- what is computed once -------------------------------------------------------------------


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


def adapted_texts(tower: TextTower, captions: Captions, which: npt.NDArray[np.int64]) -> Tensor:
    """Trainable embeddings of some captions [N, 384]."""
    lengths = np.diff(captions.ends, prepend=0)[which]
    order = np.argsort(lengths, kind="stable")  # little padding
    rows = []
    for part in np.array_split(which[order], 4):
        states, mask = captions.batch(part)
        rows.append(tower.adapted(F.dropout(states, 0.1, training=tower.training), mask))
    return torch.cat(rows)[torch.from_numpy(np.argsort(order))]


@torch.no_grad()
def sentences(tower: TextTower, captions: Captions, *, adapted: bool) -> Tensor:
    """Embeddings of all captions [N, 384]."""
    encode = tower.adapted if adapted else tower.plain
    order = np.argsort(np.diff(captions.ends, prepend=0), kind="stable")
    parts = np.array_split(order, max(1, len(order) // 256))
    rows = torch.cat([encode(*captions.batch(part)) for part in parts])
    return rows[torch.from_numpy(np.argsort(order))]


# --- training --------------------------------------------------------------------------------


def contrastive_loss(logits: Tensor) -> Tensor:
    """InfoNCE both ways, B pictures against K B captions, K of them right for each picture."""
    size = len(logits)
    each = logits.shape[1] // size
    text_to_image = F.cross_entropy(logits.T, torch.arange(size).repeat_interleave(each))
    right = logits.view(size, size, each).diagonal(dim1=0, dim2=1).T  # [B, K]
    return (text_to_image + (logits.logsumexp(1, keepdim=True) - right).mean()) / 2


@dataclass(frozen=True, slots=True)
class Fixed:
    """What does not change while training."""

    grids: Sequence[Tensor]  # a view each: [N, 208, 7, 7]
    captions: Captions
    plain: Tensor  # MiniLM's own embeddings [N, 5, 384]
    features: Sequence[Tensor]  # of the untouched backbone, plain and mirrored [N, 1280]
    conse: Sequence[Tensor]  # the ConSE half, plain and mirrored [N, 384]


@torch.no_grad()
def prepare(tower: ImageTower, text: TextTower, grids: list[Tensor], captions: Captions) -> Fixed:
    features = [
        torch.cat([tower.frozen(rows.float()).mean((2, 3)) for rows in grid.split(128)])
        for grid in grids[:2]
    ]
    conse = [tower.conse_half(each) for each in features]
    plain = sentences(text, captions, adapted=False).view(-1, 5, 384)
    return Fixed(grids, captions, plain, features, conse)


def warm_up(tower: ImageTower, fixed: Fixed, rows: Tensor, log_scale: Tensor) -> None:
    """The linear layer alone, on the untouched backbone's features."""
    features = fixed.features[0][rows]
    tower.mean.copy_(features.mean(0))
    tower.std.copy_(features.std(0) + 1e-3)
    head = [*tower.linear.parameters(), log_scale]
    optimizer = torch.optim.AdamW(head, lr=2e-3, weight_decay=0.3)
    for _ in range(6):
        for chosen in rows[torch.randperm(len(rows))].split(512):
            mirrored = torch.rand(len(chosen), 1) < 0.5
            images = torch.where(mirrored, fixed.features[1][chosen], fixed.features[0][chosen])
            conse = torch.where(mirrored, fixed.conse[1][chosen], fixed.conse[0][chosen])
            texts = fixed.plain[chosen].flatten(0, 1)
            similar = (tower.trained_half(images) + CONSE_WEIGHT * conse) @ texts.T
            optimizer.zero_grad()
            contrastive_loss(similar * log_scale.exp()).backward()
            optimizer.step()


def step_loss(
    tower: ImageTower, text: TextTower, fixed: Fixed, chosen: Tensor, log_scale: Tensor
) -> Tensor:
    """One batch: a random view of each picture, two of its captions, both halves' sum."""
    size = len(chosen)
    views = np.random.choice(VIEWS, size, p=[0.28, 0.28, 0.22, 0.22])
    grid = torch.stack([fixed.grids[v][i] for v, i in zip(views, chosen.tolist(), strict=True)])
    maps = tower.tuned(grid.float().contiguous(memory_format=torch.channels_last))
    kept = (torch.rand(size, 1, 7, 7) < 0.7).float()  # pool over a random 70 % of places
    pooled = (maps * kept).sum((2, 3)) / kept.sum((2, 3)).clamp(min=1)
    images = tower.trained_half(pooled)
    mirrored = torch.from_numpy(views == 1)[:, None]
    conse = torch.where(mirrored, fixed.conse[1][chosen], fixed.conse[0][chosen])
    drawn = torch.rand(size, 5).argsort(1)[:, :CAPTIONS]  # [B, K]
    which = (chosen[:, None] * 5 + drawn).flatten().numpy()
    adapted = adapted_texts(text, fixed.captions, which)
    plain = fixed.plain[chosen[:, None], drawn].flatten(0, 1)
    similar = images @ adapted.T + CONSE_WEIGHT * conse @ plain.T  # [B, K B]
    return contrastive_loss(similar * log_scale.exp())


def train(
    tower: ImageTower, text: TextTower, fixed: Fixed, rows: Tensor, epochs: int, stamps: Captions,
    stamp_grid: Tensor,
) -> None:  # fmt: skip
    """A warm-up of the linear layer, then it, the last blocks and MiniLM's last layer together."""
    log_scale = torch.nn.Parameter(torch.tensor(3.0))
    tower.dropout.train()
    text.train()  # dropout on what its last layer reads
    warm_up(tower, fixed, rows, log_scale)
    groups = [
        ([*tower.tuned.blocks[:3].parameters()], 5e-4, 0.05),
        ([p for part in (tower.tuned.blocks[3:], tower.tuned.conv_head, tower.tuned.bn2)
          for p in part.parameters()], 1e-3, 0.05),
        ([*tower.linear.parameters(), log_scale], 1e-3, 0.3),
        ([*text.tuned.parameters()], 2e-4, 0.05),
        ([text.residual.weight], 3e-4, 0.3),
    ]  # fmt: skip
    text.tuned.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [{"params": p, "lr": rate, "weight_decay": decay} for p, rate, decay in groups]
    )
    steps = len(rows) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [rate for _, rate, _ in groups], total_steps=epochs * steps, pct_start=0.15
    )
    started, held_out = time.monotonic(), torch.arange(int(rows[0]))
    for epoch in range(epochs):
        shuffled, total = rows[torch.randperm(len(rows))], 0.0
        for chosen in shuffled[: steps * BATCH].split(BATCH):
            loss = step_loss(tower, text, fixed, chosen, log_scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / steps
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total:.3f}, {time.monotonic() - started:.0f} s",
            f"{validate(tower, text, fixed, held_out)}, "
            f"{validate_stamps(tower, text, stamps, stamp_grid)}" if len(held_out) else "",
            flush=True,
        )  # fmt: skip


@torch.no_grad()
def validate(tower: ImageTower, text: TextTower, fixed: Fixed, rows: Tensor) -> str:
    """recall@1/5/10 on pictures that are not trained on."""
    tower.dropout.eval()
    images = torch.cat([tower.from_grid(fixed.grids[0][some].float()) for some in rows.split(100)])
    tower.dropout.train()
    captions = Captions(fixed.captions.states, fixed.captions.ends[: 5 * len(rows)])
    adapted = sentences(text, captions, adapted=True)
    texts = torch.cat([adapted, fixed.plain[rows].flatten(0, 1)], 1)
    return "validation " + recalls((texts @ images.T).numpy(), np.arange(len(texts)) // 5)


@torch.no_grad()
def validate_stamps(tower: ImageTower, text: TextTower, stamps: Captions, grid: Tensor) -> str:
    tower.dropout.eval()
    images = tower.from_grid(grid.float())
    tower.dropout.train()
    texts = torch.cat([sentences(text, stamps, adapted=a) for a in (True, False)], 1)
    return "stamps " + recalls((texts @ images.T).numpy(), np.arange(len(texts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("indexer/starter"))
    parser.add_argument("--cache", type=Path, default=Path("build/starter_encoder"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--holdout", choices=("test", "validation"), default="test")
    parser.add_argument("--revision", help="of the files to write: a new one for new weights")
    parser.add_argument("--evaluate-only", action="store_true")
    args = parser.parse_args()
    if not args.evaluate_only and not args.revision:
        parser.error("--revision is missing: embeddings are kept under it, so a new one")
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    if not args.evaluate_only:
        args.cache.mkdir(parents=True, exist_ok=True)
        image, text = ImageTower().eval(), TextTower().eval()
        trained = args.cache / f"towers_{args.holdout}_{args.epochs}.pt"
        if not trained.exists():
            info = ImageNetInfo()
            names = [info.index_to_description(i) for i in range(1000)]
            classes = cached_captions(text, names, args.cache, "classes")
            image.class_texts.copy_(sentences(text, classes, adapted=False))
            files, captions = (each[TEST:] for each in flickr(args.data))
            paths = [args.data / "flickr8k/images" / f for f in files]
            grids = [cached_grids(image, paths, view, args.cache) for view in range(VIEWS)]
            five = cached_captions(text, [c for f in captions for c in f], args.cache, "flickr")
            fixed = prepare(image, text, grids, five)
            stamps = read_table(args.data / "stamps/captions.tsv")
            pixels = [read_pixels(args.data / "stamps/images" / row["file"]) for row in stamps]
            grid = image.grid(torch.from_numpy(np.stack(pixels)))
            words = cached_captions(text, [row["caption"] for row in stamps], args.cache, "stamps")
            first = 0 if args.holdout == "test" else VALIDATION
            rows = torch.arange(first, len(files))
            train(image, text, fixed, rows, args.epochs, words, grid)
            draft = trained.with_suffix(".tmp")
            torch.save({"image": image.state_dict(), "text": text.state_dict()}, draft)
            os.replace(draft, trained)
        weights = torch.load(trained)
        image.load_state_dict(weights["image"])
        text.load_state_dict(weights["text"])
        export(image, text, args.out, args.cache / "full", args.revision)
    evaluate(args.data, args.out, args.cache / "full")


if __name__ == "__main__":
    main()
