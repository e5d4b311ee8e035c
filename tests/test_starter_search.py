"""The whole way with the real starter encoder: reduced decoding, recall on captions, Python API."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from photographs import copy_photographs, photograph
from PIL import Image

from indexer import encoders
from indexer.decode import content_hash, decode
from indexer.encoder import Encoder
from indexer.errors import EncoderMismatch, UsageError
from indexer.records import Decoded
from searchengine import open_library

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"the photographs of {DATA} are absent")


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    options = encoders.EncoderOptions(cache_dir=tmp_path_factory.mktemp("cache"))
    return encoders.build_encoder(encoders.EncoderSpec("starter"), options, announce=print)


def reduced(data: bytes, encoder: Encoder) -> Image.Image:
    outcome = decode(
        "a.jpg",
        data,
        sha256=content_hash(data),
        target_px=encoder.image_size_px,
        max_megapixels=200,
    )
    assert isinstance(outcome, Decoded)
    return outcome.image


def test_decoding_at_reduced_size_keeps_the_embedding(starter: Encoder) -> None:
    small, full = [], []
    for name in ("rocket.jpg", "hubble_deep_field.jpg", "retina.jpg", "chelsea.png", "coffee.png"):
        with Image.open(photograph(name)) as opened:
            original = opened.convert("RGB")
        for width_px in (original.width, 2000, 4000):
            height_px = round(original.height * width_px / original.width)
            picture = original.resize((width_px, height_px), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=92)
            small.append(reduced(buffer.getvalue(), starter))
            full.append(Image.open(buffer).convert("RGB"))
    assert small[2].width < 4000 / 3
    cosines = (starter.encode_images(small) * starter.encode_images(full)).sum(axis=1)
    assert cosines.min() >= 0.995, cosines


@pytest.mark.data
@needs_data
def test_reduced_decoding_keeps_the_embedding_on_many_photographs(starter: Encoder) -> None:
    paths = sorted((DATA / "voc" / "images").iterdir())[::30]
    small, full = [], []
    for path in paths:
        with Image.open(path) as opened:
            size = (opened.width * 6, opened.height * 6)
            picture = opened.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92)
        small.append(reduced(buffer.getvalue(), starter))
        full.append(Image.open(buffer).convert("RGB"))
    cosines = (starter.encode_images(small) * starter.encode_images(full)).sum(axis=1)
    assert cosines.min() >= 0.995, cosines.min()


@pytest.mark.data
@needs_data
def test_captions_find_their_photographs(tmp_path: Path) -> None:
    with (DATA / "flickr8k" / "captions.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    captions = {row["file"]: row["caption"] for row in rows}
    names = sorted(captions)[::35]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(DATA / "flickr8k" / "images" / name)
    with open_library(tmp_path / "library", encoder="starter") as library:
        assert library.index(folder).new == len(names)
        found = 0
        for name in names:
            hits = library.search(captions[name], top_k=10).hits
            found += name in {os.path.basename(hit.path) for hit in hits}
    assert found / len(names) >= 0.8, found / len(names)  # of 203, most seen in training


def test_the_python_interface_compares_texts_and_pictures(tmp_path: Path) -> None:
    with open_library(tmp_path / "library", encoder="starter") as library:
        cat, coffee = photograph("chelsea.png"), photograph("coffee.png")
        text = library.encode_text("a cat")
        picture = library.encode_image(cat)
        assert text.dtype == picture.dtype == np.float32
        assert text.shape == picture.shape
        assert np.linalg.norm(text) == pytest.approx(1, abs=1e-5)
        same, other, cat_text, coffee_text = library.compare(
            cat, [cat, coffee, "a cat", "a cup of coffee"]
        )
        assert same == pytest.approx(1, abs=1e-5)
        assert other < 0.9
        assert cat_text > coffee_text
        assert library.compare("a cat", [Image.open(cat)])[0] == pytest.approx(cat_text, abs=1e-4)


def test_an_index_with_two_encoders_answers_for_each(tmp_path: Path) -> None:
    pictures = copy_photographs(tmp_path / "pictures", ("chelsea.png", "coffee.png"))
    options = {"cache_dir": tmp_path / "cache", "runtime": "torch"}
    with open_library(tmp_path / "library", encoder="starter", **options) as library:
        library.index(pictures)
        first = library.search("a cat").encoder
    with open_library(tmp_path / "library", encoder="ViT-S-32/random", **options) as library:
        with pytest.raises(UsageError, match="searchengine index --encoder ViT-S-32/random"):
            library.search("a cat")
        assert library.index().encoded == 2
        assert len(library.search("a cat").hits) == 2
    with open_library(tmp_path / "library", **options) as library:
        # the second one knows every picture and was asked for by name: it is the default now
        assert library.search("a cat").encoder == "ViT-S-32/random"
    with open_library(tmp_path / "library", encoder="starter", **options) as library:
        result = library.search("a cat")
        assert result.encoder == first
        assert os.path.basename(result.hits[0].path) == "chelsea.png"
        # the other one lacks the new picture, and this one was asked for by name
        copy_photographs(tmp_path / "more", ("rocket.jpg",))
        library.index(tmp_path / "more")
    with open_library(tmp_path / "library", **options) as library:
        assert library.search("a cat").encoder == first


def test_a_library_of_an_older_revision_says_so_and_the_next_run_mends_it(tmp_path: Path) -> None:
    pictures = copy_photographs(tmp_path / "pictures", ("chelsea.png", "coffee.png"))
    with open_library(tmp_path / "library", encoder="starter") as library:
        library.index(pictures)
    with sqlite3.connect(tmp_path / "library" / "library.sqlite") as connection:
        connection.execute("UPDATE encoders SET key = 'starter/0'")
    connection.close()
    with open_library(tmp_path / "library") as library:
        with pytest.raises(EncoderMismatch, match=r"indexed with starter/0.*searchengine index"):
            library.search("a cat")
        assert library.index().encoded == 2
        assert os.path.basename(library.search("a cat", top_k=1).hits[0].path) == "chelsea.png"
