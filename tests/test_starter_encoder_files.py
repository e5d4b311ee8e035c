"""The shipped starter encoder is whole: checksums, size, and fixed answers on real photographs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import skimage
from PIL import Image
from tokenizers import Tokenizer

STARTER = Path(__file__).parents[1] / "indexer" / "starter"
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
META = json.loads((STARTER / "encoder.json").read_text(encoding="utf-8"))
PICTURES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "coins.png",
    "page.png",
    "hubble_deep_field.jpg",
)
# query, best picture, its cosine with the query
ANSWERS = (
    ("a cat", "chelsea.png", 0.4803),
    ("a cup of coffee with a spoon", "coffee.png", 0.2655),
    ("a rocket launch", "rocket.jpg", 0.2664),
    ("a motorcycle", "motorcycle_left.png", 0.4635),
    ("a page of printed text", "page.png", 0.1530),
    ("stars and galaxies in the night sky", "hubble_deep_field.jpg", 0.2699),
    ("an astronaut in an orange suit", "astronaut.png", 0.1927),
)
# all pictures for one query, best first
ORDER_FOR_CAT = (
    "chelsea.png",
    "hubble_deep_field.jpg",
    "coins.png",
    "page.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "astronaut.png",
)


def encode_pictures(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(str(STARTER / "image.onnx"))
    embeddings: npt.NDArray[np.float32] = session.run(None, {"pixels": pixels})[0]
    return embeddings


def encode_texts(texts: list[str]) -> npt.NDArray[np.float32]:
    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=META["pad_id"])
    tokens = np.array([e.ids for e in tokenizer.encode_batch(texts)], dtype=np.int64)
    session = ort.InferenceSession(str(STARTER / "text.onnx"))
    embeddings: npt.NDArray[np.float32] = session.run(None, {"tokens": tokens})[0]
    return embeddings


@pytest.fixture(scope="module")
def pixels() -> npt.NDArray[np.uint8]:
    side = META["image_size_px"]
    return np.stack(
        [
            np.asarray(
                Image.open(PHOTOGRAPHS / name)
                .convert("RGB")
                .resize((side, side), Image.Resampling.BICUBIC)
            )
            for name in PICTURES
        ]
    )


@pytest.fixture(scope="module")
def scores(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    texts = encode_texts([query for query, _, _ in ANSWERS])
    return texts @ encode_pictures(pixels).T  # [Q, N]


@pytest.mark.parametrize("name", sorted(META["sha256"]))
def test_shipped_file_is_the_one_that_was_measured(name: str) -> None:
    assert hashlib.sha256((STARTER / name).read_bytes()).hexdigest() == META["sha256"][name]


def test_both_towers_together_stay_within_40_megabytes() -> None:
    size_bytes = sum((STARTER / name).stat().st_size for name in ("image.onnx", "text.onnx"))
    assert 20e6 < size_bytes <= 40e6


def test_embeddings_have_the_promised_length_and_norm(pixels: npt.NDArray[np.uint8]) -> None:
    for embeddings in (encode_pictures(pixels[:2]), encode_texts(["a dog", "two dogs running"])):
        assert embeddings.shape == (2, META["dimension"])
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-4)


def test_padding_does_not_change_what_a_text_means() -> None:
    alone = encode_texts(["a cat"])[0]
    padded = encode_texts(["a cat", "a much longer sentence about a harbour in the evening"])[0]
    np.testing.assert_allclose(alone, padded, atol=1e-4)


def test_tokenizer_neither_pads_nor_truncates_by_itself() -> None:
    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    assert tokenizer.encode("a cat").ids == [101, 1037, 4937, 102]
    assert len(tokenizer.encode("cat " * 300).ids) == 302


@pytest.mark.parametrize("row", range(len(ANSWERS)), ids=[query for query, _, _ in ANSWERS])
def test_fixed_answer_is_given_again(row: int, scores: npt.NDArray[np.float32]) -> None:
    _, picture, cosine = ANSWERS[row]
    assert PICTURES[int(scores[row].argmax())] == picture
    assert float(scores[row].max()) == pytest.approx(cosine, abs=1e-3)


def test_whole_order_for_a_cat_is_given_again(scores: npt.NDArray[np.float32]) -> None:
    order = [PICTURES[i] for i in np.argsort(-scores[0])]
    assert tuple(order) == ORDER_FOR_CAT


def test_mirror_image_is_the_nearest_neighbour(pixels: npt.NDArray[np.uint8]) -> None:
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    nearest = (encode_pictures(mirrored) @ encode_pictures(pixels).T).argmax(1)
    assert nearest.tolist() == list(range(len(PICTURES)))
