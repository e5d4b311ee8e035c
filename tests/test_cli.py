"""The command line as a user types it, with the real starter encoder on real photographs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunCommand, command_environment
from photographs import copy_photographs, photograph
from PIL import Image


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return copy_photographs(tmp_path / "pictures")


def hits(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [os.path.basename(hit["path"]) for hit in json.loads(done.stdout)["hits"]]


def test_index_then_search_finds_the_right_photograph(
    run_command: RunCommand, pictures: Path
) -> None:
    done = run_command("index", pictures)
    assert done.returncode == 0, done.stderr
    assert "9 new" in done.stdout
    for query, expected in (
        ("a cat", "chelsea.png"),
        ("a cup of coffee", "coffee.png"),
        ("a motorcycle", "motorcycle_left.png"),
    ):
        done = run_command("search", query, "-k", "3", "--json")
        assert hits(done)[0] == expected
    found = json.loads(done.stdout)
    assert set(found) >= {"query", "encoder", "route", "verdicts", "took_ms", "hits"}
    assert found["query"] == "a motorcycle"
    assert found["encoder"].startswith("starter/")
    assert [verdict["name"] for verdict in found["verdicts"]] == ["semantic"]
    first = found["hits"][0]
    assert set(first) >= {
        *("rank", "id", "path", "score", "width", "height", "taken_at", "explanation", "match")
    }
    assert (first["rank"], first["width"], first["height"]) == (1, 741, 500)
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    assert set(found["took_ms"]) == {*("encoder", "embed", "open", "search", "match", "total")}


def test_a_second_run_a_rename_and_a_removal_are_told_and_cost_no_encoder(
    run_command: RunCommand, pictures: Path
) -> None:
    run_command("index", pictures)
    again = json.loads(run_command("index", "--json").stdout)
    assert (again["unchanged"], again["new"], again["encoded"]) == (9, 0, 0)
    pictures.rename(pictures.with_name("renamed"))
    (pictures.with_name("renamed") / "coins.png").unlink()
    moved = json.loads(run_command("index", pictures.with_name("renamed"), "--json").stdout)
    assert (moved["new"], moved["reused"], moved["encoded"]) == (8, 8, 0)
    # the old root is missing: what was there stays until it is forgotten
    assert "searchengine forget" in run_command("index").stderr
    assert "9 pictures forgotten" in run_command("forget", pictures).stdout
    assert len(hits(run_command("search", "anything", "-k", "100", "--json"))) == 8


def test_similar_leaves_the_picture_itself_out(
    run_command: RunCommand, pictures: Path, tmp_path: Path
) -> None:
    mirrored = Image.open(photograph("chelsea.png")).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(pictures / "mirrored.jpg", quality=90)
    run_command("index", pictures)
    done = run_command("similar", pictures / "chelsea.png", "-k", "20", "--json")
    assert hits(done)[0] == "mirrored.jpg"
    assert "chelsea.png" not in hits(done)
    assert len(hits(done)) == 9
    outside = tmp_path / "outside.png"
    shutil.copy(photograph("chelsea.png"), outside)
    assert hits(run_command("similar", outside, "-k", "1", "--json")) == ["chelsea.png"]


def test_filters_still_give_as_many_as_asked_for(
    run_command: RunCommand, pictures: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R5"
    exif.get_ifd(0x8769)[0x9003] = "2023:06:15 10:00:00"
    for number in range(12):
        path = pictures / "sub" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 40), (number * 20, 90, 200 - number * 10)).save(path, exif=exif)
    run_command("index", pictures)
    for flags in (
        ("--under", pictures / "sub"),
        ("--camera", "eos r5"),
        ("--after", "2023-06", "--before", "2023-07"),
    ):
        found = hits(run_command("search", "a cat", "-k", "10", "--json", *flags))
        assert len(found) == 10, flags
        assert not {"chelsea.png"} & set(found)
    assert (
        run_command("search", "a cat", "--after", "2023-06-16", "--before", "2024").returncode == 1
    )
    by_date = run_command("search", "a cat", "--sort", "date", "-k", "100", "--json")
    dates = [hit["taken_at"] for hit in json.loads(by_date.stdout)["hits"] if hit["taken_at"]]
    assert dates == sorted(dates, reverse=True)
    shown = [(hit["shown_at"], hit["taken_at"]) for hit in json.loads(by_date.stdout)["hits"]]
    assert shown == sorted(shown, key=lambda pair: pair[0], reverse=True)
    of_file = next(date for date, taken in shown if taken is None)
    table = run_command("search", "a cat", "--sort", "date", "-k", "100").stdout
    assert f"  ~{of_file[:10]}  " in table
    assert "weak: what follows" not in table  # a mark among dates says nothing
    assert len(hits(run_command("search", "a cat", "--min-score", "0.99", "--json"))) == 0


def test_arithmetic_adds_and_subtracts_texts_and_pictures(
    run_command: RunCommand, pictures: Path
) -> None:
    run_command("index", pictures)
    coffee = photograph("coffee.png")
    assert hits(run_command("search", "a cat", "--add", f"5:{coffee}", "-k", "1", "--json")) == [
        "coffee.png"
    ]
    with_cat = hits(run_command("search", "a cat", "-k", "9", "--json"))
    without = hits(
        run_command("search", "an animal or a drink", "--subtract", "3:a cat", "-k", "9", "--json")
    )
    assert with_cat.index("chelsea.png") == 0
    assert without.index("chelsea.png") > 4


def test_similar_takes_the_same_arithmetic(run_command: RunCommand, pictures: Path) -> None:
    run_command("index", pictures)
    cat = pictures / "chelsea.png"
    plain = hits(run_command("similar", cat, "-k", "1", "--json"))
    pulled = hits(run_command("similar", cat, "--add", "4:a motorcycle", "-k", "1", "--json"))
    assert plain != pulled == ["motorcycle_left.png"]
    away = run_command("similar", cat, "--subtract", f"2:{pictures / 'coffee.png'}", "--json")
    assert hits(away)[-1] == "coffee.png"
    assert set(json.loads(away.stdout)["took_ms"]) == {
        *("embed", "open", "search", "match", "total")
    }


def test_paths_are_made_for_pipes(run_command: RunCommand, pictures: Path) -> None:
    strange = os.fsencode(pictures) + b"/caf\xe9 \n.png"
    shutil.copy(os.fsencode(photograph("chelsea.png")), strange)
    run_command("index", pictures)
    done = run_command("search", "a cat", "-0", "-k", "2")
    paths = [os.fsencode(path) for path in done.stdout.split("\0")]
    assert sorted(paths[:2]) == sorted([strange, os.fsencode(pictures / "chelsea.png")])
    assert paths[2] == b""
    done = run_command("search", "coffee", "--paths", "-k", "1")
    assert done.stdout == f"{pictures / 'coffee.png'}\n"
    assert done.stderr == ""


def test_a_closed_pipe_ends_quietly(
    run_command: RunCommand, pictures: Path, tmp_path: Path
) -> None:
    run_command("index", pictures)
    command = f"{sys.executable} -m searchengine search cat -k 1000 | head -n 1"
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        text=True,
        env=command_environment(tmp_path),
        check=True,
    )
    assert "chelsea.png" in done.stdout
    assert done.stderr == ""


def test_status_tells_what_is_there_and_what_is_wrong(
    run_command: RunCommand, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "notes.jpg").write_text("not a picture")
    run_command("index", pictures)
    status = json.loads(run_command("status", "--json").stdout)
    assert (status["pictures"], status["skipped"]) == (9, {"not a picture": 1})
    assert status["folders"][0]["path"] == str(pictures)
    assert status["encoders"][0]["index"] == "ready"
    assert status["problems"] == []
    next((tmp_path / "library" / "vectors").iterdir()).write_bytes(b"rotten")
    problems = json.loads(run_command("status", "--json").stdout)["problems"]
    assert "damaged" in problems[0]["what"]
    assert problems[0]["mend"] == "searchengine index"
    run_command("index")
    assert "No problems." in run_command("status").stdout


def test_dry_run_creates_no_library(
    run_command: RunCommand, pictures: Path, tmp_path: Path
) -> None:
    done = run_command("index", "--dry-run", pictures)
    assert done.stdout.startswith("Would be: 9 new")
    assert not (tmp_path / "library").exists()


def test_doctor_finds_a_sound_machine_sound(run_command: RunCommand) -> None:
    done = run_command("doctor", "--json", "--offline")
    report = json.loads(done.stdout)
    assert (done.returncode, report["broken"]) == (0, 0), report
    names = {check["name"] for check in report["checks"]}
    assert {"Python", "packages", "device", "round trip"} <= names


def test_demo_shows_the_right_photograph_first(run_command: RunCommand) -> None:
    done = run_command("demo", "--json")
    answers = json.loads(done.stdout)["answers"]
    firsts = [os.path.basename(answer["hits"][0]["path"]) for answer in answers]
    assert firsts == ["chelsea.png", "coffee.png", "camera.png", "motorcycle_left.png"]


def test_help_and_a_text_search_import_no_torch(
    run_command: RunCommand, pictures: Path, tmp_path: Path
) -> None:
    run_command("index", pictures)
    script = (
        "import sys; sys.argv = ['searchengine', *sys.argv[1:]];"
        "from searchengine.cli import main\n"
        "try: main()\n"
        "finally: print(*{'torch', 'open_clip', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    for arguments, expected in ((["--help"], ""), (["search", "cat"], "numpy")):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            capture_output=True,
            text=True,
            env=command_environment(tmp_path),
            check=True,
        )
        assert done.stderr.strip() == expected
