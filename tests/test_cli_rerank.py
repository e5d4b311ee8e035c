"""Counting, places and absences on the command line, with the starter models and photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import RunCommand
from photographs import copy_photographs, photograph
from PIL import Image, ImageOps

NAMES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = copy_photographs(tmp_path / "pictures", NAMES)
    cat = Image.open(photograph("chelsea.png")).convert("RGB").resize((320, 320))
    astronaut = Image.open(photograph("astronaut.png")).convert("RGB").resize((320, 320))
    for name, left, right in (
        ("two cats", cat, ImageOps.mirror(cat)),
        ("cat left", cat, astronaut),
        ("cat right", astronaut, cat),
    ):
        both = Image.new("RGB", (640, 320))
        both.paste(left, (0, 0))
        both.paste(right, (320, 0))
        both.save(folder / f"{name}.png")
    return folder


def test_two_cats_are_found_counted_and_explained(run_command: RunCommand, pictures: Path) -> None:
    indexed = run_command("index", pictures, "--detect")
    assert indexed.returncode == 0
    assert "8 looked at for things" in indexed.stdout
    found = json.loads(run_command("search", "exactly two cats", "--json", "-k", "3").stdout)
    assert found["route"] == "detector"
    first = found["hits"][0]
    assert Path(first["path"]).stem == "two cats"
    (part,) = first["explanation"]["parts"]
    assert (part["verdict"], part["number"]) == ("counting", 2)
    assert len(part["boxes"]) == 2

    told = run_command("search", "exactly two cats", "-k", "1", "--explain").stdout
    assert "[2]" in told
    assert "exactly 2 × cat: 2 seen" in told
    assert told.count("╔cat ") == 2

    plain = json.loads(run_command("search", "two cats", "--json", "--no-rerank").stdout)
    assert plain["route"] == "embeddings"
    assert all(hit["explanation"] is None for hit in plain["hits"])

    status = json.loads(run_command("status", "--json").stdout)
    assert [detector["pictures"] for detector in status["detectors"]] == [8]


def test_left_and_right_are_told_apart(run_command: RunCommand, pictures: Path) -> None:
    run_command("index", pictures)
    for query, expected in (
        ("a cat to the left of a person", "cat left"),
        ("a person to the left of a cat", "cat right"),
    ):
        found = json.loads(run_command("search", query, "--json", "-k", "1").stdout)
        assert Path(found["hits"][0]["path"]).stem == expected


def test_a_detector_that_cannot_be_had_costs_a_line_and_no_answer(
    run_command: RunCommand, pictures: Path
) -> None:
    run_command("index", pictures)
    done = run_command("search", "two cats", "--detector", "dfine-small-coco")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 8
    assert "Ranked by embeddings alone." in done.stderr
    assert "--detector starter" in done.stderr
    detect = run_command("index", "--detect", "--detector", "dfine-small-coco")
    assert detect.returncode == 3
    assert "--detector starter" in detect.stderr


def test_wrong_names_and_lone_flags_are_refused(run_command: RunCommand, pictures: Path) -> None:
    run_command("index", pictures)
    for query in ("two cats", "a cat asleep"):
        unknown = run_command("search", query, "--detector", "starterr")
        assert unknown.returncode == 2
        assert "Did you mean starter?" in unknown.stderr
    lone = run_command("index", "--detector", "starter")
    assert lone.returncode == 2
    assert "--detect" in lone.stderr
