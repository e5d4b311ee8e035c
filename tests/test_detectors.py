"""Which detector a name means, and the DETR family on tiny networks with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import photograph
from PIL import Image

from indexer.errors import DetectorError, DetectorUnavailable, UnknownDetector
from searchengine import detectors
from searchengine.detector import Detector, LazyDetector, collect
from searchengine.onnx_detector import OnnxDetector

LABELS = {0: "person", 1: "N/A", 2: "dog", 3: "cat"}


@pytest.fixture(scope="module")
def starter() -> Detector:
    return OnnxDetector.load(detectors.STARTER_FOLDER)


def test_the_starter_sees_one_cat_where_there_is_one(starter: Detector) -> None:
    both = Image.new("RGB", (640, 320))
    for left, name in ((0, "camera.png"), (320, "chelsea.png")):
        both.paste(Image.open(photograph(name)).convert("RGB").resize((320, 320)), (left, 0))
    (seen,) = starter.detect([both])
    sure = [detection for detection in seen if detection.score >= 0.5]
    assert sorted(
        detection.label for detection in sure if detection.label in ("cat", "person")
    ) == [
        "cat",
        "person",
    ]
    cat = next(detection for detection in sure if detection.label == "cat")
    assert cat.box_xyxy[0] > 0.45
    assert all(0 <= value <= 1 for detection in seen for value in detection.box_xyxy)
    assert [d.score for d in seen] == sorted((d.score for d in seen), reverse=True)


def test_no_picture_gives_no_answer(starter: Detector) -> None:
    assert starter.detect([]) == []


def test_a_damaged_starter_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "detector"
    shutil.copytree(detectors.STARTER_FOLDER, folder)
    weights = folder / "model.safetensors"
    rotten = bytearray(weights.read_bytes())
    rotten[-100] ^= 1
    weights.write_bytes(rotten)
    with pytest.raises(DetectorError, match=r"model\.safetensors is damaged"):
        OnnxDetector.load(folder)
    weights.unlink()
    with pytest.raises(DetectorError, match=r"model\.safetensors cannot be read"):
        OnnxDetector.load(folder)


def test_raw_answers_become_detections_once_each() -> None:
    scores = np.array([[0.9, 0.05], [0.8, 0.3], [0.7, 0.05]])
    boxes = np.array([[0, 0, 0.5, 1.2], [0, 0, 0.5, 0.95], [0.6, 0, 0.6, 1]])
    found = collect(("cat", "dog"), scores, boxes, duplicate_iou=0.6)
    assert [(d.label, d.score) for d in found] == [("cat", 0.9), ("dog", 0.3)]  # no area: no box
    assert found[0].box_xyxy == (0, 0, 0.5, 1)


# -- names


def test_catalogue_names_repositories_and_folders_are_known(tmp_path: Path) -> None:
    assert detectors.resolve("Starter")[1] == "starter"
    repository = "ustc-community/dfine-small-coco"
    assert detectors.resolve("dfine-small-coco") == (repository, "dfine-small-coco")
    assert detectors.resolve(repository) == (repository, "dfine-small-coco")
    assert detectors.resolve("somebody/else") == ("somebody/else", "somebody/else")
    (tmp_path / "config.json").write_text("{}")
    key, name = detectors.resolve(str(tmp_path))
    assert name == str(tmp_path)
    assert key.startswith(f"{tmp_path.name}/")


def test_a_folder_with_other_weights_is_another_detector(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    keys = []
    for weights in (b"one", b"two"):
        (tmp_path / "model.safetensors").write_bytes(weights)
        keys.append(detectors.resolve(str(tmp_path))[0])
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    "name", ["dfine-smal-coco", "nothing", "./no/such/folder", "", "  ", "n" * 300]
)
def test_an_unknown_name_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(UnknownDetector) as caught:
        detectors.resolve(name)
    assert "searchengine models" in str(caught.value) or len(name) == 300
    if name.startswith("dfine"):
        assert "Did you mean dfine-small-coco?" in str(caught.value)


def test_a_folder_without_a_model_is_said_to_hold_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownDetector, match=r"holds no config\.json"):
        detectors.resolve(str(tmp_path))


def test_a_remembered_detector_keeps_its_id_where_its_folder_is_gone(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    lazy = detectors.remembered_detector("mine/123", gone, device="cpu", announce=lambda _: None)
    assert (lazy.key, lazy.name) == ("mine/123", gone)


def test_the_catalogue_recommends_one_and_says_how_exact_each_is() -> None:
    entries = detectors.load_detectors()
    assert [entry.name for entry in entries if entry.recommended] == ["dfine-small-coco"]
    assert all(entry.coco_ap for entry in entries if entry.name != "starter")
    assert all(entry.licence for entry in entries)


def test_auto_takes_the_recommended_one_where_it_can_be_had() -> None:
    said: list[str] = []
    choose = detectors.choose_auto
    assert choose(announce=said.append, cached=lambda _: True) == "dfine-small-coco"
    assert (
        choose(announce=said.append, cached=lambda _: False, hub_answers=lambda _: True)
        == "dfine-small-coco"
    )
    assert said == []
    refused = choose(announce=said.append, cached=lambda _: False, hub_answers=lambda _: False)
    assert refused == "starter"
    (line,) = said
    assert "searchengine index --detect --detector dfine-small-coco" in line


def test_a_detector_that_cannot_be_had_is_asked_for_once() -> None:
    tries = []

    def build() -> Detector:
        tries.append(1)
        raise DetectorUnavailable("not here")

    lazy = LazyDetector("x", "x", build)
    for _ in range(2):
        with pytest.raises(DetectorUnavailable, match="not here"):
            lazy.get()
    assert len(tries) == 1


# -- the DETR family


# what D-FINE and RT-DETRv2 have in common
TINY: dict[str, Any] = {
    "encoder_in_channels": [8] * 3,
    "encoder_hidden_dim": 16,
    "encoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "d_model": 16,
    "num_queries": 10,
    "decoder_in_channels": [16] * 3,
    "decoder_ffn_dim": 16,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "num_denoising": 0,
}


def tiny_detr() -> Any:
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1] * 4, out_features=["stage4"]
    )
    config = DetrConfig(
        use_timm_backbone=False,
        backbone=None,
        use_pretrained_backbone=False,
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=6,
        id2label=LABELS,
    )
    processor = DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return DetrForObjectDetection(config), processor


def tiny_dfine() -> Any:
    from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config
    from transformers import RTDetrImageProcessor as Processor

    backbone = HGNetV2Config(
        stem_channels=[3, 4, 8],
        stage_in_channels=[8] * 4,
        stage_mid_channels=[4] * 4,
        stage_out_channels=[8] * 4,
        stage_num_blocks=[1] * 4,
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5],
        stage_numb_of_layers=[1] * 4,
        embedding_size=8,
        hidden_sizes=[8] * 4,
        depths=[1] * 4,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = DFineConfig(
        backbone_config=backbone,
        **TINY,
        decoder_n_points=[2, 2, 2],
        id2label=LABELS,
    )
    return DFineForObjectDetection(config), Processor(size={"height": 64, "width": 64})


def tiny_rtdetr_v2() -> Any:
    from transformers import RTDetrImageProcessor as Processor
    from transformers import RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8] * 4,
        depths=[1] * 4,
        out_features=["stage2", "stage3", "stage4"],
        layer_type="basic",
    )
    config = RTDetrV2Config(
        backbone_config=backbone,
        **TINY,
        decoder_n_points=2,
        id2label=LABELS,
    )
    return RTDetrV2ForObjectDetection(config), Processor(size={"height": 64, "width": 64})


def tiny_yolos() -> Any:
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 96],
        num_detection_tokens=6,
        id2label=LABELS,
    )
    processor = YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return YolosForObjectDetection(config), processor


@pytest.fixture(
    scope="module",
    params=[tiny_detr, tiny_dfine, tiny_rtdetr_v2, tiny_yolos],
    ids=["detr", "d-fine", "rt-detr-v2", "yolos"],
)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    model, processor = request.param()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_folder_of_the_family_gives_what_transformers_itself_gives(family: Path) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    image = Image.open(photograph("chelsea.png")).convert("RGB")
    lazy = detectors.lazy_detector(str(family), device="cpu", announce=lambda _: None)
    detector = lazy.get()
    assert detector.id == lazy.key
    assert detector.labels == ("person", "dog", "cat")  # "N/A" is no label
    (found,) = detector.detect([image])

    model = AutoModelForObjectDetection.from_pretrained(family).eval()
    processor = AutoImageProcessor.from_pretrained(family)
    with torch.inference_mode():
        output = model(**processor(images=image, return_tensors="pt"))
    (reference,) = processor.post_process_object_detection(
        output, threshold=0.1, target_sizes=[(1, 1)]
    )
    best = int(reference["scores"].argmax())
    same = [
        detection
        for detection in found
        if detection.score == pytest.approx(float(reference["scores"][best]), abs=2e-3)
    ]
    expected = np.clip(reference["boxes"][best].numpy(), 0, 1)
    assert any(np.allclose(detection.box_xyxy, expected, atol=0.01) for detection in same)


def test_pictures_of_a_batch_do_not_change_each_other(family: Path) -> None:
    detector = detectors.lazy_detector(str(family), device="cpu", announce=lambda _: None).get()
    wide, tall = Image.new("RGB", (96, 64), "red"), Image.new("RGB", (64, 90), "blue")
    together = detector.detect([wide, tall])
    for alone, batched in zip(([wide], [tall]), together, strict=True):
        (single,) = detector.detect(alone)
        assert [d.label for d in single] == [d.label for d in batched]
        for one, other in zip(single, batched, strict=True):
            assert one.score == pytest.approx(other.score, abs=0.02)


def test_a_folder_that_holds_no_detector_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    lazy = detectors.lazy_detector(str(tmp_path), device="cpu", announce=lambda _: None)
    with pytest.raises(DetectorError, match=str(tmp_path)):
        lazy.get()
