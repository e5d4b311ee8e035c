"""The promises of the store: what comes in, what stays, what leaves, and at what cost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import FakeLibrary, make_picture
from fakes import ColourEncoder

from indexer.errors import EncoderError
from indexer.index_file import index_path
from indexer.records import Filter
from searchengine.query import Query, Term, parse_similar


def test_a_picture_is_found_by_what_it_shows(library: FakeLibrary) -> None:
    for colour in ("red", "green", "blue"):
        make_picture(library.root / f"{colour}.png", colour)
    summary = library.index()
    assert (summary.new, summary.encoded, summary.skipped.total()) == (3, 3, 0)
    assert library.found("green")[0] == "green.png"
    assert library.found("blue")[0] == "blue.png"


def test_an_unchanged_library_needs_no_encoder(library: FakeLibrary) -> None:
    make_picture(library.root / "a.png")
    library.index()
    seen = library.encoder.seen
    summary = library.index()
    assert (summary.unchanged, summary.new, library.encoder.seen) == (1, 0, seen)


def test_a_changed_picture_is_embedded_again(library: FakeLibrary) -> None:
    make_picture(library.root / "a.png", "red")
    library.index()
    make_picture(library.root / "a.png", "blue", size=(30, 30))
    summary = library.index()
    assert (summary.changed, summary.new) == (1, 0)
    assert (
        library.engine.search(parse_similar(library.root / "a.png"), top_k=5, which=Filter()).hits
        == []
    )
    make_picture(library.root / "b.png", "red", size=(31, 31))
    library.index()
    assert library.found("blue") == ["a.png", "b.png"]


def test_an_edit_within_the_clock_tick_of_the_scan_is_seen(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.bmp", "red")  # BMP: one size for every colour
    os.utime(path)  # now
    library.index()
    before = path.stat()
    make_picture(path, "blue")
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert library.index().changed == 1


def test_a_renamed_file_costs_no_encoder_time(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    library.index()
    path.rename(library.root / "b.png")
    seen = library.encoder.seen
    summary = library.index()
    assert (summary.moved, summary.new, summary.removed) == (1, 0, 0)
    assert library.encoder.seen == seen
    assert library.found() == ["b.png"]


def test_a_moved_folder_costs_no_encoder_time(library: FakeLibrary) -> None:
    for number, colour in enumerate(("red", "green", "blue")):
        make_picture(library.root / "2020" / f"{number}.png", colour)
    make_picture(library.root / "other.png", "white")
    library.index()
    (library.root / "2020").rename(library.root / "summer")
    seen = library.encoder.seen
    summary = library.index()
    assert (summary.moved, summary.new, summary.removed) == (3, 0, 0)
    assert library.encoder.seen == seen
    assert library.found("green")[0] == os.path.join("summer", "1.png")


def test_two_paths_with_the_same_bytes_share_one_embedding(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    shutil.copy(path, library.root / "b.png")
    library.index()
    assert library.encoder.seen == 1
    assert library.found() == ["a.png", "b.png"]


def test_a_vanished_picture_leaves_the_results(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    make_picture(library.root / "b.png", "blue")
    library.index()
    path.unlink()
    assert library.index().removed == 1
    assert library.found() == ["b.png"]


def test_a_folder_moved_away_and_back_is_found_again_without_the_encoder(
    library: FakeLibrary, tmp_path: Path
) -> None:
    make_picture(library.root / "trip" / "a.png")
    make_picture(library.root / "b.png", "blue")
    library.index()
    (library.root / "trip").rename(tmp_path / "away")
    library.index()
    assert library.found() == ["b.png"]
    (tmp_path / "away").rename(library.root / "trip")  # with its old mtimes
    seen = library.encoder.seen
    library.index()
    assert sorted(library.found()) == ["b.png", os.path.join("trip", "a.png")]
    assert library.encoder.seen == seen


def test_a_suddenly_empty_root_deletes_nothing_and_says_so(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    library.index()
    path.unlink()
    summary = library.index()
    assert summary.removed == 0
    assert "searchengine forget" in summary.notes[0]
    assert library.found() == ["a.png"]


def test_a_missing_root_deletes_nothing_and_says_so(library: FakeLibrary) -> None:
    make_picture(library.root / "a.png")
    library.index()
    library.root.rename(library.root.with_name("unplugged"))
    summary = library.index()
    assert summary.removed == 0
    assert "is missing" in summary.notes[0]
    assert library.found() == ["a.png"]


def test_nothing_is_deleted_below_a_root_that_could_not_be_read_whole(
    library: FakeLibrary,
) -> None:
    gone = make_picture(library.root / "gone.png")
    make_picture(library.root / "stays.png", "blue")
    library.index()
    gone.unlink()
    _nest_too_deep(library.root)
    summary = library.index()
    assert summary.removed == 0
    assert any("stay until a scan without errors" in note for note in summary.notes)
    assert "gone.png" in library.found()
    shutil.rmtree(library.root / ("d" * 200), ignore_errors=True)
    assert library.index().removed == 1


def _nest_too_deep(root: Path) -> None:
    """Folders nested until their absolute path is longer than the system can open."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def test_one_root_with_errors_does_not_hold_up_another(
    library: FakeLibrary, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    gone = make_picture(other / "gone.png")
    make_picture(other / "stays.png", "blue")
    make_picture(library.root / "a.png", "green")
    library.index(library.root, other)
    gone.unlink()
    _nest_too_deep(library.root)
    assert library.index(library.root, other).removed == 1


def test_a_file_overwritten_with_rubbish_keeps_its_place(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    library.index()
    path.write_bytes(b"rubbish")
    summary = library.index()
    assert dict(summary.skipped) == {"not a picture": 1}
    assert library.found() == ["a.png"]


def test_a_skipped_file_is_tried_again_only_when_it_changed_or_on_demand(
    library: FakeLibrary,
) -> None:
    path = library.root / "a.png"
    path.write_bytes(b"rubbish")
    os.utime(path, ns=(10**18, 10**18))
    make_picture(library.root / "b.png")
    assert library.index().skipped["not a picture"] == 1
    assert library.index().skipped["not a picture"] == 1  # still counted, not read
    assert library.index(retry_skipped=True).skipped["not a picture"] == 1
    make_picture(path, "blue")
    summary = library.index()
    assert (summary.new, summary.skipped.total()) == (1, 0)


def test_a_picture_the_encoder_fails_on_costs_only_itself(tmp_path: Path) -> None:
    for kind in ({"fails_on": "green"}, {"nan_on": "green"}):
        name = next(iter(kind))
        library = FakeLibrary(
            tmp_path / name / "library", tmp_path / name / "pictures", ColourEncoder(**kind)
        )
        for number, colour in enumerate(("red", "blue", "green", "white", "yellow")):
            make_picture(library.root / f"{number}.png", colour)
        summary = library.index()
        assert (summary.new, summary.skipped["the encoder failed on it"]) == (4, 1)
        assert sorted(library.found()) == ["0.png", "1.png", "3.png", "4.png"]


def test_an_encoder_that_fails_on_everything_ends_the_run_and_loses_nothing(
    library: FakeLibrary,
) -> None:
    make_picture(library.root / "before.png", "red")
    library.index()
    library.encoder = ColourEncoder(fails_on="green")
    for number in range(4):
        make_picture(library.root / f"{number}.png", "green", size=(20 + number, 20))
    with pytest.raises(EncoderError, match="failed on 4 pictures in a row"):
        library.index()
    assert library.found() == ["before.png"]
    library.encoder = ColourEncoder()
    assert library.index().new == 4


def test_a_run_that_ends_early_is_no_finished_scan(library: FakeLibrary) -> None:
    for number in range(4):
        make_picture(library.root / f"{number}.png", "green", size=(20 + number, 20))
    library.encoder = ColourEncoder(fails_on="green")
    with pytest.raises(EncoderError):
        library.index()
    assert library.store.folders()[0].last_scan_at is None
    library.encoder = ColourEncoder()
    library.index()
    assert library.store.folders()[0].last_scan_at is not None


def test_a_root_that_cannot_be_read_is_not_called_empty(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    library.index()
    path.unlink()
    _nest_too_deep(library.root)
    summary = library.index()
    assert any("could not be read" in note for note in summary.notes)
    assert not any("holds no picture any more" in note for note in summary.notes)
    note = library.store.folders()[0].last_scan_note
    assert note is not None and note.endswith("could not be read")
    assert library.found() == ["a.png"]


def test_a_damaged_or_missing_index_file_is_rebuilt(library: FakeLibrary) -> None:
    for colour in ("red", "green", "blue"):
        make_picture(library.root / f"{colour}.png", colour)
    library.index()
    record = library.store.default_encoder()
    assert record is not None
    path = index_path(library.directory, record)
    whole = path.read_bytes()
    expected = library.found("red")
    for position in range(0, len(whole), 7):  # every part of the file, a bit flipped
        rotten = bytearray(whole)
        rotten[position] ^= 1 << (position % 8)
        path.write_bytes(bytes(rotten))
        assert library.found("red") == expected
    path.write_bytes(whole[: len(whole) // 2])
    assert library.found("red") == expected
    path.unlink()
    assert library.found("red") == expected
    library.index()
    assert path.read_bytes() == whole


def test_a_dry_run_changes_nothing_and_tells_what_would_be(library: FakeLibrary) -> None:
    moved = make_picture(library.root / "a.png")
    make_picture(library.root / "gone.png", "blue", size=(60, 60))
    library.index()
    moved.rename(library.root / "b.png")
    (library.root / "gone.png").unlink()
    make_picture(library.root / "new.png", "green", size=(90, 90))
    summary = library.index(dry_run=True)
    assert (summary.new, summary.moved, summary.removed) == (1, 1, 1)
    assert sorted(library.found()) == ["a.png", "gone.png"]


def test_orphans_are_kept_for_their_days_and_then_dropped(library: FakeLibrary) -> None:
    path = make_picture(library.root / "a.png")
    make_picture(library.root / "b.png", "blue")
    library.index()
    path.unlink()
    library.index(keep_days=30)
    make_picture(path)
    seen = library.encoder.seen
    library.index()
    assert library.encoder.seen == seen  # it came back in time
    path.unlink()
    library.index()
    assert library.store.prune(keep_days=-1) == 1
    make_picture(path)
    library.index()
    assert library.encoder.seen == seen + 1


def test_a_reader_notices_a_new_generation(library: FakeLibrary) -> None:
    make_picture(library.root / "a.png")
    library.index()
    engine = library.engine
    query = Query("red", (Term("red"),))
    assert len(engine.search(query, top_k=10, which=Filter()).hits) == 1
    make_picture(library.root / "b.png", "blue")
    library.index()
    assert len(engine.search(query, top_k=10, which=Filter()).hits) == 2
