"""Where detections are kept: migration, counting in SQL, crops."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import FakeLibrary, make_picture

from indexer import detections
from indexer.records import Detection
from indexer.schema import SCHEMA_VERSION
from indexer.store import Store

BOX = (0.1, 0.1, 0.4, 0.5)


@pytest.fixture
def contents(library: FakeLibrary) -> dict[str, int]:
    """Content ids by colour."""
    for colour in ("red", "green", "blue"):
        make_picture(library.root / f"{colour}.png", colour)
    library.index()
    with library.store.reading() as connection:
        ids = detections.contents_not_looked_at(connection, "nobody")
        files = detections.files_of(connection, ids)
    return {Path(file.paths[0]).stem: file.content_id for file in files}


def look(library: FakeLibrary, looks: dict[int, list[Detection]]) -> detections.DetectorRecord:
    record = detections.remember_detector(library.store, "d/1", "d", ["dog", "cat"])
    detections.write_looks(library.store, record, looks)
    return record


def test_a_library_of_the_first_format_gains_the_tables_and_loses_nothing(tmp_path: Path) -> None:
    library = FakeLibrary(tmp_path / "library", tmp_path / "pictures")
    make_picture(library.root / "red.png")
    library.index()
    library.store.close()
    path = tmp_path / "library" / "library.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        for table in ("crops", "detections", "looks", "detectors"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    store = Store(tmp_path / "library")
    with store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA user_version").scalar_one() == SCHEMA_VERSION
        assert len(detections.contents_not_looked_at(connection, "d/1")) == 1
    store.close()


def test_what_was_seen_comes_back_surest_first_and_nothing_is_remembered_too(
    library: FakeLibrary, contents: dict[str, int]
) -> None:
    seen = [Detection("dog", 0.4, BOX, b"\x01"), Detection("cat", 0.9, BOX)]
    record = look(library, {contents["red"]: seen, contents["green"]: []})
    with library.store.reading() as connection:
        found = detections.detections_of(connection, record, list(contents.values()))
        assert list(found) == [contents["red"]]
        assert [(d.label, d.score, d.box_xyxy, d.colours) for d in found[contents["red"]]] == [
            ("cat", 0.9, BOX, b""),
            ("dog", 0.4, BOX, b"\x01"),
        ]
        looked = detections.looked_at(connection, record, list(contents.values()))
        assert looked == {contents["red"], contents["green"]}
        assert detections.contents_not_looked_at(connection, "d/1") == [contents["blue"]]
        assert detections.pictures_looked_at(connection, record) == 2


def test_a_second_look_takes_the_place_of_the_first(
    library: FakeLibrary, contents: dict[str, int]
) -> None:
    look(library, {contents["red"]: [Detection("dog", 0.4, BOX)]})
    record = look(library, {contents["red"]: [Detection("cat", 0.5, BOX)]})
    with library.store.reading() as connection:
        found = detections.detections_of(connection, record, [contents["red"]])
    assert [d.label for d in found[contents["red"]]] == ["cat"]


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (1, None, {"red", "green"}),
        (2, 2, {"red"}),
        (1, 1, {"green"}),
        (0, 0, {"blue"}),
        (0, 1, {"green", "blue"}),
        (0, None, {"red", "green", "blue"}),
        (0, -1, set()),
    ],
)
def test_pictures_are_counted_over_the_whole_library(
    library: FakeLibrary,
    contents: dict[str, int],
    least: int,
    most: int | None,
    expected: set[str],
) -> None:
    dog, doubt = Detection("dog", 0.9, BOX), Detection("dog", 0.3, BOX)
    record = look(
        library,
        {
            contents["red"]: [dog, Detection("dog", 0.8, BOX), doubt],
            contents["green"]: [dog, doubt, Detection("cat", 0.9, BOX)],
            contents["blue"]: [doubt],
        },
    )
    with library.store.reading() as connection:
        found = detections.contents_with_count(
            connection, record, ["dog"], at_least=least, at_most=most
        )
    assert {name for name, id in contents.items() if id in found} == expected


def test_a_content_that_left_meanwhile_is_passed_over(
    library: FakeLibrary, contents: dict[str, int]
) -> None:
    record = look(library, {contents["red"]: [], 10**9: [Detection("dog", 0.9, BOX)]})
    with library.store.reading() as connection:
        assert detections.looked_at(connection, record, [10**9]) == set()


def test_crops_are_kept_for_their_encoder_and_leave_with_their_box(
    library: FakeLibrary, contents: dict[str, int]
) -> None:
    record = look(library, {contents["red"]: [Detection("dog", 0.9, BOX)]})
    encoder = library.store.default_encoder()
    assert encoder is not None
    with library.store.reading() as connection:
        (dog,) = detections.detections_of(connection, record, [contents["red"]])[contents["red"]]
    vector = np.array([0.5, -0.25], np.float32)
    detections.write_crops(library.store, encoder, {dog.id: vector})
    with library.store.reading() as connection:
        stored = detections.crops_of(connection, encoder, [dog.id, 10**9])
    assert list(stored) == [dog.id]
    np.testing.assert_array_equal(stored[dog.id], vector)
    look(library, {contents["red"]: []})
    with library.store.reading() as connection:
        assert detections.crops_of(connection, encoder, [dog.id]) == {}


def test_a_read_only_library_of_the_first_format_just_has_no_detections(
    library: FakeLibrary, contents: dict[str, int]
) -> None:
    look(library, {contents["red"]: []})
    with library.store.reading() as connection:
        assert detections.find_detector(connection, "d/1") is not None
        connection.exec_driver_sql("PRAGMA user_version = 1")
        assert detections.find_detector(connection, "d/1") is None
        assert detections.detectors(connection) == []
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
