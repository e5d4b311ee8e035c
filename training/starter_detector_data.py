"""The starter detector's data: labels, tables, how far each box is trusted, and the split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from starter_common import read_table

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

IMAGE_SIZE_PX = 416
FEATURE_SHAPES = {"stride16": (120, 26, 26), "stride32": (352, 13, 13)}
STEM_SHAPE = (88, 26, 26)  # what the fine-tuned stages of the backbone read

_NAMES = """
person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,
handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,
skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,
sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,
dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,
refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush
"""
LABELS = tuple(_NAMES.replace("\n", "").split(","))  # COCO's 80, in COCO's order
LABEL_INDEX = {name: index for index, name in enumerate(LABELS)}
VOC_LABELS = ("car", "person", "cat", "train", "bus")  # the five drawn by people in voc/
COUNT_LABELS = ("person", "car", "cat")

# Caltech-101 classes that are COCO labels; a class that is none of them shows distractors only.
CALTECH_LABELS = {
    "airplanes": "airplane",
    "bonsai": "potted plant",
    "car side": "car",
    "cellphone": "cell phone",
    "chair": "chair",
    "cup": "cup",
    "dalmatian": "dog",
    "elephant": "elephant",
    "emu": "bird",
    "ewer": "vase",
    "faces": "person",
    "faces easy": "person",
    "ferry": "boat",
    "flamingo": "bird",
    "flamingo head": "bird",
    "ibis": "bird",
    "ketch": "boat",
    "laptop": "laptop",
    "motorbikes": "motorcycle",
    "pigeon": "bird",
    "pizza": "pizza",
    "rooster": "bird",
    "schooner": "boat",
    "scissors": "scissors",
    "soccer ball": "sports ball",
    "stop sign": "stop sign",
    "umbrella": "umbrella",
    "watch": "clock",
    "windsor chair": "chair",
}
# Words of a stamp's path that name a COCO label (the first that matches counts).
STAMP_LABELS = {
    "bears/toys": "teddy bear",
    "animals/birds": "bird",
    "bovines/cow": "cow",
    "bovines/sheep": "sheep",
    "dogs/dingo": "dog",
    "equines/horse": "horse",
    "equines/zebra": "zebra",
    "fruit/apple": "apple",
    "vegetables/carrot": "carrot",
    "arttools/scissors": "scissors",
    "fireman": "person",
    "sports/soccer": "sports ball",
    "sports/cricketball": "sports ball",
    "sedan_police": "car",
    "planes/747": "airplane",
    "f22_raptor": "airplane",
    "indycar": "car",
    "garbagetruck": "truck",
    "dumper": "truck",
    "vehicles/ship": "boat",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One photograph and what is known of it.

    `confidence` is 1 for boxes drawn by people, and for another detector's surest.
    """

    path: Path
    source: str
    part: str  # "train", "calibration" or "test"
    labels: Ints  # [N]
    boxes_xyxy: Floats  # [N, 4] in 0..1
    confidence: Floats  # [N] in 0..1


def part_of(source: str, file: str) -> str:
    """The split, written down: by the sha256 of `source/file`, so it needs no list.

    Test: 50 % of coco, 20 % of voc. Calibration (never trained on, used to fit the scores'
    calibration): 8 % of voc and 4 % of flickr8k. Everything else is trained on.
    """
    slot = int(hashlib.sha256(f"{source}/{file}".encode()).hexdigest()[:8], 16) % 100
    test, calibration = {"coco": (50, 0), "voc": (20, 8), "flickr8k": (0, 4)}.get(source, (0, 0))
    if slot < test:
        return "test"
    return "calibration" if slot < test + calibration else "train"


def trust(score: float) -> float:
    """How far a pseudo-label is believed: 0.2 at score 0.15, 0.7 at 0.35, 1 from 0.5 on."""
    return float(np.interp(score, [0.15, 0.35, 0.50], [0.2, 0.7, 1.0], left=0.0))


def read_pictures(data: Path) -> list[Picture]:
    """All pictures with boxes, in a fixed order."""
    classes = {row["file"]: row["class"] for row in read_table(data / "caltech101" / "labels.tsv")}
    pictures = []
    for source in ("coco", "voc", "flickr8k", "caltech101"):
        rows: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in read_table(data / source / "boxes.tsv"):
            rows[row["file"]].append(row)
        folder = data / source / "images"
        for path in sorted(folder.rglob("*.jpg")):
            file = path.relative_to(folder).as_posix()
            kept = [(row, _confidence(source, row, classes.get(file))) for row in rows[file]]
            kept = [(row, confidence) for row, confidence in kept if confidence > 0]
            labels = [LABEL_INDEX[row["label"]] for row, _ in kept]
            boxes = [[float(row[side]) for side in ("x0", "y0", "x1", "y1")] for row, _ in kept]
            pictures.append(
                Picture(
                    path,
                    source,
                    part_of(source, file),
                    np.array(labels, np.int64),
                    np.array(boxes, np.float32).reshape(-1, 4),
                    np.array([confidence for _, confidence in kept], np.float32),
                )
            )
    return pictures


def _confidence(source: str, row: dict[str, str], caltech_class: str | None) -> float:
    """How far one row is believed; 0 drops it."""
    label, score = row["label"], float(row["score"])
    if label not in LABEL_INDEX:  # "(crowd)" boxes
        return 0.0
    if source == "coco" or score >= 1.0:
        return 1.0
    if source == "voc" and label in VOC_LABELS:
        return 0.0  # these five are complete as people drew them
    if source != "caltech101":
        return trust(score)
    known = CALTECH_LABELS.get(caltech_class or "")
    if label == known:
        return min(1.0, 2.5 * trust(score))  # class and detector agree
    if label == "person":
        return trust(score) if score >= 0.3 else 0.0
    # A beaver is called a bear, a wrench scissors: under another name it is a mistake.
    return trust(score) if score >= 0.5 and not caltech_class else 0.0
