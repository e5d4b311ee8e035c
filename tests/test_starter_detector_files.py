"""The shipped starter detector: undamaged, small, and giving the answers it gave when it was made.

Photographs come from scikit-image's wheel; boxes are xyxy fractions of the picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from photographs import photograph
from PIL import Image

import searchengine
from indexer.records import Box, Detection
from searchengine.counting import likeliest, number_distributions
from searchengine.onnx_detector import OnnxDetector

FOLDER = Path(searchengine.__file__).parent / "starter_detector"
CARD = json.loads((FOLDER / "detector.json").read_text(encoding="utf-8"))
LABELS: list[str] = CARD["labels"]


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(FOLDER / "detector.onnx")


@pytest.fixture(scope="module")
def detector() -> OnnxDetector:
    return OnnxDetector.load(FOLDER)


def read(name: str) -> Image.Image:
    return Image.open(photograph(name)).convert("RGB")


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (640, 320))
    both.paste(left.resize((320, 320)), (0, 0))
    both.paste(right.resize((320, 320)), (320, 0))
    return both


def pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    size = (CARD["image_size_px"],) * 2
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))[None]


def number(found: Sequence[Detection], label: str) -> int:
    """The number that a search shows."""
    scores = np.array([detection.score for detection in found if detection.label == label])
    return int(likeliest(number_distributions([scores]))[0])


def middle(found: Sequence[Detection], label: str) -> float:
    """How far to the right the surest one is."""
    surest = next(detection for detection in found if detection.label == label)
    assert surest.score >= 0.5
    return (surest.box_xyxy[0] + surest.box_xyxy[2]) / 2


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


# What the shipped files answered on the day they were made: all that is surer than 0.35.
FIXED_ANSWERS: dict[str, list[tuple[str, float, Box]]] = {
    "astronaut.png": [
        ("person", 0.8507, (0.236, 0.035, 0.622, 0.563)),
        ("person", 0.7568, (0.0, 0.078, 0.738, 1.0)),
        ("airplane", 0.6199, (0.692, 0.04, 0.898, 0.581)),
        ("person", 0.5209, (0.33, 0.026, 0.975, 1.0)),
    ],
    "camera.png": [
        ("person", 0.9496, (0.008, 0.119, 0.564, 1.0)),
        ("truck", 0.3868, (0.491, 0.264, 0.65, 0.412)),
    ],
    "motorcycle_left.png": [
        ("car", 0.3881, (0.791, 0.236, 0.93, 0.288)),
        ("motorcycle", 0.3559, (0.132, 0.184, 0.738, 0.857)),
    ],
    "coffee.png": [("cup", 0.8581, (0.246, 0.093, 0.726, 0.865))],
    "chelsea.png": [("cat", 0.6599, (0.017, 0.0, 0.933, 0.992))],
}


@pytest.mark.parametrize("name", FIXED_ANSWERS)
def test_a_photograph_shows_what_it_showed(detector: OnnxDetector, name: str) -> None:
    (found,) = detector.detect([read(name)])
    sure = [detection for detection in found if detection.score > 0.35]
    for detection, (label, score, box) in zip(sure, FIXED_ANSWERS[name], strict=True):
        assert detection.label == label
        assert detection.score == pytest.approx(score, abs=1e-3)
        assert detection.box_xyxy == pytest.approx(box, abs=1e-2)


@pytest.mark.parametrize(
    ("name", "label"),
    [("camera.png", "person"), ("coffee.png", "cup"), ("chelsea.png", "cat")],
)
def test_one_thing_is_counted_once(detector: OnnxDetector, name: str, label: str) -> None:
    (found,) = detector.detect([read(name)])
    assert number(found, label) == 1


def test_two_cats_side_by_side_are_two_and_lie_left_and_right(detector: OnnxDetector) -> None:
    cat = read("chelsea.png")
    (found,) = detector.detect([side_by_side(cat, cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT))])
    assert number(found, "cat") == 2
    cats = [each.box_xyxy for each in found if each.label == "cat"][:2]
    assert sorted((x0 + x1) / 2 > 0.5 for x0, _, x1, _ in cats) == [False, True]


def test_person_left_of_cat_is_seen_as_that(detector: OnnxDetector) -> None:
    (found,) = detector.detect([side_by_side(read("astronaut.png"), read("chelsea.png"))])
    assert middle(found, "person") < 0.5 < middle(found, "cat")


@pytest.mark.parametrize("name", ["brick.png", "grass.png", "moon.png"])
def test_a_texture_holds_no_person_and_no_cat(detector: OnnxDetector, name: str) -> None:
    (found,) = detector.detect([read(name)])
    sure = {detection.label for detection in found if detection.score >= 0.35}
    assert sure.isdisjoint({"person", "cat"})
    assert (number(found, "person"), number(found, "cat")) == (0, 0)


def test_a_batch_gives_the_answers_of_its_pictures_alone(
    session: onnxruntime.InferenceSession,
) -> None:
    names = ("chelsea.png", "astronaut.png", "coffee.png")
    alone = [pixels(read(name)) for name in names]
    together = session.run(None, {"pixels": np.concatenate(alone)})
    for row, one in enumerate(alone):
        for batched, single in zip(together, session.run(None, {"pixels": one}), strict=True):
            np.testing.assert_allclose(batched[row], single[0], atol=1e-3)


def test_the_folder_loads_by_from_pretrained_and_agrees_with_the_graph(
    session: onnxruntime.InferenceSession,
) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    model = AutoModelForObjectDetection.from_pretrained(FOLDER, local_files_only=True).eval()
    processor = AutoImageProcessor.from_pretrained(FOLDER, local_files_only=True)
    assert model.config.id2label[15] == "cat"
    image = read("chelsea.png").resize((CARD["image_size_px"],) * 2)
    with torch.no_grad():
        out = model(**processor(images=image, return_tensors="pt"))
    logits, _ = session.run(["logits", "boxes_xyxy"], {"pixels": pixels(image)})
    np.testing.assert_allclose(out.logits.numpy(), logits, atol=5e-3)
