"""The starter encoder's files and figures: ONNX export, small weights, and what they reach."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image
from starter_common import read_table
from starter_encoder_model import (
    CONTEXT_LENGTH,
    MINILM,
    SIZE_PX,
    Floats,
    ImageTower,
    TextTower,
    read_pixels,
    tokenize,
)
from tokenizers import Tokenizer
from torch import Tensor, nn

from indexer.onnx_encoder import OnnxEncoder

LOGIT_SCALE = 32.0  # for zero-shot, the likeliest on Caltech-101 class names with revision 2


def batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def export_onnx(module: nn.Module, example: Tensor, path: Path, name: str) -> None:
    axes = {name: {0: "n"}, "embeddings": {0: "n"}}
    if name == "tokens":
        axes[name][1] = "t"
    torch.onnx.export(
        module.eval(), (example,), str(path), input_names=[name], output_names=["embeddings"],
        dynamic_axes=axes, dynamo=False, opset_version=17,
    )  # fmt: skip


def shrink(path: Path) -> None:
    """Store the weights small; ONNX Runtime folds the Cast (and Mul) away when it loads them.

    int8 with one scale an output channel (a word, for an embedding) for every matrix, and for the
    convolutions of the two ends; float16 for the rest. All sums stay float32.
    """
    model = onnx.load(path)
    graph, nodes = model.graph, []
    lookups = {n.input[0]: n for n in graph.node if n.op_type == "Gather"}
    across = dict.fromkeys(lookups, 1) | _summed_axes(model)
    for tensor in list(graph.initializer):
        values, name = numpy_helper.to_array(tensor), tensor.name
        if tensor.data_type != TensorProto.FLOAT or values.size < 2048:
            continue
        graph.initializer.remove(tensor)
        if name not in across:
            half = numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16")
            graph.initializer.append(half)
            nodes.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
            continue
        stored = f"{name}_int8"
        largest = np.abs(values).max(across[name], keepdims=True)
        scale = np.maximum(largest / 127, 1e-12).astype(np.float32)
        rounded = np.rint(values / scale).astype(np.int8)
        graph.initializer.append(numpy_helper.from_array(rounded, stored))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
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


def _summed_axes(model: ModelProto) -> dict[str, int | tuple[int, ...]]:
    """The axes that are summed over, of each weight to be stored as int8."""
    axes: dict[str, int | tuple[int, ...]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            axes[node.input[1]] = 0
        elif node.op_type == "Gemm":  # stored transposed by torch
            axes[node.input[1]] = 1
        elif node.op_type == "Conv" and ("/tuned/" in node.name or "/frozen/" in node.name):
            axes[node.input[1]] = (1, 2, 3)
    return axes


def export(image: ImageTower, text: TextTower, out: Path, full: Path, revision: str) -> None:
    """Full precision into `full` (for measuring what shrinking costs), small into `out`."""
    full.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    pixels = torch.randint(0, 255, (2, SIZE_PX, SIZE_PX, 3), dtype=torch.uint8)
    export_onnx(image, pixels, full / "image.onnx", "pixels")
    tokens = torch.from_numpy(tokenize(["two dogs", "a beach at sunset"]))
    export_onnx(text, tokens, full / "text.onnx", "tokens")
    for name in ("image.onnx", "text.onnx"):
        (out / name).write_bytes((full / name).read_bytes())
        shrink(out / name)
    tokenizer = Tokenizer.from_file(str(MINILM / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    names = ("image.onnx", "text.onnx", "tokenizer.json")
    meta = {
        "name": "starter", "revision": revision, "dimension": 768, "image_size_px": SIZE_PX,
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


def recalls(scores: Floats, right: npt.NDArray[np.int64]) -> str:
    """recall@1 / 5 / 10 in per cent of queries [Q, N] whose right answer is known [Q]."""
    ranks = (scores > scores[np.arange(len(right)), right][:, None]).sum(1)
    return " / ".join(f"{100 * (ranks < k).mean():.1f}" for k in (1, 5, 10))


def flickr(data: Path) -> tuple[list[str], list[list[str]]]:
    """Files in the order of the split (test, validation, training) and their five captions."""
    captions: dict[str, list[str]] = {}
    for row in read_table(data / "flickr8k/captions.tsv"):
        captions.setdefault(row["file"], []).append(row["caption"])
    files = sorted(captions, key=lambda f: hashlib.sha256(f.encode()).hexdigest())
    return files, [captions[f] for f in files]


def evaluate(data: Path, out: Path, full: Path) -> None:
    """Print every figure of the model card."""
    files, captions = flickr(data)
    pictures = [data / "flickr8k/images" / f for f in files[:1000]]
    queries = [c for five in captions[:1000] for c in five]
    stamps = read_table(data / "stamps/captions.tsv")
    stamp_pictures = [data / "stamps/images" / row["file"] for row in stamps]
    for label, folder in (("shipped", out), ("full precision", full)):
        if not (folder / "image.onnx").exists():
            continue
        encoder = Shipped(folder)
        print(f"{label}:")
        images, texts = encoder.images(pictures), encoder.texts(queries)
        print("  Flickr8k test, recall@1/5/10:", recalls(texts @ images.T, np.arange(5000) // 5))
        stamp_texts = encoder.texts([row["caption"] for row in stamps])
        scores = stamp_texts @ encoder.images(stamp_pictures).T
        print("  stamps, recall@1/5/10:", recalls(scores, np.arange(len(stamps))))
        if label == "shipped":
            nearest = (encoder.images(pictures, mirrored=True) @ images.T).argmax(1)
            print(f"  mirror image nearest: {100 * (nearest == np.arange(1000)).mean():.1f} %")
            measure_zero_shot(encoder, data / "caltech101")
            measure_speed(folder, pictures, queries)
    for path in sorted(out.glob("*.*")):
        print(f"  {path.name}: {path.stat().st_size / 1e6:.2f} MB")


def measure_zero_shot(encoder: Shipped, folder: Path) -> None:
    """Accuracy over Caltech-101's class names on every tenth picture, and the likeliest scale."""
    rows = [row for row in read_table(folder / "labels.tsv") if row["class"]][::10]
    names = sorted({row["class"] for row in rows})
    texts = encoder.texts([f"a photo of a {name}" for name in names])
    images = encoder.images([folder / "images" / row["file"] for row in rows])
    cosines = images @ texts.T  # [N, classes]
    right = torch.tensor([names.index(row["class"]) for row in rows])
    logits = torch.from_numpy(cosines)
    accuracy = (logits.argmax(1) == right).float().mean().item()
    scale = min(range(5, 80), key=lambda k: F.cross_entropy(k * logits, right).item())
    print(f"  zero-shot Caltech-101: {100 * accuracy:.1f} %, likeliest logit scale {scale}")


def measure_speed(folder: Path, pictures: Sequence[Path], queries: Sequence[str]) -> None:
    """As the package runs it, on two threads: medians, decoding not counted."""
    images = [Image.open(path).convert("RGB") for path in pictures[:32]]
    started = time.perf_counter()
    encoder = OnnxEncoder.load(folder, threads=2)
    encoder.encode_images(images[:1])
    encoder.encode_texts(queries[:1])
    print(f"  loaded, with the first picture and text: {time.perf_counter() - started:.2f} s")
    image_s, text_s = [], []
    for query in queries[1:31]:
        started = time.perf_counter()
        encoder.encode_texts([query])
        text_s.append(time.perf_counter() - started)
    for _ in range(8):
        started = time.perf_counter()
        encoder.encode_images(images)
        image_s.append(time.perf_counter() - started)
    rate, text_ms = len(images) / np.median(image_s), 1000 * np.median(text_s)
    print(f"  {rate:.1f} pictures/s in batches of 32, {text_ms:.1f} ms a text")
