"""`check`: verdicts, route, notes, and the command that prints them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import RunCommand

from searchengine.applicability import check, check_labels
from searchengine.conditions import Count, Thing


def test_verdict_quotes_the_users_words_and_says_what_will_be_done() -> None:
    (verdict,) = check("at least THREE dogs in a garden").verdicts
    assert verdict.name == "counting"
    assert verdict.triggers == ("at least THREE dogs",)
    assert "at least 3 × dog" in verdict.action


def test_several_verdicts_hold_at_once_and_lead_to_the_detector() -> None:
    assessment = check("two dogs left of a red car but no people")
    assert assessment.labels == ("counting", "spatial", "negation")
    assert assessment.route == "detector"


def test_named_people_get_a_warning_and_a_better_tool() -> None:
    (verdict,) = check("Tom Hanks at a premiere").verdicts
    assert verdict.name == "fine-grained"
    assert verdict.better is not None and "ArcFace" in verdict.better
    assert check("Tom Hanks at a premiere").route == "embeddings"


@pytest.mark.parametrize(
    "query",
    [
        "two puppies but no dogs",
        "two dogs but no dogs",
        "a dog without a dog",
        "two dogs and three dogs",
        "more than three and fewer than two cats",
        "at most two cats and at least three cats",
    ],
)
def test_contradiction_is_said(query: str) -> None:
    (note,) = check(query).notes
    assert "contradicts itself" in note


@pytest.mark.parametrize(
    "query",
    [
        "two boys and three girls",
        "white dog without black dogs",
        "two or three dogs",
        "people but no children",
        "men but no women",
        "two dogs but no puppies",
        "a car park without cars",
        "a hot dog without dogs",
        "fewer than three dogs and no dogs",
    ],
)
def test_what_only_resembles_a_contradiction_is_none(query: str) -> None:
    assert check(query).notes == ()


@pytest.mark.parametrize(
    ("query", "thing", "n"),
    [
        ("a dog without other dogs", "dog", 1),
        ("a man without other people", "man", 1),
        ("one red car and no other cars", "car", 1),
        ("two dogs without other dogs", "dog", 2),
        ("three dogs without other animals", "dog", 3),
    ],
)
def test_without_others_of_its_kind_is_a_number_and_no_absence(
    query: str, thing: str, n: int
) -> None:
    assessment = check(query)
    assert assessment.labels == ("counting",)
    assert assessment.conditions.excluded == ()
    assert assessment.conditions.counts == (Count(Thing(thing), "==", n),)


@pytest.mark.parametrize("query", ["a dog not left of a cat", "not two dogs", "not exactly 2 dogs"])
def test_what_is_denied_is_not_looked_for(query: str) -> None:
    assert check(query).conditions.is_empty


def test_or_between_conditions_is_said() -> None:
    (note,) = check("three dogs or two  cats").notes
    assert "Search for each alone" in note
    assert check("two or three dogs").notes == ()


def test_number_without_a_noun_is_said() -> None:
    (note,) = check("42").notes
    assert "counts nothing" in note


def test_other_language_is_answered_by_embeddings_and_said_so() -> None:
    assessment = check("zwei Hunde auf dem Sofa")
    assert assessment.route == "embeddings"
    assert "not look like English" in assessment.notes[0]


def test_over_long_query_is_said() -> None:
    assert "very long" in check("a dog on a sofa " * 1000).notes[0]


def test_labels_that_an_encoder_cannot_tell_apart_get_a_warning() -> None:
    (verdict,) = check_labels(["cat", "BMW M3", "Quercus robur", "Tom Hanks"])
    assert verdict.triggers == ("BMW M3", "Quercus robur", "Tom Hanks")
    (verdict,) = check_labels(["beagle", "whippet", "car"])
    assert verdict.triggers == ("beagle", "whippet")
    assert check_labels(["cat", "dog", "car", "beach", "sunset"]) == ()


def test_check_prints_words_reason_and_route(run_command: RunCommand) -> None:
    done = run_command("check", "two dogs but no cats")
    assert done.returncode == 0
    assert "counting      “two dogs”" in done.stdout
    assert "answered by   embeddings, then a detector" in done.stdout


def test_check_of_a_file_gives_a_json_object_a_line(run_command: RunCommand) -> None:
    done = run_command("check", "--json", "--file", "-", input="three cats\n\nsunset\n")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["parse"] == {"counts": [{"noun": "cat", "op": "==", "n": 3}]}
    assert [verdict["name"] for verdict in second["verdicts"]] == ["semantic"]
    assert second["route"] == "embeddings"


@pytest.mark.parametrize("words", [[], ["  "], ["dog", "--file", "-"]])
def test_check_without_exactly_one_source_is_a_usage_error(
    run_command: RunCommand, words: list[str]
) -> None:
    done = run_command("check", *words, input="")
    assert done.returncode == 2
    assert "searchengine: " in done.stderr


def test_check_imports_nothing_heavy() -> None:
    code = (
        "import sys; from searchengine.applicability import check; check('three dogs on a tabel');"
        "import searchengine.commands.check;"
        "print([m for m in ('torch', 'onnxruntime', 'numpy', 'PIL', 'sqlalchemy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_says_what_no_usual_detector_has_a_word_for(run_command: RunCommand) -> None:
    assert [str(thing) for thing in check("five unicorns left of a puppy").unknown] == ["unicorn"]
    assert check("two animals on a settee").unknown == ()
    assert "“unicorn”: none of the 80" in run_command("check", "five unicorns").stdout
    assert json.loads(run_command("check", "--json", "a lone tree").stdout)["unknown"] == ["tree"]


def test_another_language_is_not_praised() -> None:
    assessment = check("собака на пляже")
    assert assessment.verdicts[0].why == "Left to the embeddings."
    assert "does not look like English" in assessment.notes[0]


def test_a_place_in_the_picture_is_said_to_be_beyond_everybody_here() -> None:
    for query in ("a dog on the left", "a man on the right side of the picture"):
        (note,) = check(query).notes
        assert "where in the picture a thing is" in note
    for query in ("a dog on the left of a car", "left hand with a cup", "turn right at the bridge"):
        assert check(query).notes == ()
