"""The user's nouns: their singulars, and the detector's labels they stand for."""

from __future__ import annotations

import pytest

from searchengine.vocabulary import vocabulary
from searchengine.word_lists import read_table

COCO = tuple(read_table("synonyms.txt")[""])


@pytest.mark.parametrize(
    ("noun", "labels"),
    [
        ("dog", ["dog"]),
        ("Puppies", ["dog"]),
        ("telly", ["tv"]),
        ("TVs", ["tv"]),
        ("lorries", ["truck"]),
        ("policemen", ["person"]),
        ("people", ["person"]),
        ("kitchen table", ["dining table"]),
        ("red car", ["car"]),
        ("bar stools", ["chair"]),
        ("wine glasses", ["wine glass"]),
        ("fruit", ["banana", "apple", "orange"]),
        ("furniture", ["bench", "chair", "couch", "bed", "dining table"]),
    ],
)
def test_noun_stands_for_the_detectors_labels(noun: str, labels: list[str]) -> None:
    assert vocabulary().detector_labels(noun, COCO) == tuple(labels)


@pytest.mark.parametrize(
    "noun",
    ["phone box", "sunglasses", "sea horse", "fruit bat", "pool table", "xyzzy", "", "glasses"],
)
def test_noun_that_the_detector_does_not_know_stands_for_nothing(noun: str) -> None:
    assert vocabulary().detector_labels(noun, COCO) == ()


def test_hot_dog_is_no_dog_and_a_teddy_bear_no_bear() -> None:
    assert vocabulary().detector_labels("hot dogs", COCO) == ("hot dog",)
    assert vocabulary().detector_labels("teddy bears", COCO) == ("teddy bear",)


def test_detector_with_other_names_for_its_labels_is_understood() -> None:
    labels = ["aeroplane", "sofa", "tvmonitor", "Person"]
    assert vocabulary().detector_labels("couch", labels) == ("sofa",)
    assert vocabulary().detector_labels("jets", labels) == ("aeroplane",)
    assert vocabulary().detector_labels("telly", labels) == ("tvmonitor",)
    assert vocabulary().detector_labels("lads", labels) == ("Person",)


def test_label_that_no_list_knows_is_found_by_its_own_name() -> None:
    assert vocabulary().detector_labels("street lamps", ["Street Lamp"]) == ("Street Lamp",)


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("puppies", "puppy"),
        ("buses", "bus"),
        ("glasses", "glasses"),
        ("wine glasses", "wine glass"),
        ("jeans", "jeans"),
        ("geese", "goose"),
        ("sheep", "sheep"),
        ("wolves", "wolf"),
        ("gloves", "glove"),
        ("horses", "horse"),
        ("boxes", "box"),
        ("selfies", "selfie"),
        ("passers-by", "passer-by"),
        ("firemen", "fireman"),
        ("axolotls", "axolotl"),
        ("bus", "bus"),
        ("dress", "dress"),
        ("quokkas", "quokka"),
    ],
)
def test_plurals_have_their_singular(plural: str, singular: str) -> None:
    assert vocabulary().plurals.singular(plural) == singular
    assert vocabulary().plurals.singular(singular) == singular
