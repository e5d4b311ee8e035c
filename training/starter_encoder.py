"""Train, export and measure the starter encoder that ships in `indexer/starter/`.

    python training/starter_encoder.py --data ../shared/data --out indexer/starter --revision 4

Two halves side by side: EfficientNet-Lite2 with its last blocks fine-tuned on Flickr8k captions
together with MiniLM's last layer, and ConSE over ImageNet's class names, untrained. The loss sees
both halves' sum, so that the trained half learns what ConSE does not know yet. Stamps, COCO, VOC
and Caltech-101 are never trained on.

Split of Flickr8k by sha256 of the file name, in rising order: the first 1,000 are the test, the
next 1,000 the validation set for choosing (stamps were in view), the rest for training. The
shipped weights are trained on training and validation pictures; the test's only measure them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from starter_common import read_table
from starter_encoder_cache import SEED, VIEWS, Captions, cached_captions, cached_grids
from starter_encoder_model import CONSE_WEIGHT, ImageTower, TextTower, read_pixels
from starter_encoder_report import evaluate, export, flickr, recalls
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

EPOCHS, BATCH = 12, 256
VIEW_ODDS = [0.28, 0.28, *[0.44 / (VIEWS - 2)] * (VIEWS - 2)]  # 0.44 for all crops together
AVERAGING = 0.98  # of the weights' mean a step keeps so much: the last 50 steps or so count
CAPTIONS = 2  # of a picture's five, drawn anew every step
TEST = VALIDATION = 1000


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
    views = np.random.choice(VIEWS, size, p=VIEW_ODDS)
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
) -> tuple[ImageTower, TextTower]:  # fmt: skip
    """A warm-up of the linear layer, then it, the last blocks and MiniLM's last layer together.

    The rate rises over the first epoch and then stays; the moving average of the weights is what is
    validated and returned.
    """
    log_scale = nn.Parameter(torch.tensor(3.0))
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
    schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / steps))
    both = nn.ModuleList([tower, text])
    averaged = AveragedModel(both, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING)).eval()
    averaged_image, averaged_text = averaged.module
    started, held_out = time.monotonic(), torch.arange(int(rows[0]))
    for epoch in range(epochs):
        shuffled, total = rows[torch.randperm(len(rows))], 0.0
        for chosen in shuffled[: steps * BATCH].split(BATCH):
            loss = step_loss(tower, text, fixed, chosen, log_scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(both)
            total += loss.item() / steps
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total:.3f}, {time.monotonic() - started:.0f} s",
            f"{validate(averaged_image, averaged_text, fixed, held_out)}, "
            f"{validate_stamps(averaged_image, averaged_text, stamps, stamp_grid)}"
            if len(held_out) else "",
            flush=True,
        )  # fmt: skip
    return averaged_image, averaged_text


@torch.no_grad()
def validate(tower: ImageTower, text: TextTower, fixed: Fixed, rows: Tensor) -> str:
    """recall@1/5/10 on pictures that are not trained on."""
    images = torch.cat([tower.from_grid(fixed.grids[0][some].float()) for some in rows.split(100)])
    captions = Captions(fixed.captions.states, fixed.captions.ends[: 5 * len(rows)])
    adapted = sentences(text, captions, adapted=True)
    texts = torch.cat([adapted, fixed.plain[rows].flatten(0, 1)], 1)
    return "validation " + recalls((texts @ images.T).numpy(), np.arange(len(texts)) // 5)


@torch.no_grad()
def validate_stamps(tower: ImageTower, text: TextTower, stamps: Captions, grid: Tensor) -> str:
    images = tower.from_grid(grid.float())
    texts = torch.cat([sentences(text, stamps, adapted=a) for a in (True, False)], 1)
    return "stamps " + recalls((texts @ images.T).numpy(), np.arange(len(texts)))


def fill_and_train(
    data: Path, cache: Path, first: int, epochs: int
) -> tuple[ImageTower, TextTower]:
    """Both trained on Flickr8k's pictures from number `first` on, counted after the test's.

    Those before it are for validation.
    """
    cache.mkdir(parents=True, exist_ok=True)
    image, text = ImageTower().eval(), TextTower().eval()
    info = ImageNetInfo()
    names = [info.index_to_description(i) for i in range(1000)]
    classes = cached_captions(text, names, cache, "classes")
    image.class_texts.copy_(sentences(text, classes, adapted=False))
    files, captions = (each[TEST:] for each in flickr(data))
    paths = [data / "flickr8k/images" / f for f in files]
    grids = [cached_grids(image, paths, view, cache) for view in range(VIEWS)]
    five = cached_captions(text, [c for f in captions for c in f], cache, "flickr")
    fixed = prepare(image, text, grids, five)
    stamps = read_table(data / "stamps/captions.tsv")
    pixels = [read_pixels(data / "stamps/images" / row["file"]) for row in stamps]
    grid = image.grid(torch.from_numpy(np.stack(pixels)))
    words = cached_captions(text, [row["caption"] for row in stamps], cache, "stamps")
    return train(image, text, fixed, torch.arange(first, len(files)), epochs, words, grid)


def shipping_towers(
    data: Path, cache: Path, epochs: int, revision: str
) -> tuple[ImageTower, TextTower]:
    """Trained on training and validation pictures, or as an earlier run left them in the cache."""
    path = cache / f"towers_{revision}_{epochs}.pt"
    if path.exists():
        print(f"taken up: {path}; delete it to train again", flush=True)
    else:
        image, text = fill_and_train(data, cache, 0, epochs)
        draft = path.with_suffix(".tmp")
        torch.save({"image": image.state_dict(), "text": text.state_dict()}, draft)
        os.replace(draft, path)
    weights = torch.load(path)
    image, text = ImageTower().eval(), TextTower().eval()
    image.load_state_dict(weights["image"])
    text.load_state_dict(weights["text"])
    return image, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("indexer/starter"))
    parser.add_argument("--cache", type=Path, default=Path("build/starter_encoder"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--revision", help="of the files to write: a new one for new weights")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--validate-only",
        action="store_true",
        help="for choosing: keep the validation pictures out of training, print what is reached on "
        "them and on stamps after every epoch, and write nothing but the cache",
    )
    modes.add_argument("--evaluate-only", action="store_true", help="figures of what is in --out")
    args = parser.parse_args()
    if not (args.evaluate_only or args.validate_only or args.revision):
        parser.error("--revision is missing: embeddings are kept under it, so a new one")
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    if args.validate_only:
        fill_and_train(args.data, args.cache, VALIDATION, args.epochs)
        return
    if not args.evaluate_only:
        image, text = shipping_towers(args.data, args.cache, args.epochs, args.revision)
        export(image, text, args.out, args.cache / "full", args.revision)
    evaluate(args.data, args.out, args.cache / "full")


if __name__ == "__main__":
    main()
