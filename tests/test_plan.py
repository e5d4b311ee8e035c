"""What a query's nouns mean to a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from indexer.encoder import Embeddings, LazyEncoder
from searchengine.conditions import Conditions, Count, Relation, Thing
from searchengine.plan import Planner

LABELS = ("dog", "cat", "table", "car")
DIRECTIONS = {
    "dog": (1.0, 0.3, 0.0),
    "cat": (0.8, 0.6, 0.0),
    "table": (0.0, 1.0, 0.2),
    "car": (0.0, 0.0, 1.0),
    "jackal": (1.0, 0.33, 0.0),
    "pet": (1.0, 0.4, 0.0),
    "cloth": (0.0, 1.0, 0.21),
    "cloud": (-1.0, -1.0, -1.0),
}


class WordEncoder:
    """Embeds a text as the direction of its last word."""

    id, dimension, image_size_px, logit_scale = "word/1", 3, 8, 100.0

    def encode_images(self, images: Sequence[Any]) -> Embeddings:
        raise AssertionError("a plan needs no picture")

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        rows = np.array([DIRECTIONS[text.split()[-1]] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def labels_of(noun: str, labels: Sequence[str]) -> tuple[str, ...]:
    return ("dog", "cat") if noun == "pet" else (noun,) if noun in labels else ()


def planner() -> Planner:
    return Planner(labels_of, LazyEncoder("word/1", {}, WordEncoder))


def counting(*nouns: str) -> Conditions:
    return Conditions("", counts=tuple(Count(Thing(noun), "==", 1) for noun in nouns))


def test_a_noun_that_no_list_knows_is_the_label_that_means_nearly_the_same() -> None:
    alone = planner().plan(counting("jackal"), LABELS)
    assert alone.labels["jackal"] == ("dog",)
    assert alone.guessed == {"jackal": "dog"}


def test_what_means_nearly_nothing_the_detector_knows_stays_unchecked() -> None:
    plan = planner().plan(counting("cloud"), LABELS)
    assert plan.guessed == {}
    assert plan.judge.unchecked == (Thing("cloud"),)


def test_a_guess_never_takes_the_label_of_another_thing_of_the_query() -> None:
    wanted = Relation(Thing("dog"), "under", Thing("table"))
    conditions = Conditions("", relations=(wanted,), excluded=(Thing("cloth"),), positive="dog")
    assert planner().plan(conditions, LABELS).guessed == {}


def test_things_one_label_cannot_tell_apart_need_the_encoders_view() -> None:
    plan = planner().plan(counting("pet", "dog"), LABELS)
    assert plan.doubtful == {Thing("pet"), Thing("dog")}
    assert planner().plan(counting("dog", "cat"), LABELS).doubtful == set()


def test_what_a_denial_leaves_is_told_from_what_it_takes_away() -> None:
    conditions = Conditions("dog", excluded=(Thing("pet"),), positive="dog")
    plan = planner().plan(conditions, LABELS)
    assert plan.doubtful == {Thing("pet"), Thing("dog")}
