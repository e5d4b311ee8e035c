"""Defaults <- the user's file <- the environment <- flags; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import UsageError
from indexer.settings import load_settings
from searchengine import open_library


def test_each_layer_overrules_the_one_below(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    nothing = {"environment": {}, "file": tmp_path / "none.toml"}
    assert load_settings(**nothing).top_k == 10
    file.write_text("top_k = 20\nbatch_size = 8\n", encoding="utf-8")
    assert load_settings(environment={}, file=file).top_k == 20
    environment = {"SEARCHENGINE_TOP_K": "30", "SEARCHENGINE_LIBRARY": str(tmp_path / "lib")}
    settings = load_settings(environment=environment, file=file)
    assert (settings.top_k, settings.batch_size, settings.library) == (30, 8, tmp_path / "lib")
    assert load_settings(environment=environment, file=file, top_k=40).top_k == 40
    assert load_settings(environment=environment, file=file, top_k=None).top_k == 30


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SEARCHENGINE_TOP_K": "many"}, "SEARCHENGINE_TOP_K is 'many'; it takes a whole number"),
        ({"SEARCHENGINE_TOP_K": "0"}, "must be at least 1"),
        ({"SEARCHENGINE_RUNTIME": "tpu"}, "auto, onnx, torch"),
        ({"SEARCHENGINE_MAX_MEGAPIXELS": "nan"}, "must be at least"),
    ],
)
def test_a_wrong_value_is_refused_with_its_origin(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_settings(environment=environment, file=tmp_path / "none.toml")


def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    for text, message in (
        ("top_k = ", "is not valid TOML"),
        ("topk = 3", "unknown 'topk'"),
        ("encoder = 3", "it takes text"),
        ("top_k = 2.5", "a whole number"),
        ("top_k = true", "a whole number"),
        ("exclude = 5", "exclude in .* is 5; it takes a list of patterns"),
        ("exclude = [5]", "it takes a list of patterns"),
        ("library = 5", "it takes a path"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            load_settings(environment={}, file=file)


def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.mkdir()  # root may read everything but a folder
    with pytest.raises(UsageError, match=r"settings\.toml cannot be read: Is a directory"):
        load_settings(environment={}, file=file)


def test_a_misspelt_setting_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no setting 'encodr'; did you mean encoder"):
        open_library(tmp_path, encodr="starter")
    with pytest.raises(UsageError, match="no setting 'zzz'; known: batch_size, cache_dir"):
        open_library(tmp_path, zzz=None)
    file = tmp_path / "settings.toml"
    file.write_text("topk = 3", encoding="utf-8")
    with pytest.raises(UsageError, match="did you mean top_k"):
        load_settings(environment={}, file=file)


def test_an_unknown_users_home_is_left_as_it_is_written(tmp_path: Path) -> None:
    settings = load_settings(environment={}, file=tmp_path / "none.toml", library="/a/~nouser/b")
    assert settings.library == Path("/a/~nouser/b")
    settings = load_settings(environment={}, file=tmp_path / "none.toml", library="~nouser/b")
    assert settings.library == Path.cwd() / "~nouser" / "b"
