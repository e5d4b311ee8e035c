"""Re-ranking on a library of coloured pictures, whose detector is told what each one shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import FakeLibrary, make_picture
from fakes import ColourDetector

from indexer.detections import contents_not_looked_at, detectors
from indexer.errors import DetectorUnavailable
from indexer.records import Box, Filter
from searchengine.conditions import Conditions, Count, Relation, Thing
from searchengine.detector import Detector, LazyDetector
from searchengine.engine import Engine
from searchengine.look import LookOptions, look_at
from searchengine.query import Query, Term
from searchengine.rerank import Reranker
from searchengine.result import SearchResult

LEFT: Box = (0.05, 0.3, 0.35, 0.8)
MIDDLE: Box = (0.37, 0.3, 0.63, 0.8)
RIGHT: Box = (0.65, 0.3, 0.95, 0.8)
OPTIONS = LookOptions(workers=2, max_megapixels=50.0)
Answers = Mapping[str, Sequence[tuple[str, float, Box]]]


def labels_of(noun: str, labels: Sequence[str]) -> tuple[str, ...]:
    return (noun,) if noun in labels else ()


def make_engine(
    library: FakeLibrary, detector: Detector | DetectorUnavailable, *, candidates: int = 200
) -> Engine:
    def build() -> Detector:
        if isinstance(detector, DetectorUnavailable):
            raise detector
        return detector

    record = library.store.default_encoder()
    assert record is not None
    lazy = LazyDetector(ColourDetector.id, "fake", build)
    return Engine(
        library.store,
        record,
        library.lazy,
        max_megapixels=50.0,
        reranker=lambda: Reranker(library.store, lazy, record, library.lazy, labels_of, OPTIONS),
        candidates=candidates,
    )


def ask(engine: Engine, conditions: Conditions, *, top_k: int = 10) -> SearchResult:
    query = Query("asked", (Term(conditions.content),), conditions=conditions)
    return engine.search(query, top_k=top_k, which=Filter())


def names(result: SearchResult) -> list[str]:
    return [Path(hit.path).stem for hit in result.hits]


def fill(library: FakeLibrary, colours: Sequence[str]) -> None:
    for colour in colours:
        make_picture(library.root / f"{colour}.png", colour)
    library.index()


def dogs(number: int) -> Conditions:
    return Conditions("dogs", counts=(Count(Thing("dog"), "==", number),))


DOGS: Answers = {
    "red": [("dog", 0.95, LEFT)],
    "green": [("dog", 0.9, LEFT), ("dog", 0.9, RIGHT)],
    "blue": [("dog", 0.9, LEFT), ("dog", 0.9, MIDDLE), ("dog", 0.85, RIGHT)],
    "yellow": [("cat", 0.9, LEFT)],
}


def test_the_picture_with_the_right_number_of_things_comes_first(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    engine = make_engine(library, ColourDetector(DOGS))
    assert names(ask(engine, dogs(1)))[0] == "red"
    assert names(ask(engine, dogs(2)))[0] == "green"
    result = ask(engine, dogs(3))
    assert names(result)[0] == "blue"
    assert result.route == "detector"


def test_each_hit_explains_the_boxes_and_the_number(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    first = ask(make_engine(library, ColourDetector(DOGS)), dogs(2)).hits[0]
    assert first.explanation is not None
    (part,) = first.explanation["parts"]
    assert part["verdict"] == "counting"
    assert part["number"] == 2
    assert part["probability"] == pytest.approx(0.81)
    assert [box["box"] for box in part["boxes"]] == [list(LEFT), list(RIGHT)]
    assert first.explanation["condition"] == pytest.approx(0.81)
    assert first.explanation["embedding"] == pytest.approx(first.score)
    assert first.explanation["not_checked"] == []


def test_how_many_answers_with_the_number_on_each_hit(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    conditions = Conditions("dogs", counts=(Count(Thing("dog"), "?", None),))
    result = ask(make_engine(library, ColourDetector(DOGS)), conditions)
    numbers = {
        Path(hit.path).stem: hit.explanation["parts"][0]["number"]
        for hit in result.hits
        if hit.explanation
    }
    assert numbers == {"red": 1, "green": 2, "blue": 3, "yellow": 0}


def test_as_many_boxes_are_shown_as_are_said_to_be_seen(library: FakeLibrary) -> None:
    doubtful: Answers = {"red": [("dog", 0.9, LEFT), ("dog", 0.35, MIDDLE), ("dog", 0.3, RIGHT)]}
    fill(library, ["red"])
    excluded = replace(dogs(1), excluded=(Thing("dog"),), positive="dogs")
    (hit,) = ask(make_engine(library, ColourDetector(doubtful)), excluded).hits
    assert hit.explanation is not None
    counted, absent = hit.explanation["parts"]
    assert (counted["number"], len(counted["boxes"])) == (1, 1)
    assert (absent["found"], len(absent["boxes"])) == ("1 seen", 1)


def test_the_number_shown_is_the_one_that_ranks_highest(library: FakeLibrary) -> None:
    places = [(at / 10, 0.1, at / 10 + 0.08, 0.3) for at in range(5)]
    doubtful: Answers = {"red": [("dog", 0.4, place) for place in places]}
    fill(library, ["red"])
    found = {}
    for n in range(5):
        (hit,) = ask(make_engine(library, ColourDetector(doubtful)), dogs(n)).hits
        assert hit.explanation is not None
        (part,) = hit.explanation["parts"]
        found[n] = part["probability"]
        assert (part["number"], len(part["boxes"]), part["found"]) == (2, 2, "2 seen")
    assert max(found, key=lambda n: found[n]) == 2


def test_things_that_stand_nowhere_near_are_in_no_relation(library: FakeLibrary) -> None:
    far: Answers = {
        "red": [("dog", 0.9, (0.0, 0.0, 0.01, 0.01)), ("dog", 0.9, (0.99, 0.0, 1, 0.01))]
    }
    fill(library, ["red"])
    two_dogs = Relation(Thing("dog"), "inside", Thing("dog"))
    (hit,) = ask(
        make_engine(library, ColourDetector(far)), Conditions("dogs", relations=(two_dogs,))
    ).hits
    assert hit.explanation is not None
    (part,) = hit.explanation["parts"]
    assert part["probability"] < 0.01
    boxes = [tuple(box["box"]) for box in part["boxes"]]
    assert len(boxes) == len(set(boxes))


def test_min_match_looks_beyond_the_hits_asked_for(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    query = Query(
        "dogs", (Term("yellow"),), conditions=dogs(3)
    )  # by the embedding, yellow comes first
    engine = make_engine(library, ColourDetector(DOGS))
    result = engine.search(query, top_k=1, which=Filter(), min_match="fair")
    assert names(result) == ["blue"]


def test_left_of_and_right_of_rank_mirrored_pictures_differently(library: FakeLibrary) -> None:
    answers: Answers = {
        "red": [("cat", 0.9, LEFT), ("dog", 0.9, RIGHT)],
        "blue": [("cat", 0.9, RIGHT), ("dog", 0.9, LEFT)],
        "green": [("cat", 0.9, LEFT)],
    }
    fill(library, list(answers))
    engine = make_engine(library, ColourDetector(answers))
    cat, dog = Thing("cat"), Thing("dog")
    for relation, expected in (("left_of", "red"), ("right_of", "blue")):
        wanted = Relation(cat, relation, dog)  # type: ignore[arg-type]
        assert names(ask(engine, Conditions("cat and dog", relations=(wanted,))))[0] == expected


def test_between_needs_something_on_both_sides(library: FakeLibrary) -> None:
    answers: Answers = {
        "red": [("dog", 0.9, MIDDLE), ("person", 0.9, LEFT), ("person", 0.9, RIGHT)],
        "blue": [("dog", 0.9, LEFT), ("person", 0.9, MIDDLE), ("person", 0.9, RIGHT)],
        "green": [("dog", 0.9, MIDDLE), ("person", 0.9, LEFT)],
    }
    fill(library, list(answers))
    wanted = Relation(Thing("dog"), "between", Thing("person"))
    result = ask(
        make_engine(library, ColourDetector(answers)), Conditions("dog", relations=(wanted,))
    )
    assert names(result)[0] == "red"
    condition = [hit.explanation["condition"] for hit in result.hits if hit.explanation]
    assert condition[0] > 0.6
    assert max(condition[1:]) < 0.1


def test_what_is_excluded_sinks_and_is_drawn(library: FakeLibrary) -> None:
    answers: Answers = {
        "red": [("person", 0.9, LEFT)],
        "blue": [],
        "green": [("person", 0.4, LEFT), ("person", 0.4, RIGHT)],
    }
    fill(library, list(answers))
    conditions = Conditions("red", excluded=(Thing("person"),), positive="red")
    result = ask(make_engine(library, ColourDetector(answers)), conditions)
    assert names(result)[0] == "blue"
    last = next(hit for hit in result.hits if hit.path.endswith("red.png"))
    assert last.explanation is not None
    assert last.explanation["parts"][0]["asked"] == "no person"
    assert last.explanation["parts"][0]["probability"] == pytest.approx(0.1)
    assert last.explanation["parts"][0]["boxes"][0]["box"] == list(LEFT)


def test_all_conditions_hold_together(library: FakeLibrary) -> None:
    right: list[tuple[str, float, Box]] = [
        ("dog", 0.95, (0.02, 0.3, 0.2, 0.7)),
        ("dog", 0.95, (0.25, 0.3, 0.4, 0.7)),
        ("car", 0.95, RIGHT),
    ]
    answers: Answers = {
        "red": right,
        "blue": [*right, ("person", 0.95, MIDDLE)],  # a person
        "green": right[1:],  # one dog
        "yellow": [("dog", 0.95, RIGHT), ("dog", 0.95, MIDDLE), ("car", 0.95, LEFT)],  # right of it
    }
    fill(library, list(answers))
    dog, car = Thing("dog"), Thing("car")
    conditions = Conditions(
        "dogs and a car",
        counts=(Count(dog, "==", 2),),
        relations=(Relation(dog, "left_of", car),),
        excluded=(Thing("person"),),
        positive="two dogs left of a car",
    )
    result = ask(make_engine(library, ColourDetector(answers)), conditions)
    assert names(result)[0] == "red"
    conditions_met = [hit.explanation["condition"] for hit in result.hits if hit.explanation]
    assert conditions_met[0] > 0.6
    assert max(conditions_met[1:]) < 0.2


def test_a_picture_is_looked_at_once_in_its_life(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    detector = ColourDetector(DOGS)
    engine = make_engine(library, detector)
    ask(engine, dogs(2))
    ask(engine, dogs(3))
    ask(make_engine(library, detector), dogs(1))
    assert detector.looks == len(DOGS)
    with library.store.reading() as connection:
        assert contents_not_looked_at(connection, detector.id) == []
        assert detectors(connection)[0].labels == detector.labels


def test_a_stored_answer_needs_no_detector(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    ask(make_engine(library, ColourDetector(DOGS)), dogs(2))
    gone = DetectorUnavailable("its weights are gone")
    assert names(ask(make_engine(library, gone), dogs(2)))[0] == "green"


def test_without_a_detector_the_embeddings_answer_and_one_line_says_so(
    library: FakeLibrary,
) -> None:
    fill(library, list(DOGS))
    result = ask(make_engine(library, DetectorUnavailable("no weights here")), dogs(2))
    assert len(result.hits) == len(DOGS)
    assert result.route == "embeddings"
    assert result.notes == ["Ranked by embeddings alone. no weights here"]


def test_a_picture_beyond_the_candidates_is_found_once_all_were_looked_at(
    library: FakeLibrary,
) -> None:
    fill(library, ["red", "magenta", "yellow", "cyan", "green"])
    answers: Answers = {"cyan": [("dog", 0.9, LEFT), ("dog", 0.9, RIGHT)]}
    detector = ColourDetector(answers)
    wanted = Conditions("red", counts=(Count(Thing("dog"), "==", 2),))
    narrow = make_engine(library, detector, candidates=2)
    assert "cyan" not in names(ask(narrow, wanted, top_k=2))
    with library.store.reading() as connection:
        missing = contents_not_looked_at(connection, detector.id)
    assert look_at(library.store, detector, "fake", missing, OPTIONS).done == len(missing) == 3
    assert names(ask(make_engine(library, detector, candidates=2), wanted, top_k=2))[0] == "cyan"


def test_a_noun_the_detector_does_not_know_is_left_to_the_embedding_and_said(
    library: FakeLibrary,
) -> None:
    fill(library, list(DOGS))
    conditions = Conditions(
        "red",
        relations=(Relation(Thing("dog"), "on", Thing("zzyzx")),),
    )
    result = ask(make_engine(library, ColourDetector(DOGS)), conditions)
    assert any("'zzyzx'" in note for note in result.notes)
    first = result.hits[0].explanation
    assert first is not None
    assert first["not_checked"] == ["zzyzx"]
    assert first["parts"][0]["found"] == "only looked for dog"
    assert names(result)[-1] == "yellow"  # where no dog is


def test_an_absence_the_detector_cannot_see_is_judged_by_the_embedding(
    library: FakeLibrary,
) -> None:
    colours = ["red", "green", "blue", "yellow", "cyan", "magenta", "white", "black"]
    fill(library, colours)
    conditions = Conditions("picture", excluded=(Thing("red"),), positive="picture")
    result = ask(make_engine(library, ColourDetector({})), conditions)
    assert names(result)[-1] == "red"
    explanation = result.hits[-1].explanation
    assert explanation is not None
    assert explanation["parts"][-1]["found"] == "by the embedding"


def test_a_picture_that_vanished_before_the_detector_saw_it_stays_in_the_answer(
    library: FakeLibrary,
) -> None:
    fill(library, list(DOGS))
    (library.root / "green.png").unlink()
    result = ask(make_engine(library, ColourDetector(DOGS)), dogs(1))
    assert set(names(result)) == set(DOGS)
    assert names(result)[0] == "red"
    gone = next(hit for hit in result.hits if hit.path.endswith("green.png"))
    assert gone.explanation is not None
    assert gone.explanation["condition"] is None
    assert any("could not be looked at" in note for note in result.notes)


def test_a_file_changed_since_it_was_indexed_is_not_remembered_as_looked_at(
    library: FakeLibrary,
) -> None:
    fill(library, list(DOGS))
    make_picture(library.root / "green.png", "cyan")
    detector = ColourDetector(DOGS)
    result = ask(make_engine(library, detector), dogs(1))
    assert detector.looks == len(DOGS) - 1
    assert any("changed since it was indexed" in note for note in result.notes)


def test_while_another_process_indexes_a_search_still_looks_and_says_it_forgets(
    library: FakeLibrary,
) -> None:
    fill(library, list(DOGS))
    detector = ColourDetector(DOGS)
    with library.store.writer():
        result = ask(make_engine(library, detector), dogs(2))
    assert names(result)[0] == "green"
    assert any("not kept" in note for note in result.notes)
    ask(make_engine(library, detector), dogs(2))
    assert detector.looks == 2 * len(DOGS)


def test_detections_leave_with_their_picture(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    ask(make_engine(library, ColourDetector(DOGS)), dogs(2))
    for colour in ("red", "green"):
        (library.root / f"{colour}.png").unlink()
    library.index(keep_days=-1)
    with library.store.reading() as connection:
        left = connection.exec_driver_sql("SELECT DISTINCT content_id FROM detections").all()
        looked = connection.exec_driver_sql("SELECT count(*) FROM looks").scalar_one()
    assert (len(left), looked) == (2, 2)


def test_no_rerank_gives_what_embeddings_give(library: FakeLibrary) -> None:
    fill(library, list(DOGS))
    engine = make_engine(library, ColourDetector(DOGS))
    query = Query("red", (Term("red"),), conditions=dogs(3))
    result = engine.search(query, top_k=4, which=Filter(), rerank=False)
    assert names(result)[0] == "red"
    assert result.hits[0].explanation is None
    assert result.route == "embeddings"


def test_a_hit_whose_number_was_seen_is_no_weak_match_and_one_without_is(
    library: FakeLibrary,
) -> None:
    fill(library, list(DOGS))
    result = ask(make_engine(library, ColourDetector(DOGS)), dogs(3))
    match = {Path(hit.path).stem: hit.match for hit in result.hits}
    assert match["blue"] in ("fair", "strong")
    assert match["yellow"] == match["red"] == "weak"


def test_where_nothing_can_be_checked_no_hit_is_said_to_meet_anything(
    library: FakeLibrary,
) -> None:
    fill(library, list(DOGS))
    conditions = Conditions("red", counts=(Count(Thing("unicorn"), "==", 2),))
    result = ask(make_engine(library, ColourDetector(DOGS)), conditions)
    assert names(result)[0] == "red"
    assert {hit.explanation["condition"] for hit in result.hits if hit.explanation} == {None}


def test_somebody_between_two_people_makes_three(library: FakeLibrary) -> None:
    three: list[tuple[str, float, Box]] = [("person", 0.95, box) for box in (LEFT, MIDDLE, RIGHT)]
    fill(library, ["red", "blue", "green"])
    person = Thing("person")
    conditions = Conditions(
        "person",
        counts=(Count(person, "==", 2),),
        relations=(Relation(person, "between", person),),
    )
    answers: Answers = {"red": three, "blue": three[:2], "green": three[:1]}
    result = ask(make_engine(library, ColourDetector(answers)), conditions)
    assert names(result)[0] == "red"
    assert result.hits[0].explanation is not None
    assert result.hits[0].explanation["condition"] > 0.5
    parts = [hit.explanation["parts"] for hit in result.hits if hit.explanation]
    assert parts[-1][1]["found"] == "only one seen" or parts[-1][1]["found"] == "too few seen"


def test_an_attribute_is_seen_by_the_crop_also_where_nothing_can_be_kept(
    library: FakeLibrary,
) -> None:
    whole: Box = (0.0, 0.0, 1.0, 1.0)
    answers: Answers = {colour: [("car", 0.9, whole)] for colour in ("red", "green", "blue")}
    fill(library, list(answers))
    red = Thing("car", "red")
    conditions = Conditions("cars", counts=(Count(red, "==", 1),))
    detector = ColourDetector(answers)
    encoded = library.encoder.seen
    with library.store.writer():
        locked = ask(make_engine(library, detector), conditions)
    assert library.encoder.seen == encoded + 3
    free = ask(make_engine(library, detector), conditions)
    for result in (locked, free):
        assert names(result)[0] == "red"
        assert result.hits[0].explanation is not None
        assert result.hits[0].explanation["condition"] > 0.6
    again = library.encoder.seen
    ask(make_engine(library, detector), conditions)
    assert library.encoder.seen == again  # crops are embedded once


def test_an_absence_alone_is_the_detectors_to_answer(library: FakeLibrary) -> None:
    answers: Answers = {"red": [("person", 0.9, LEFT)], "blue": [], "green": [("dog", 0.9, LEFT)]}
    fill(library, list(answers))
    conditions = Conditions("no people", excluded=(Thing("person"),))
    result = ask(make_engine(library, ColourDetector(answers)), conditions)
    assert names(result)[-1] == "red"
    match = {Path(hit.path).stem: hit.match for hit in result.hits}
    assert match == {"blue": "fair", "green": "fair", "red": "weak"}
