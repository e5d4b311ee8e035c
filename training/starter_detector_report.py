"""The starter detector's figures, the calibration of its scores, and the files that ship.

`detector.onnx` holds no weights of its own: its tensors point into `model.safetensors`, so both
runtimes share one float16 copy.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from starter_common import PIXEL_MEAN, PIXEL_SCALE, pixels_to_input
from starter_detector_data import (
    COUNT_LABELS,
    IMAGE_SIZE_PX,
    LABEL_INDEX,
    LABELS,
    VOC_LABELS,
    Floats,
    Picture,
    Pixels,
)
from torch import Tensor, nn
from transformers import RTDetrImageProcessor, RTDetrV2ForObjectDetection

from searchengine.boxes import drop_duplicates, iou
from searchengine.counting import likeliest, number_distributions
from searchengine.detector import LEAST_SCORE

# AP50 on VOC's calibration pictures in the middle of the encoder phase: 0.663, 0.665, 0.651, 0.623
# for 0.4, 0.5, 0.6, 0.7; numbers of cars and people are righter below 0.6 than above.
DUPLICATE_IOU = 0.5
# A box that lies this well is the thing, if not its outline: what counting and absences ask. The
# likelihood of VOC's calibration numbers is better than with 0.5 for people, cars and cats (mean
# negative log 0.63, 0.86, 0.20 against 0.72, 0.89, 0.22), and hardly worse than with 0.2.
THERE_IOU = 0.3
DROPPED = -12.0  # logit of a box that is given up
WEIGHTS, GRAPH, CARD = "model.safetensors", "detector.onnx", "detector.json"
Calibration = dict[str, Any]  # of detector.json
Detect = Callable[[Pixels], tuple[Floats, Floats]]  # pixels -> logits (N, Q, 80), boxes (N, Q, 4)


# --- what ships ------------------------------------------------------------------------------


class _FromPixels(nn.Module):
    """uint8 pixels (N, 416, 416, 3) to logits (N, Q, 80) and boxes_xyxy (N, Q, 4)."""

    def __init__(self, detector: RTDetrV2ForObjectDetection) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        out = self.detector(pixels_to_input(pixels))
        centre, half = out.pred_boxes[..., :2], out.pred_boxes[..., 2:] * 0.5
        return out.logits, torch.cat([centre - half, centre + half], -1).clamp(0, 1)


def save_folder(detector: RTDetrV2ForObjectDetection, folder: Path) -> None:
    """Writes config, float16 weights, the processor and the ONNX graph over the same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    detector.eval().half().save_pretrained(folder)
    config_path = folder / "config.json"
    config = json.loads(config_path.read_text())
    config["dtype"] = "float32"  # stored in half precision, run in single: CPUs have no other
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / WEIGHTS).chmod(0o644)
    processor = RTDetrImageProcessor(
        size={"height": IMAGE_SIZE_PX, "width": IMAGE_SIZE_PX},
        do_normalize=True,
        image_mean=[PIXEL_MEAN / 255] * 3,
        image_std=[PIXEL_SCALE / 255] * 3,
    )
    processor.save_pretrained(folder)
    _export_onnx(RTDetrV2ForObjectDetection.from_pretrained(folder), folder)


def _export_onnx(detector: RTDetrV2ForObjectDetection, folder: Path) -> None:
    path = folder / GRAPH
    torch.onnx.export(
        _FromPixels(detector).eval(),
        (torch.zeros((2, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=torch.uint8),),
        path,
        input_names=["pixels"],
        output_names=["logits", "boxes_xyxy"],
        dynamic_axes={name: {0: "n"} for name in ("pixels", "logits", "boxes_xyxy")},
        opset_version=17,
        dynamo=False,
        # folding would change the tensors, and they must stay those of the safetensors file
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )
    graph = onnx.load(path)
    stored = (folder / WEIGHTS).read_bytes()
    start = 8 + struct.unpack("<Q", stored[:8])[0]
    places = {}
    for name, entry in json.loads(stored[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            places[tuple(entry["shape"]), stored[begin:end]] = (begin, end - begin)
    casts, shared = [], []
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float16).tobytes()
        offset, length = places[tuple(tensor.dims), values]
        half = TensorProto(
            name=f"{tensor.name}.half",
            data_type=TensorProto.FLOAT16,
            dims=tensor.dims,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            half.external_data.add(key=key, value=str(value))
        shared.append(half)
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = casts + list(graph.graph.node)
    for node in nodes:
        node.doc_string = ""
        node.name = ""
    del graph.graph.initializer[:], graph.graph.node[:]
    graph.graph.initializer.extend(shared)
    graph.graph.node.extend(nodes)
    path.write_bytes(graph.SerializeToString())


def write_card(folder: Path, predictions: Predictions, revision: str) -> None:
    """`detector.json`: what a reader needs to use the files, and their checksums.

    `predictions` are those on the calibration pictures, duplicates dropped.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name != CARD)
    files = {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "size_bytes": (folder / name).stat().st_size,
        }
        for name in names
    }
    card = {
        "name": "starter",
        "revision": revision,
        "image_size_px": IMAGE_SIZE_PX,
        "labels": list(LABELS),
        "calibration": {
            "note": "score = sigmoid(scale * logit + bias), [scale, bias] by label: the chance "
            "that a thing of this label is there, in a box that fits it roughly (IoU 0.3)",
            "by_label": fit_calibration(predictions),
        },
        "duplicate_iou": DUPLICATE_IOU,
        "files": files,
    }
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")


def onnx_detector(folder: Path, threads: int) -> Detect:
    """The shipped graph, as a function of pixels."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(folder / GRAPH, options)

    def detect(pixels: Pixels) -> tuple[Floats, Floats]:
        logits, boxes = session.run(["logits", "boxes_xyxy"], {"pixels": pixels})
        return np.asarray(logits), np.asarray(boxes)

    return detect


# --- figures ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the detector says of some pictures, beside what is known of them."""

    pictures: list[Picture]
    logits: Floats  # [I, Q, 80]
    boxes_xyxy: Floats  # [I, Q, 4]


def of_source(predictions: Predictions, source: str) -> Predictions:
    at = [row for row, picture in enumerate(predictions.pictures) if picture.source == source]
    pictures = [predictions.pictures[row] for row in at]
    return Predictions(pictures, predictions.logits[at], predictions.boxes_xyxy[at])


def predict(detect: Detect, pictures: list[Picture], batch: int = 16) -> Predictions:
    logits, boxes = [], []
    for start in range(0, len(pictures), batch):
        some = [_pixels(picture.path) for picture in pictures[start : start + batch]]
        outputs = detect(np.stack(some))
        logits.append(outputs[0])
        boxes.append(outputs[1])
    return Predictions(pictures, np.concatenate(logits), np.concatenate(boxes))


def _pixels(path: Path) -> Pixels:
    size = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR))


def without_duplicates(predictions: Predictions) -> Predictions:
    """What the package keeps: of two boxes of one label that overlap too much, the surer one."""
    logits = np.full_like(predictions.logits, DROPPED)
    for row, boxes in enumerate(predictions.boxes_xyxy):
        for label in range(len(LABELS)):
            scores = predictions.logits[row, :, label]
            kept = drop_duplicates(boxes, scores, DUPLICATE_IOU)
            logits[row, kept, label] = scores[kept]
    return Predictions(predictions.pictures, logits, predictions.boxes_xyxy)


def hits(
    predictions: Predictions, label: int, *, min_confidence: float, min_iou: float
) -> tuple[Floats, Floats, int]:
    """Every box's logit, whether it is right (the best first), and the true number."""
    logits, right, total = [], [], 0
    for row, picture in enumerate(predictions.pictures):
        known = (picture.labels == label) & (picture.confidence >= min_confidence)
        truth = picture.boxes_xyxy[known]
        total += len(truth)
        scores = predictions.logits[row, :, label]
        order = np.argsort(-scores)
        correct = np.zeros(len(scores), np.float32)
        if len(truth):
            overlaps = iou(predictions.boxes_xyxy[row], truth)
            for query in order:
                best = int(overlaps[query].argmax())
                if overlaps[query, best] >= min_iou:
                    correct[query] = 1
                    overlaps[:, best] = -1  # each true box is found once
        logits.append(scores[scores > DROPPED])
        right.append(correct[scores > DROPPED])
    return np.concatenate(logits), np.concatenate(right), total


def average_precision(predictions: Predictions, label: str) -> tuple[float, int]:
    """AP50 (area under the monotone precision curve, all points) and the number of true boxes."""
    logits, right, total = hits(predictions, LABEL_INDEX[label], min_confidence=0.999, min_iou=0.5)
    found = right[np.argsort(-logits, kind="stable")].cumsum()
    precision = found / np.arange(1, len(found) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    recall = found / max(total, 1)
    return float((np.diff(recall, prepend=0) * best).sum()), total


def count_errors(
    predictions: Predictions, label: str, fit: Sequence[float]
) -> npt.NDArray[np.int64]:
    """Counted minus true, for the pictures that hold 1 to 4: the number that the package shows."""
    index = LABEL_INDEX[label]
    errors = []
    for row, picture in enumerate(predictions.pictures):
        truth = int(((picture.labels == index) & (picture.confidence >= 0.999)).sum())
        if 1 <= truth <= 4:
            scores = 1 / (1 + np.exp(-(fit[0] * predictions.logits[row, :, index] + fit[1])))
            kept = scores[scores >= LEAST_SCORE].astype(np.float64)
            errors.append(int(likeliest(number_distributions([kept]))[0]) - truth)
    return np.array(errors, np.int64)


def fit_calibration(predictions: Predictions) -> dict[str, list[float]]:
    """[scale, bias] for each label, by which sigmoid(scale * logit + bias) is a chance.

    Logistic regression (Platt 1999) on the calibration pictures; of a label that people drew, on
    VOC alone, where every one of its boxes is known. A label seen less than 20 times takes all
    labels' pooled fit.
    """
    right_from = {"min_confidence": 0.5, "min_iou": THERE_IOU}
    points = {label: hits(predictions, LABEL_INDEX[label], **right_from) for label in LABELS}
    complete = of_source(predictions, "voc")
    for label in VOC_LABELS:
        found = hits(complete, LABEL_INDEX[label], **right_from)
        if found[1].sum() >= 20:
            points[label] = found
    pooled = _platt(
        np.concatenate([each[0] for each in points.values()]),
        np.concatenate([each[1] for each in points.values()]),
    )
    fitted = {
        label: _platt(logits, right) if right.sum() >= 20 else pooled
        for label, (logits, right, _) in points.items()
    }
    return {label: [round(scale, 4), round(bias, 4)] for label, (scale, bias) in fitted.items()}


def _platt(logits: Floats, right: Floats) -> tuple[float, float]:
    scale, bias = 1.0, 0.0
    x = np.stack([logits, np.ones_like(logits)], 1).astype(np.float64)
    prior = np.diag([1.0, 0.1])  # pulls towards the raw score
    weights = np.array([scale, bias])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-(x @ weights)))
        gradient = x.T @ (chance - right) + prior @ (weights - [1.0, 0.0])
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + prior
        weights = weights - np.linalg.solve(curvature, gradient)
    return float(weights[0]), float(weights[1])


def figures(detect: Detect, pictures: list[Picture], calibration: Calibration) -> dict[str, object]:
    """Every figure of the model card, from the test part: read as recommended, and as it is."""
    plain = {
        source: predict(detect, [p for p in pictures if (p.source, p.part) == (source, "test")])
        for source in ("voc", "coco")
    }
    read = {source: without_duplicates(each) for source, each in plain.items()}
    return {
        "duplicates_dropped": _test_figures(read, calibration),
        "as_the_network_says": _test_figures(plain, calibration),
    }


def _test_figures(test: dict[str, Predictions], calibration: Calibration) -> dict[str, object]:
    voc = {label: average_precision(test["voc"], label)[0] for label in VOC_LABELS}
    coco = {label: average_precision(test["coco"], label) for label in LABELS}
    frequent = {label: ap for label, (ap, total) in coco.items() if total >= 10}
    present = [ap for ap, total in coco.values() if total]
    counts = {}
    for label in COUNT_LABELS:
        fit = calibration["by_label"][label]
        by_source = {
            source: count_errors(predictions, label, fit) for source, predictions in test.items()
        }
        by_source["both"] = np.concatenate(list(by_source.values()))
        for source, errors in by_source.items():
            counts[f"{label}, {source}"] = {
                "pictures": len(errors),
                "exact": round(float((errors == 0).mean()), 3),
                "within_one": round(float((np.abs(errors) <= 1).mean()), 3),
                "too_few": round(float((errors < 0).mean()), 3),
            }
    return {
        "voc_ap50": {label: round(ap, 3) for label, ap in voc.items()},
        "voc_ap50_mean": round(float(np.mean(list(voc.values()))), 3),
        "coco_person_ap50": round(coco["person"][0], 3),
        "coco_frequent_ap50": {label: round(ap, 3) for label, ap in frequent.items()},
        "coco_frequent_ap50_mean": round(float(np.mean(list(frequent.values()))), 3),
        "coco_all_present_labels": len(present),
        "coco_all_present_ap50_mean": round(float(np.mean(present)), 3),
        "counts_1_to_4": counts,
    }


def pictures_per_second(folder: Path, threads: int = 2, batch: int = 8) -> float:
    """The ONNX file's rate, decoding not included; the best of five, as other work disturbs."""
    detect = onnx_detector(folder, threads)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
    detect(pixels)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        detect(pixels)
        rates.append(batch / (time.perf_counter() - started))
    return round(max(rates), 1)
