"""open_clip on torch: the same pictures and texts give what open_clip itself gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from photographs import photograph
from PIL import Image

from indexer.encoder import Embeddings
from indexer.errors import EncoderError, EncoderUnavailable, UsageError
from indexer.onnx_encoder import fit_square
from indexer.torch_encoder import build_torch_encoder

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg")
TEXTS = ["a dog on the beach", "Zwei Hunde, am Strand!", "", "word " * 200]


def open_photographs() -> list[Image.Image]:
    return [Image.open(photograph(name)).convert("RGB") for name in PHOTOGRAPHS]


def add_architecture(folder: Path, name: str, **text_cfg: object) -> str:
    """Gives open_clip a very small architecture of that name."""
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
            **text_cfg,
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    return name


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return add_architecture(tmp_path_factory.mktemp("architectures"), "tiny-torch")


def cosines(left: Embeddings, right: Embeddings) -> Embeddings:
    return np.sum(left * right, axis=1)


def open_clips_embeddings(model: object, **preprocessing: object) -> Embeddings:
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**{**model.visual.preprocess_cfg, **preprocessing})  # type: ignore
    transform = image_transform_v2(config, is_train=False)
    with torch.inference_mode():
        inputs = torch.stack([transform(image) for image in open_photographs()])
        return model.encode_image(inputs, normalize=True).numpy()  # type: ignore


def test_pictures_get_the_embeddings_that_open_clip_gives_them(tiny: str) -> None:
    encoder = build_torch_encoder(tiny, "random", id="x", device="cpu", weights="fp32")
    expected = open_clips_embeddings(encoder.model)
    ours = encoder.encode_images(open_photographs())
    assert cosines(ours, expected).min() >= 0.999
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("mode", "resize"), [("shortest", "crop"), ("longest", "pad"), ("squash", "squash")]
)
@pytest.mark.parametrize("size", [(451, 300), (300, 452), (64, 64), (40, 31), (2016, 1512)])
def test_pixels_are_within_two_grey_levels_of_open_clips_transform(
    mode: str, resize: str, interpolation: str, size: tuple[int, int]
) -> None:
    from open_clip.transform import image_transform

    transform = image_transform(
        64,
        is_train=False,
        mean=(1e-9, 0, 0),  # (0, 0, 0) would mean the default
        std=(1, 1, 1),
        resize_mode=mode,
        interpolation=interpolation,
    )
    picture = Image.open(photograph("chelsea.png")).convert("RGB").resize(size)
    expected = 255 * transform(picture).permute(1, 2, 0).numpy()
    ours = fit_square(picture, size_px=64, resize=resize, interpolation=interpolation)  # type: ignore
    assert np.abs(ours - expected).max() <= 2.01


def test_a_panorama_of_one_row_is_squared_without_a_huge_intermediate_picture() -> None:
    panorama = Image.new("RGB", (60_000, 1), (10, 200, 30))
    square = fit_square(panorama, size_px=64, resize="crop")
    assert (square == (10, 200, 30)).all() and square.shape == (64, 64, 3)


def test_texts_get_the_embeddings_that_open_clip_gives_them(tiny: str) -> None:
    import open_clip
    import torch

    encoder = build_torch_encoder(tiny, "random", id="x", device="cpu", weights="fp32")
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(tiny)(TEXTS)
        expected = encoder.model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)


def test_random_weights_are_the_same_from_run_to_run_and_leave_torchs_seed_alone(tiny: str) -> None:
    import torch

    torch.manual_seed(7)
    expected_next = torch.rand(1).item()
    torch.manual_seed(7)
    first = build_torch_encoder(tiny, "random", id="x", device="cpu", weights="fp32")
    assert torch.rand(1).item() == expected_next
    second = build_torch_encoder(tiny, "random", id="x", device="cpu", weights="fp32")
    np.testing.assert_array_equal(first.encode_texts(TEXTS), second.encode_texts(TEXTS))


def test_nothing_to_encode_gives_no_rows_of_the_right_length(tiny: str) -> None:
    encoder = build_torch_encoder(tiny, "random", id="x", device="cpu")
    assert encoder.encode_images([]).shape == (0, 32)
    assert encoder.encode_texts([]).shape == (0, 32)


def test_bfloat16_weights_agree_with_float32(tiny: str) -> None:
    exact = build_torch_encoder(tiny, "random", id="x", device="cpu", weights="fp32")
    short = build_torch_encoder(tiny, "random", id="x", device="cpu", weights="bf16")
    pictures = open_photographs()
    assert short.weights == "bf16"
    assert cosines(short.encode_images(pictures), exact.encode_images(pictures)).min() >= 0.999
    assert cosines(short.encode_texts(TEXTS), exact.encode_texts(TEXTS)).min() >= 0.999


def test_a_checkpoint_file_gives_its_own_weights(tiny: str, tmp_path: Path) -> None:
    import open_clip
    import torch

    torch.manual_seed(3)
    model = open_clip.create_model(tiny).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = build_torch_encoder(
        tiny, "any", id="x", checkpoint=tmp_path / "weights.pt", device="cpu", weights="fp32"
    )
    expected = open_clips_embeddings(model)
    assert cosines(encoder.encode_images(open_photographs()), expected).min() >= 0.999


def test_a_checkpoint_that_is_none_is_named_in_the_error(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("not weights")
    with pytest.raises(EncoderError, match=r"notes\.pt cannot be loaded as weights of tiny-torch"):
        build_torch_encoder(tiny, "any", id="x", checkpoint=tmp_path / "notes.pt", device="cpu")


def test_a_checkpoint_of_another_architecture_is_named_in_the_error(
    tiny: str, tmp_path: Path
) -> None:
    import torch

    torch.save({"visual.proj": torch.zeros(3, 3)}, tmp_path / "other.pt")
    with pytest.raises(EncoderError, match=r"other\.pt cannot be loaded as weights of tiny-torch"):
        build_torch_encoder(tiny, "any", id="x", checkpoint=tmp_path / "other.pt", device="cpu")


def test_weights_that_are_no_numbers_are_an_error_and_not_a_result(
    tiny: str, tmp_path: Path
) -> None:
    import open_clip
    import torch

    model = open_clip.create_model(tiny)
    with torch.no_grad():
        model.visual.proj.fill_(float("nan"))
    torch.save(model.state_dict(), tmp_path / "nan.pt")
    with pytest.raises(EncoderError, match="not finite numbers on cpu"):
        build_torch_encoder(tiny, "any", id="x", checkpoint=tmp_path / "nan.pt", device="cpu")


def test_a_device_that_is_not_here_is_a_usage_error_that_lists_those_that_are(tiny: str) -> None:
    with pytest.raises(UsageError, match=r"no device 'tpu' here; it has .*cpu"):
        build_torch_encoder(tiny, "random", id="x", device="tpu")


def test_without_its_tokenizer_an_encoder_still_encodes_pictures(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-tokenizer-here")
    name = add_architecture(tmp_path, "tiny-foreign", hf_tokenizer_name=nowhere)
    encoder = build_torch_encoder(name, "random", id="x", device="cpu")
    assert encoder.encode_images(open_photographs()).shape == (5, 32)
    with pytest.raises(EncoderUnavailable, match="tiny-foreign needs a tokenizer"):
        encoder.encode_texts(["a dog"])


@pytest.mark.slow
def test_openais_weights_get_the_activation_they_were_trained_with(tmp_path: Path) -> None:
    import open_clip
    import torch

    torch.manual_seed(0)
    model = open_clip.create_model("RN50-quickgelu").eval()
    torch.save(model.state_dict(), tmp_path / "rn50.pt")
    encoder = build_torch_encoder(
        "RN50", "openai", id="x", checkpoint=tmp_path / "rn50.pt", device="cpu", weights="fp32"
    )
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("RN50")(TEXTS)
        expected = model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)
