"""Why a picture does or does not match: each finding, and what is suggested for it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeLibrary, RunCommand, make_picture
from fakes import COLOURS
from photographs import copy_photographs, photograph
from PIL import Image

from indexer.errors import DetectorUnavailable, UsageError
from indexer.records import Detection
from searchengine import open_library
from searchengine.applicability import check
from searchengine.conditions import Conditions, Count, Thing
from searchengine.detector import LazyDetector
from searchengine.diagnose import Diagnosis, diagnose
from searchengine.look import LookOptions
from searchengine.query import Query, Term
from searchengine.rerank import Reranker


class Sees:
    """A detector that sees the same in every picture."""

    id = "fake/1"
    labels = ("dog", "cat")
    image_size_px = 16

    def __init__(self, *labels: str) -> None:
        self._found = tuple(
            Detection(label, 0.95, (0.1 * at, 0.1, 0.1 * at + 0.1, 0.9))
            for at, label in enumerate(labels)
        )

    def detect(self, images: Sequence[Image.Image]) -> list[tuple[Detection, ...]]:
        return [self._found for _ in images]


def same_noun(noun: str, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label in labels if label == noun)


def ask(
    library: FakeLibrary, path: Path, text: str, *sees: str, count: int | None = None, **more: Any
) -> Diagnosis:
    counts = (Count(Thing("dog"), "==", count),) if count is not None else ()
    query = Query(text, (Term(text),), conditions=Conditions(text, counts=counts))
    engine = library.engine
    detector = more.get("detector") or LazyDetector("fake/1", "fake", lambda: Sees(*sees))
    reranker = Reranker(
        library.store, detector, engine.record, library.lazy, same_noun, LookOptions(1, 50.0)
    )
    return diagnose(
        engine,
        reranker,
        query,
        str(path),
        assessment=check(more.get("asked", "red")),
        cache_dir=None,
        exclude=("@eaDir/",),
    )


@pytest.fixture
def colours(library: FakeLibrary) -> FakeLibrary:
    for colour in COLOURS:
        make_picture(library.root / f"{colour}.png", colour)
    library.index()
    return library


def test_a_picture_that_matches_is_first_and_says_so(colours: FakeLibrary) -> None:
    found = ask(colours, colours.root / "red.png", "red")
    assert (found.is_in_library, found.state) == (True, "in the library")
    assert (found.rank, found.pictures, found.percentile) == (1, 8, 100.0)
    assert found.match == "strong"
    assert "A search without filters shows it" in found.advice[-1]
    assert "red" in found.nearest_words[0]


def test_a_picture_that_does_not_match_is_last_and_other_words_are_named(
    colours: FakeLibrary,
) -> None:
    found = ask(colours, colours.root / "cyan.png", "red")
    assert (found.rank, found.percentile, found.match) == (8, 0.0, "weak")
    assert any(f'"{found.nearest_words[0]}"' in line for line in found.advice)
    assert any("--add" in line for line in found.advice)


def test_a_picture_outside_the_library_gets_the_place_it_would_have(
    colours: FakeLibrary, tmp_path: Path
) -> None:
    found = ask(colours, make_picture(tmp_path / "elsewhere" / "a.png", "red"), "red")
    assert (found.is_in_library, found.rank) == (False, 1)
    assert found.state == "outside the folders of the library"
    assert found.advice[0].endswith(f"Run: searchengine index {tmp_path / 'elsewhere'}")


def test_it_says_why_a_picture_is_not_in_the_library(colours: FakeLibrary) -> None:
    root = colours.root
    for path, state in (
        (root / "new.png", "not indexed yet"),
        (root / "@eaDir" / "a.png", "left out of the library: "),
        (root / ".hidden" / "a.png", "left out of the library: "),
        (root / "a.strange", "left out of the library: its suffix"),
    ):
        make_picture(root / "made.png", "red")
        path.parent.mkdir(exist_ok=True)
        (root / "made.png").rename(path)
        found = ask(colours, path, "red")
        assert not found.is_in_library
        assert found.state.startswith(state), found.state
    (root / "private").mkdir()
    (root / ".searchignore").write_text("private/\n")
    hidden = make_picture(root / "private" / "a.png", "red")
    assert str(root / "private") in ask(colours, hidden, "red").state
    skipped = root / "skipped.png"
    skipped.write_bytes(b"rubbish")
    colours.index()
    make_picture(skipped, "red")
    assert ask(colours, skipped, "red").state.startswith("skipped by the last scan: not a picture")


def test_a_changed_picture_is_judged_as_it_is_now(colours: FakeLibrary) -> None:
    path = make_picture(colours.root / "blue.png", "red", size=(30, 30))
    found = ask(colours, path, "red")
    assert (found.state, found.rank) == ("changed since it was indexed", 1)
    assert "old picture" in found.advice[0]


def test_conditions_are_held_against_what_the_detector_sees(colours: FakeLibrary) -> None:
    path = colours.root / "red.png"
    holds = ask(colours, path, "red", "dog", "dog", count=2)
    assert [seen["label"] for seen in holds.seen] == ["dog", "dog"]
    assert holds.condition is not None and holds.condition > 0.8
    fails = ask(colours, path, "red", "dog", "cat", count=3)
    assert fails.condition is not None and fails.condition < 0.1
    (part,) = fails.parts
    assert part["number"] == 1
    assert (holds.match, fails.match) == ("strong", "weak")
    assert any("--no-rerank" in line and "1 seen" in line for line in fails.advice)
    without = ask(colours, path, "red", "dog")
    assert (without.condition, without.parts) == (None, [])


def test_what_a_query_asks_in_vain_is_told_with_what_would_serve_better(
    colours: FakeLibrary,
) -> None:
    found = ask(colours, colours.root / "red.png", "red", asked="a sign that says STOP")
    assert [verdict["name"] for verdict in found.verdicts] == ["text-in-image"]
    assert any("OCR" in line for line in found.advice)
    found = ask(colours, colours.root / "red.png", "red", asked="two dogs but no dogs")
    assert any("contradicts itself" in note for note in found.notes)


def test_a_detector_that_cannot_be_had_costs_only_its_part(colours: FakeLibrary) -> None:
    def fail() -> Sees:
        raise DetectorUnavailable("no weights")

    detector = LazyDetector("gone/1", "gone", fail)
    found = ask(colours, colours.root / "red.png", "red", count=2, detector=detector)
    assert (found.detector, found.condition, found.match) == (None, None, "strong")
    assert found.notes == ["Without a detector: no weights"]


def test_what_is_no_picture_is_refused(colours: FakeLibrary) -> None:
    with pytest.raises(UsageError, match="There is no picture"):
        ask(colours, colours.root / "nowhere.png", "red")
    (colours.root / "rubbish.png").write_bytes(b"rubbish")
    with pytest.raises(UsageError, match="cannot be used: not a picture"):
        ask(colours, colours.root / "rubbish.png", "red")


def test_without_a_library_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with (
        open_library(tmp_path / "library") as library,
        pytest.raises(UsageError, match="Run: searchengine index"),
    ):
        library.diagnose(photograph("chelsea.png"), "a cat")


def test_diagnose_on_the_command_line(run_command: RunCommand, tmp_path: Path) -> None:
    cat = photograph("chelsea.png")
    pictures = copy_photographs(tmp_path / "pictures", ("chelsea.png", "coffee.png"))
    run_command("index", pictures)
    done = run_command(
        "diagnose", "--image", pictures / "chelsea.png", "--query", "a cat", "--json"
    )
    found = json.loads(done.stdout)
    assert (found["rank"], found["pictures"], found["is_in_library"]) == (1, 2, True)
    assert found["match"] in ("strong", "fair")
    assert found["encoder"].startswith("starter/") and found["detector"].startswith("starter/")
    assert os.path.basename(found["path"]) == "chelsea.png"
    told = run_command("diagnose", "--image", cat, "--query", "two cats").stdout
    assert "outside the folders of the library" in told
    assert "detector   starter/" in told
    assert f"searchengine index {cat.parent}" in told
