"""The catalogue of encoders: what it lists is what open_clip has."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.catalogue import WEIGHT_FILES, find, is_cached, load_catalogue, recommended_entry
from indexer.encoders import STARTER_FOLDER
from indexer.errors import UnknownEncoder
from indexer.onnx_encoder import read_card

OPEN_CLIP_ENTRIES = [entry for entry in load_catalogue() if entry.name != "starter"]


def test_every_entry_is_in_open_clips_list() -> None:
    import open_clip

    listed = set(open_clip.list_pretrained())
    assert [e.name for e in OPEN_CLIP_ENTRIES if (e.architecture, e.tag) not in listed] == []


def test_every_entry_names_the_repository_that_open_clip_downloads_from() -> None:
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.pretrained import get_pretrained_cfg

    assert WEIGHT_FILES == (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    for entry in OPEN_CLIP_ENTRIES:
        published = get_pretrained_cfg(entry.architecture, entry.tag)["hf_hub"]
        assert f"{entry.repository}/" == published


def test_dimensions_are_those_of_open_clips_configurations() -> None:
    import open_clip

    for entry in OPEN_CLIP_ENTRIES:
        assert open_clip.get_model_config(entry.architecture)["embed_dim"] == entry.dimension


def test_the_starter_is_listed_as_it_ships_and_needs_no_download() -> None:
    starter = find("starter")
    card = read_card(STARTER_FOLDER)
    assert (starter.full_name, starter.dimension) == (
        f"{card.name}/{card.revision}",
        card.dimension,
    )
    assert starter.download_mb == 0
    assert is_cached(starter)


def test_short_names_are_architectures_and_a_second_tag_adds_its_first_word() -> None:
    names = [entry.name for entry in load_catalogue()]
    assert len(names) == len(set(names))
    for entry in OPEN_CLIP_ENTRIES:
        first_word = entry.tag.split("_")[0]
        assert entry.name in (entry.architecture, f"{entry.architecture}-{first_word}")


def test_a_download_is_four_bytes_a_parameter() -> None:
    for entry in OPEN_CLIP_ENTRIES:
        assert entry.download_mb == pytest.approx(4 * entry.parameters_m, abs=1)


def test_the_issues_encoders_are_listed_and_two_are_recommended() -> None:
    names = {entry.full_name for entry in OPEN_CLIP_ENTRIES}
    openai = "ViT-B-32 ViT-B-16 ViT-L-14 ViT-L-14-336 RN50 RN101 RN50x4 RN50x16 RN50x64".split()
    assert names >= {f"{architecture}/openai" for architecture in openai}
    assert recommended_entry().full_name == "ViT-B-32-256/datacomp_s34b_b86k"
    recommended = {entry.name: entry.recommended for entry in load_catalogue() if entry.recommended}
    assert list(recommended) == ["ViT-B-32-256", "ViT-B-16-SigLIP2"]
    assert "languages" in recommended["ViT-B-16-SigLIP2"]


def test_an_entry_is_found_by_short_name_by_full_name_and_in_any_case() -> None:
    assert find("ViT-L-14").tag == "openai"
    assert find("vit-l-14-DATACOMP").tag == "datacomp_xl_s13b_b90k"
    assert find("ViT-L-14/datacomp_xl_s13b_b90k").name == "ViT-L-14-datacomp"


def test_a_misspelt_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownEncoder, match=r"'ViT-B-32-265'.*Did you mean ViT-B-32-256,"):
        find("ViT-B-32-265")
    with pytest.raises(UnknownEncoder, match=r"'something else'\. Run: searchengine models"):
        find("something else")


@pytest.mark.parametrize("file", WEIGHT_FILES)
def test_weights_in_the_hubs_cache_count_as_cached(tmp_path: Path, file: str) -> None:
    entry = recommended_entry()
    assert not is_cached(entry, hub_cache=tmp_path)
    repository = tmp_path / f"models--{entry.repository.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert not is_cached(entry, hub_cache=tmp_path)
    (snapshot / file).write_bytes(b"weights")
    assert is_cached(entry, hub_cache=tmp_path)


def test_listing_the_catalogue_imports_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys; from indexer.catalogue import *;"
        "[is_cached(e) for e in load_catalogue()];"
        "print([m for m in ('torch', 'open_clip', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("entry", OPEN_CLIP_ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_builds_with_random_weights(entry) -> None:  # type: ignore[no-untyped-def]
    from indexer.torch_encoder import build_torch_encoder

    encoder = build_torch_encoder(
        entry.architecture, "random", id="random", device="cpu", weights="fp32"
    )
    parameters_m = sum(p.numel() for p in encoder.model.parameters()) / 1e6
    assert encoder.dimension == entry.dimension
    if not entry.architecture.startswith("MobileCLIP"):  # folding its branches removes some
        assert parameters_m == pytest.approx(entry.parameters_m, abs=0.06)
    del encoder
    gc.collect()
