"""What belongs to the library: suffixes, hidden names, ignore rules, links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import make_picture

from indexer.decode import PICTURE_SUFFIXES
from indexer.scan import Scan, ScanRules


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def names(root: Path, **rules: object) -> list[str]:
    scan = Scan(str(root), ScanRules(PICTURE_SUFFIXES, **rules))  # type: ignore[arg-type]
    found = [os.path.relpath(file.path, root) for listing in scan for file in listing.files]
    assert scan.errors == []
    return found


def test_pictures_are_found_by_their_suffix_in_any_case(root: Path) -> None:
    for name in ("a.jpg", "b.JPEG", "c.Png", "sub/d.webp", "e.HEIC", "f.cr2", "g.avif", "h.jp2"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    for name in ("notes.txt", "movie.mp4", "jpg", "a.jpg.part"):
        (root / name).touch()
    assert names(root) == [
        *("a.jpg", "b.JPEG", "c.Png", "e.HEIC", "f.cr2", "g.avif", "h.jp2"),
        os.path.join("sub", "d.webp"),
    ]


def test_hidden_names_are_left_out_unless_asked(root: Path) -> None:
    for name in ("a.jpg", ".b.jpg", ".thumbnails/c.jpg"):
        make_picture(root / name)
    assert names(root) == ["a.jpg"]
    assert sorted(names(root, include_hidden=True)) == [".b.jpg", ".thumbnails/c.jpg", "a.jpg"]


def test_exclude_takes_gitignore_patterns(root: Path) -> None:
    for name in ("a.jpg", "b.png", "raw/c.jpg", "raw/keep/d.jpg", "x/raw/e.jpg"):
        make_picture(root / name)
    assert names(root, exclude=("*.png", "/raw/")) == ["a.jpg", "x/raw/e.jpg"]
    assert names(root, exclude=("raw/",)) == ["a.jpg", "b.png"]
    assert names(root, exclude=("*.jpg", "!a.jpg")) == ["a.jpg", "b.png"]


def test_a_searchignore_file_rules_its_folder_and_below(root: Path) -> None:
    for name in ("a.jpg", "s/a.jpg", "s/t/a.jpg", "s/t/b.jpg"):
        make_picture(root / name)
    (root / "s" / ".searchignore").write_text("# mine\na.jpg\n", encoding="utf-8")
    assert names(root) == ["a.jpg", "s/t/b.jpg"]
    (root / "s" / "t" / ".searchignore").write_text("!a.jpg\n", encoding="utf-8")
    assert names(root) == ["a.jpg", "s/t/a.jpg", "s/t/b.jpg"]


def test_a_part_of_a_root_keeps_the_rules_of_the_whole(root: Path) -> None:
    for name in ("s/a.jpg", "s/t/a.jpg", "s/t/b.jpg", "s/t/c.jpg"):
        make_picture(root / name)
    (root / "s" / ".searchignore").write_text("b.jpg\n", encoding="utf-8")
    rules = ScanRules(PICTURE_SUFFIXES, exclude=("/s/t/c.jpg",))
    scan = Scan(str(root / "s" / "t"), rules, base=str(root))
    found = [os.path.relpath(file.path, root) for listing in scan for file in listing.files]
    assert found == ["s/t/a.jpg"]


def test_an_ignore_file_that_cannot_be_read_counts_as_an_error(root: Path) -> None:
    make_picture(root / "a.jpg")
    (root / ".searchignore").mkdir()
    scan = Scan(str(root), ScanRules(PICTURE_SUFFIXES))
    assert [len(listing.files) for listing in scan] == [1]
    assert scan.errors[0][0].endswith(".searchignore")


def test_links_are_followed_once_and_loops_survived(root: Path, tmp_path: Path) -> None:
    make_picture(root / "a.jpg")
    make_picture(tmp_path / "outside" / "b.jpg")
    (root / "loop").symlink_to(root)
    (root / "linked").symlink_to(tmp_path / "outside")
    (root / "again").symlink_to(tmp_path / "outside")
    (root / "same.jpg").symlink_to(root / "a.jpg")
    (root / "file.jpg").symlink_to(tmp_path / "outside" / "b.jpg")
    assert names(root) == ["a.jpg", "file.jpg", "again/b.jpg"]


def test_links_to_each_other_and_to_nothing_are_no_pictures(root: Path) -> None:
    make_picture(root / "a.jpg")
    outside = root.parent
    (outside / "x.jpg").symlink_to(outside / "y.jpg")
    (outside / "y.jpg").symlink_to(outside / "x.jpg")
    (root / "x.jpg").symlink_to(outside / "x.jpg")
    (root / "dangling.jpg").symlink_to(root.parent / "nothing.jpg")
    scan = Scan(str(root), ScanRules(PICTURE_SUFFIXES))
    listings = list(scan)
    assert [file.path for listing in listings for file in listing.files] == [str(root / "a.jpg")]
    assert [skipped.reason for skipped in listings[0].skipped] == ["broken link"] * 2
    assert scan.errors == []  # or nothing could ever be deleted beside such a link


def test_what_is_no_regular_file_is_never_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    if os.geteuid() == 0:
        os.mknod(root / "zero.png", 0o600 | 0o020000, os.makedev(1, 5))
    scan = Scan(str(root), ScanRules(PICTURE_SUFFIXES))
    skipped = [skipped for listing in scan for skipped in listing.skipped]
    assert {item.reason for item in skipped} == {"not a regular file"}


def test_a_name_that_is_not_utf8_is_found(root: Path) -> None:
    path = os.fsencode(root) + b"/caf\xe9.jpg"
    with open(path, "wb"):
        pass
    assert [os.fsencode(name) for name in names(root)] == [b"caf\xe9.jpg"]


def test_a_folder_without_permission_is_an_error_and_the_rest_is_found(root: Path) -> None:
    make_picture(root / "a.jpg")
    make_picture(root / "locked" / "b.jpg")
    for folder in (*root.parents[:3], root):
        folder.chmod(0o755)
    (root / "locked").chmod(0)
    scan = Scan(str(root), ScanRules(PICTURE_SUFFIXES))
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)  # root may read everything
    try:
        found = [file.path for listing in scan for file in listing.files]
    finally:
        if was_root:
            os.seteuid(0)
        (root / "locked").chmod(0o755)
    assert found == [str(root / "a.jpg")]
    assert scan.errors == [(str(root / "locked"), "Permission denied")]
