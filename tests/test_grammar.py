"""The grammar on any text: it never raises, and what it must not depend on changes nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from searchengine.conditions import Conditions, Count, Relation, Thing
from searchengine.grammar import analyse, read
from searchengine.query import parse

ODD = [
    "",
    "   ",
    "?!...",
    "🐶🐶🐶",
    "\ud800",
    "two",
    "no",
    "without",
    "left of",
    "between and",
    "'s",
    '"',
    "a pair of",
    "at least",
    "12,345,678 dogs",
    "犬が二匹",
    "with with with it on its left",
]
WORDS = st.sampled_from(
    "a the two 3 at least one pair of dogs cat red blue car person table on under left of next to "
    "between and or , . without no not wearing hats sign says STOP Sarah BMW M3 its with it "
    "how many less free hatless in front behind the's \" ' – é 🐱".split()
)


@pytest.mark.parametrize("text", ODD)
def test_odd_text_is_read_without_complaint(text: str) -> None:
    assert isinstance(read(text), Conditions)


@given(st.text(max_size=80))
@settings(max_examples=150, deadline=None)
@example("a" * 10_000)
def test_any_text_is_read_the_same_twice(text: str) -> None:
    assert read(text) == read(text)


@given(st.lists(WORDS, max_size=14))
@settings(max_examples=300, deadline=None)
def test_any_order_of_the_grammars_words_is_read(words: list[str]) -> None:
    conditions = read(" ".join(words))
    assert all(count.thing.noun for count in conditions.counts)
    assert all(r.subject.noun and r.object.noun for r in conditions.relations)
    assert all(thing.noun for thing in (*conditions.excluded, *conditions.attributes))


@given(
    st.sampled_from(["two", "three", "7", "at least four", "exactly six"]),
    st.sampled_from(["dogs", "chairs", "children", "lorries", "geese"]),
    st.sampled_from(["", "show me ", "a photo of ", "please find "]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_count_survives_capitals_and_request_words(
    number: str, noun: str, request: str, is_shouted: bool
) -> None:
    text = f"{request}{number} {noun}"
    plain = read(f"{number} {noun}").counts
    assert len(plain) == 1
    assert read(text.upper() if is_shouted else text).counts == plain


def test_five_thousand_words_are_read_at_once() -> None:
    read("a dog")
    started = time.process_time()
    read("two dogs left of a cat without people and " * 600)
    assert time.process_time() - started < 0.5


def test_all_demands_of_a_sentence_hold_together() -> None:
    conditions = read("show me two dogs left of a red car but no people")
    dogs, car = Thing("dog"), Thing("car", "red")
    assert conditions == Conditions(
        content="dogs left of a red car",
        counts=(Count(dogs, "==", 2),),
        relations=(Relation(dogs, "left_of", car),),
        excluded=(Thing("person"),),
        positive="show me two dogs left of a red car",
    )


@pytest.mark.parametrize(
    ("query", "content"),
    [
        ("show me three dogs", "dogs"),
        (">3 dogs", "dogs"),
        ("more than 2 dogs but less than 5", "dogs"),
        ("at least two cats, at most four on a sofa", "cats on a sofa"),
        ("three dogs and two cats", "dogs and cats"),
        ("two pupies playing tug of war", "puppies playing tug of war"),
        ("a muddy pair of hiking boots", "a muddy hiking boots"),
        ("family of four having breakfast", "family of four having breakfast"),
        ("how many boats are in the marina?", "boats are in the marina"),
        ("day three of the road trip", "day three of the road trip"),
        ("I need a street with two cars and no people", "a street with cars"),
        ("no people on the beach", "the beach"),
    ],
)
def test_what_is_embedded_has_no_numbers_requests_or_absences(query: str, content: str) -> None:
    assert read(query).content == content


def test_sentence_without_demands_has_none() -> None:
    conditions = read("sunset over the sea")
    assert conditions.is_empty
    assert conditions.content == "sunset over the sea"


def test_foreign_sentence_has_no_conditions() -> None:
    for text in ("zwei Hunde auf dem Sofa", "deux chiens sans laisse", "dos perros en la playa"):
        reading = analyse(text)
        assert reading.language
        assert reading.conditions.is_empty


def test_query_of_one_sentence_carries_its_conditions() -> None:
    conditions = parse("three cats").conditions
    assert conditions is not None
    assert conditions.counts == (Count(Thing("cat"), "==", 3),)


def test_query_with_arithmetic_carries_none() -> None:
    assert parse("three cats", add=["snow"]).conditions is None
    assert parse("three cats", subtract=["2:snow"]).conditions is None
