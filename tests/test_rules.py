"""Rules that folders keep, names that are hard to store, and calls a user gets slightly wrong."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FakeLibrary, make_picture
from photographs import copy_photographs
from PIL import Image

from indexer.errors import LibraryError, UsageError
from indexer.records import Filter
from indexer.scan import anchored, compile_patterns
from indexer.store import Store
from searchengine import Library, open_library
from searchengine.query import parse_similar
from searchengine.report import library_status


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Library]:
    with open_library(tmp_path / "library", encoder="starter") as library:
        yield library


def paths(library: Library, root: Path, **filters: object) -> list[str]:
    hits = library.search("red", top_k=100, **filters).hits  # type: ignore[arg-type]
    return sorted(os.path.relpath(hit.path, root) for hit in hits)


def test_exclusions_are_kept_by_every_later_run(opened: Library, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for name in ("a.png", "private/b.png", "sub/c.png", "sub/private/d.png", "sub/e.jpg"):
        make_picture(root / name, size=(10 + len(name), 10))
    opened.index(root, exclude="private/")
    assert paths(opened, root) == ["a.png", "sub/c.png", "sub/e.jpg"]
    opened.index(root / "sub", exclude=["*.jpg"])  # for a part: added to the root's
    opened.index(root, include_hidden=True)
    opened.index()
    assert paths(opened, root) == ["a.png", "sub/c.png"]
    assert opened.store.folders()[0].exclude == ("private/", "/sub/**/*.jpg")
    with pytest.raises(UsageError, match="--hidden is a rule for a whole folder"):
        opened.index(root / "sub", include_hidden=True)


def test_a_parent_takes_over_the_exclusions_of_the_folders_inside_it(
    opened: Library, tmp_path: Path
) -> None:
    root = tmp_path / "pictures"
    for name in ("x/a.png", "x/private/b.png", "c.png"):
        make_picture(root / name, size=(10 + len(name), 10))
    opened.index(root / "x", exclude=["private/"])
    opened.index(root)
    assert paths(opened, root) == ["c.png", "x/a.png"]
    assert [folder.path for folder in opened.store.folders()] == [str(root)]


@pytest.mark.parametrize("pattern", ["!", "\\", "[z-a]"])
def test_a_pattern_that_is_none_is_refused_and_not_remembered(
    opened: Library, tmp_path: Path, pattern: str
) -> None:
    make_picture(tmp_path / "pictures" / "a.png")
    with pytest.raises(UsageError, match=re.escape(repr(pattern))):
        opened.index(tmp_path / "pictures", exclude=[pattern])
    assert opened.index(tmp_path / "pictures").new == 1
    (tmp_path / "pictures" / ".searchignore").write_text(pattern)
    notes = opened.index().notes
    assert ".searchignore" in notes[0]
    assert "no gitignore pattern" in notes[0]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.png", "sub/a.png", True),
        ("*.png", "sub/x/a.png", True),
        ("*.png", "other/a.png", False),
        ("/a.png", "sub/a.png", True),
        ("/a.png", "sub/x/a.png", False),
        ("x/a.png", "sub/x/a.png", True),
        ("x/", "sub/y/x/", True),
    ],
)
def test_a_pattern_of_a_part_means_the_same_said_of_the_whole(
    pattern: str, path: str, matches: bool
) -> None:
    spec = compile_patterns([anchored(pattern, "sub")])
    assert bool(spec.check_file(path).include) == matches
    undone = compile_patterns(["*.png", "x/", anchored(f"!{pattern}", "sub")])
    assert bool(undone.check_file(path).include) == (not matches)


@pytest.mark.parametrize("name", ["lib?x=1", "l%41", "a#b", "käse ☃", "sp ace"])
def test_a_library_lies_where_it_is_told_whatever_its_name(tmp_path: Path, name: str) -> None:
    library = FakeLibrary(tmp_path / name, tmp_path / "pictures")
    make_picture(library.root / "a.png")
    library.index()
    library.store.close()
    assert {path.name for path in tmp_path.iterdir()} == {name, "pictures"}
    again = Store(tmp_path / name)
    with sqlite3.connect(tmp_path / name / "library.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchone() == (1,)
    connection.close()
    again.close()


def test_a_library_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for create in (True, False):
        with pytest.raises(LibraryError, match="is a file; --library takes a folder"):
            Store(tmp_path / "file", create=create)


def test_a_clock_in_the_far_future_costs_nothing(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    os.utime(path, (20_000_000_000, 20_000_000_000))  # the year 2603
    assert library.index().new == 1
    assert library.found() == ["a.png"]
    assert library.index().encoded == 0


def test_one_folder_given_twice_is_indexed_once(opened: Library, tmp_path: Path) -> None:
    root = copy_photographs(tmp_path / "pictures", ("chelsea.png", "coffee.png"))
    assert opened.index(root, root, f"{root}/").new == 2


def test_links_between_two_roots_end_the_same_whichever_is_scanned(library: FakeLibrary) -> None:
    a, b = library.root / "a", library.root / "b"
    make_picture(a / "a.png", "red")
    make_picture(b / "b.png", "blue")
    (a / "to_b").symlink_to(b)
    library.index(a, b)
    expected = library.found()
    summaries = [library.index(a), library.index(b), library.index(a, b)]
    assert [(s.new, s.removed) for s in summaries] == [(0, 0)] * 3
    assert library.found() == expected


def test_a_link_into_a_hidden_folder_is_followed(library: FakeLibrary) -> None:
    make_picture(library.root / ".annex" / "objects" / "a.png")  # as git-annex keeps them
    (library.root / "a.png").symlink_to(library.root / ".annex" / "objects" / "a.png")
    library.index()
    assert library.found() == ["a.png"]


def test_a_picture_is_left_out_of_its_own_results_under_every_name(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png", "red")
    make_picture(library.root / "b.png", "magenta")
    library.index()
    link = library.directory / "link.png"
    link.symlink_to(path)
    for name in (path, link):
        hits = library.engine.search(parse_similar(name), top_k=5, which=Filter()).hits
        assert [os.path.basename(hit.path) for hit in hits] == ["b.png"]


def test_a_lone_text_or_path_is_one_and_not_its_letters(opened: Library, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for name in ("a.png", "sub/b.png"):
        make_picture(root / name, size=(10 + len(name), 10))
    opened.index(root)
    assert paths(opened, root, under=str(root / "sub")) == ["sub/b.png"]
    assert paths(opened, root, under=root / "sub") == ["sub/b.png"]
    assert paths(opened, root, under="/nowhere") == []
    cat = opened.encode_text("a cat")
    assert opened.compare("a cat", "a cat") == [pytest.approx(float(cat @ cat), abs=1e-5)]
    with pytest.raises(UsageError, match="relevance or date"):
        opened.search("red", sort="size")  # type: ignore[arg-type]


def test_a_complete_encoder_becomes_the_default_when_it_is_asked_for(tmp_path: Path) -> None:
    root = copy_photographs(tmp_path / "pictures", ("chelsea.png",))
    library = FakeLibrary(tmp_path / "library", root)
    library.index()
    with open_library(tmp_path / "library", encoder="starter") as second:
        second.index()
        default = second.store.default_encoder()
        assert default is not None
        assert default.key.startswith("starter/")
    library.index()
    default = library.store.default_encoder()
    assert default is not None
    assert default.key == "colour/1"
    library.store.close()


def test_status_tells_an_encoder_that_lags_behind_and_is_quiet_while_somebody_indexes(
    tmp_path: Path,
) -> None:
    root = tmp_path / "pictures"
    make_picture(root / "a.png")
    library = FakeLibrary(tmp_path / "library", root)
    library.index()
    with open_library(tmp_path / "library", encoder="starter") as second:
        second.index()
    make_picture(root / "b.png", "blue")
    library.index()
    status = library_status(library.store)
    assert status.problems[0].what.startswith("1 pictures have no starter/")
    assert status.problems[0].mend.startswith("searchengine index --encoder starter")
    reader = Store(tmp_path / "library")
    with library.store.writer():
        status = library_status(reader)
    assert (status.is_being_indexed, status.problems) == (True, [])
    reader.close()
    library.store.close()


def test_a_file_that_broke_is_no_gap_of_another_encoder(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    make_picture(root / "a.png")
    make_picture(root / "b.png", "blue")
    library = FakeLibrary(tmp_path / "library", root)
    library.index()
    (root / "a.png").write_bytes(b"rubbish")
    library.index()
    with open_library(tmp_path / "library", encoder="starter") as second:
        second.index()
        assert library_status(second.store).problems == []
    library.store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without permission")
def test_a_library_that_may_only_be_read_can_be_searched(library: FakeLibrary) -> None:
    make_picture(library.root / "a.png")
    library.index()
    library.store.close()
    for folder in (*library.directory.parents[:4], library.directory):
        folder.chmod(folder.stat().st_mode | 0o755)
    os.seteuid(65534)
    try:
        reader = Store(library.directory)
        with reader.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM images").scalar() == 1
        reader.close()
    finally:
        os.seteuid(0)


def test_a_pillow_picture_is_searched_by_too(opened: Library, tmp_path: Path) -> None:
    root = copy_photographs(tmp_path / "pictures", ("chelsea.png", "coffee.png"))
    opened.index(root)
    with Image.open(root / "coffee.png") as picture:
        hits = opened.similar(picture, top_k=1).hits
    assert os.path.basename(hits[0].path) == "coffee.png"
