"""The shipped starter detector: undamaged, small, and giving the answers it gave when it was made.

Photographs come from scikit-image's wheel; boxes are xyxy fractions of the picture.
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image

import searchengine

FOLDER = Path(searchengine.__file__).parent / "starter_detector"
CARD = json.loads((FOLDER / "detector.json").read_text(encoding="utf-8"))
LABELS: list[str] = CARD["labels"]
Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(FOLDER / "detector.onnx")


def photograph(name: str) -> Image.Image:
    skimage = pytest.importorskip("skimage", reason="the photographs are in scikit-image's wheel")
    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (640, 320))
    both.paste(left.resize((320, 320)), (0, 0))
    both.paste(right.resize((320, 320)), (320, 0))
    return both


def pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    size = (CARD["image_size_px"],) * 2
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))[None]


def calibrated(logits: Floats) -> Floats:
    """The scores that a reader of `detector.json` computes."""
    fits = np.array([CARD["calibration"]["by_label"][label] for label in LABELS], np.float32)
    return np.asarray(1 / (1 + np.exp(-(logits * fits[:, 0] + fits[:, 1]))), np.float32)


def found(
    session: onnxruntime.InferenceSession, image: Image.Image
) -> list[tuple[str, float, Floats]]:
    """(label, score, box) of everything that counts, best first, duplicates dropped."""
    counts_from = CARD["calibration"]["count_from"]
    least = np.array([counts_from.get(label, 0.5) for label in LABELS])
    logits, boxes = session.run(["logits", "boxes_xyxy"], {"pixels": pixels(image)})
    scores = calibrated(logits[0])
    query, label = np.nonzero(scores >= least)
    order = np.argsort(-scores[query, label])
    kept: list[tuple[str, float, Floats]] = []
    for at, kind in zip(query[order], label[order], strict=True):
        same = [other for name, _, other in kept if name == LABELS[kind]]
        if all(iou(boxes[0, at], other) <= CARD["duplicate_iou"] for other in same):
            kept.append((LABELS[kind], float(scores[at, kind]), boxes[0, at]))
    return kept


def iou(a: Floats, b: Floats) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - shared)


def test_every_file_has_the_size_and_the_sha256_of_detector_json() -> None:
    there = {path.name for path in FOLDER.iterdir()} - {"detector.json"}
    assert there == set(CARD["files"])
    for name, file in CARD["files"].items():
        content = (FOLDER / name).read_bytes()
        assert len(content) == file["size_bytes"], name
        assert hashlib.sha256(content).hexdigest() == file["sha256"], name


def test_all_files_together_stay_below_15_mb() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 15_000_000


def test_labels_are_cocos_80_and_each_has_a_calibration() -> None:
    assert len(LABELS) == len(set(LABELS)) == 80
    assert [LABELS[i] for i in (0, 2, 15, 16, 79)] == ["person", "car", "cat", "dog", "toothbrush"]
    assert set(CARD["calibration"]["by_label"]) == set(LABELS)


# What the shipped files answered on the day they were made: the best box of a label.
FIXED_BOXES = {
    "astronaut.png": ("person", (0.236, 0.035, 0.622, 0.563)),
    "camera.png": ("person", (0.008, 0.119, 0.564, 1.0)),
    "motorcycle_left.png": ("motorcycle", (0.132, 0.184, 0.738, 0.857)),
    "coffee.png": ("cup", (0.246, 0.093, 0.726, 0.865)),
    "chelsea.png": ("cat", (0.017, 0.0, 0.933, 0.992)),
}


@pytest.mark.parametrize("name", FIXED_BOXES)
def test_a_photograph_has_its_box_where_it_was(
    session: onnxruntime.InferenceSession, name: str
) -> None:
    label, box = FIXED_BOXES[name]
    logits, boxes = session.run(["logits", "boxes_xyxy"], {"pixels": pixels(photograph(name))})
    best = int(logits[0, :, LABELS.index(label)].argmax())
    assert int(logits[0].max(axis=0).argmax()) == LABELS.index(label)  # nothing is surer
    assert iou(boxes[0, best], np.array(box, np.float32)) > 0.95


@pytest.mark.parametrize(
    ("name", "label"),
    [("camera.png", "person"), ("coffee.png", "cup"), ("chelsea.png", "cat")],
)
def test_one_thing_is_counted_once(
    session: onnxruntime.InferenceSession, name: str, label: str
) -> None:
    assert [each[0] for each in found(session, photograph(name))].count(label) == 1


def test_two_cats_side_by_side_are_two_and_lie_left_and_right(
    session: onnxruntime.InferenceSession,
) -> None:
    cat = photograph("chelsea.png")
    mirrored = cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    boxes = [each[2] for each in found(session, side_by_side(cat, mirrored)) if each[0] == "cat"]
    assert len(boxes) == 2
    assert sorted(float((box[0] + box[2]) / 2) > 0.5 for box in boxes) == [False, True]


def test_person_left_of_cat_is_seen_as_that(session: onnxruntime.InferenceSession) -> None:
    image = side_by_side(photograph("astronaut.png"), photograph("chelsea.png"))
    centres = {label: float(box[0] + box[2]) / 2 for label, _, box in found(session, image)}
    assert centres["person"] < 0.5 < centres["cat"]


@pytest.mark.parametrize("name", ["brick.png", "grass.png", "moon.png"])
def test_a_texture_holds_no_person_and_no_cat(
    session: onnxruntime.InferenceSession, name: str
) -> None:
    assert {each[0] for each in found(session, photograph(name))}.isdisjoint({"person", "cat"})


def test_a_batch_gives_the_answers_of_its_pictures_alone(
    session: onnxruntime.InferenceSession,
) -> None:
    names = ("chelsea.png", "astronaut.png", "coffee.png")
    alone = [pixels(photograph(name)) for name in names]
    together = session.run(None, {"pixels": np.concatenate(alone)})
    for row, one in enumerate(alone):
        for batched, single in zip(together, session.run(None, {"pixels": one}), strict=True):
            np.testing.assert_allclose(batched[row], single[0], atol=1e-3)


@pytest.mark.skipif(
    find_spec("transformers") is None or find_spec("timm") is None,
    reason="the folder loads with transformers and timm, which are not installed",
)
def test_the_folder_loads_by_from_pretrained_and_agrees_with_the_graph(
    session: onnxruntime.InferenceSession,
) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    model = AutoModelForObjectDetection.from_pretrained(FOLDER, local_files_only=True).eval()
    processor = AutoImageProcessor.from_pretrained(FOLDER, local_files_only=True)
    assert model.config.id2label[15] == "cat"
    image = photograph("chelsea.png").resize((CARD["image_size_px"],) * 2)
    with torch.no_grad():
        out = model(**processor(images=image, return_tensors="pt"))
    logits, _ = session.run(["logits", "boxes_xyxy"], {"pixels": pixels(image)})
    np.testing.assert_allclose(out.logits.numpy(), logits, atol=5e-3)
