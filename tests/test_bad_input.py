"""Bad input through the real command line: a clear message, the right exit code, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import (
    FakeLibrary,
    RunCommand,
    command_environment,
    heed_interrupts,
    make_picture,
    stored_pictures,
)
from photographs import copy_photographs, photograph
from PIL import Image

from indexer.pipeline import PipelineOptions, Progress, Target, index_folders


def test_rubbish_in_a_folder_is_skipped_with_reasons_and_the_rest_is_found(
    run_command: RunCommand, tmp_path: Path
) -> None:
    pictures = copy_photographs(tmp_path / "pictures", ("chelsea.png", "rocket.jpg"))
    jpeg = photograph("rocket.jpg").read_bytes()
    (pictures / "empty.jpg").touch()
    (pictures / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (pictures / "text.jpg").write_text("my notes")
    (pictures / "noframe.gif").write_bytes(b"GIF89a\x10\x00\x10\x00\x00\x00\x00;")
    Image.new("1", (30_000, 30_000)).save(pictures / "bomb.png")
    os.mkfifo(pictures / "fifo.png")
    done = run_command("index", pictures, "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert summary["new"] == 2
    skipped = summary["skipped"]
    assert skipped.pop("damaged", 0) + skipped.pop("not a picture", 0) == 2
    assert skipped == {
        "empty file": 1,
        "truncated": 1,
        "too many pixels": 1,
        "not a regular file": 1,
    }
    assert run_command("index", "--strict").returncode == 1
    assert "skipped 1: truncated" in run_command("index").stdout
    assert "chelsea.png" in run_command("search", "a cat", "-k", "1").stdout


def test_a_file_removed_between_scan_and_decode_costs_only_itself(library: FakeLibrary) -> None:
    gone = make_picture(library.root / "gone.png", "blue")
    make_picture(library.root / "stays.png", "red")

    def remove_after_scan(progress: Progress) -> None:
        if progress.phase == "scan":
            gone.unlink(missing_ok=True)

    options = PipelineOptions(batch_size=4, workers=2, max_megapixels=50, keep_days=30)
    target = Target(str(library.root), library.rules)
    summary = index_folders(
        library.store, [target], library.lazy, options, on_progress=remove_after_scan
    )
    assert dict(summary.skipped) == {"vanished before it was read": 1}
    assert library.found() == ["stays.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "   "], 2, "The query is empty"),
        (["search"], 2, "The query is empty"),
        (["search", "cat", "-k", "0"], 2, "x>=1"),
        (["search", "cat", "-k", "-1"], 2, "x>=1"),
        (["search", "cat", "-k", "many"], 2, "not a valid integer"),
        (["search", "cat", "--topk", "3"], 2, "--top-k"),
        (["search", "cat", "--after", "last summer"], 2, "2024-05-31"),
        (["search", "cat", "--before", "2024-13"], 2, "2024-05-31"),
        (["search", "cat", "--sort", "size"], 2, "relevance"),
        (["search", "cat", "--subtract", "cat"], 2, "nothing is left"),
        (["search", "cat", "--encoder", "VIT-B32"], 2, "ViT-B-32"),
        (["search", "cat", "--encoder", "ViT-L-14"], 2, "searchengine index --encoder ViT-L-14"),
        (["similar", "/nowhere/cat.jpg"], 2, "There is no picture /nowhere/cat.jpg"),
        (["similar", "/etc/passwd"], 2, "not a picture"),
        (["index", "/nowhere"], 2, "There is no folder /nowhere"),
        (["index", "/etc/passwd"], 2, "is a file"),
        (["index", "x" * 4000], 2, "There is no folder"),
        (["index", "--batch-size", "0"], 2, "x>=1"),
        (["index", "--encoder", "auto", "--checkpoint", "w.pt"], 2, "--encoder NAME --checkpoint"),
        (["index", "--encoder", "ViT-B-32", "--checkpoint", "w.pt"], 2, "there is no such file"),
        (["index", "--encoder", "ViT-B-32"], 3, "--checkpoint FILE"),
        (["index", "--max-megapixels", "-3"], 2, "--max-megapixels"),
        (["serch", "cat"], 2, "No such command"),
        (["forget", "/nowhere"], 2, "holds nothing below /nowhere"),
    ],
)
def test_a_wrong_word_gets_a_message_that_helps(
    one_library: RunCommand, arguments: list[str], code: int, message: str
) -> None:
    done = one_library(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


@pytest.fixture
def one_library(run_command: RunCommand, tmp_path: Path) -> RunCommand:
    run_command("index", copy_photographs(tmp_path / "pictures", ("chelsea.png",)))
    return run_command


def test_a_search_without_a_library_says_how_to_make_one(
    run_command: RunCommand, tmp_path: Path
) -> None:
    done = run_command("search", "cat")
    assert (done.returncode, done.stdout) == (3, "")
    assert "searchengine index" in done.stderr
    assert not (tmp_path / "library").exists()
    assert run_command("status").returncode == 1
    assert "searchengine index" in run_command("index").stderr


def test_an_empty_folder_makes_an_empty_library(run_command: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    done = run_command("index", tmp_path / "pictures")
    assert (done.returncode, "no pictures" in done.stdout) == (0, True)
    done = run_command("search", "cat", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["hits"] == []
    assert "holds no pictures yet" in done.stderr


def test_a_library_of_a_newer_version_is_left_alone(
    one_library: RunCommand, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "library" / "library.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for command in (["search", "cat"], ["index"], ["status"]):
        done = one_library(*command)
        assert done.returncode == 3
        assert "pip install --upgrade searchengine" in done.stderr


def test_a_damaged_database_is_said_and_nothing_is_overwritten(
    one_library: RunCommand, tmp_path: Path
) -> None:
    path = tmp_path / "library" / "library.sqlite"
    path.write_bytes(b"rotten" * 10_000)
    done = one_library("search", "cat")
    assert done.returncode == 3
    assert "Your pictures are untouched" in done.stderr
    assert path.read_bytes() == b"rotten" * 10_000


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(
    run_command: RunCommand, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    for number in range(300):
        make_picture(pictures / f"{number}.png", f"#{number * 40:06x}")

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))

    done = run_command("index", "--batch-size", "8", pictures, preexec_fn=limit_file_size)
    assert done.returncode == 3, done.stderr
    assert "is full" in done.stderr
    stored = json.loads(run_command("status", "--json").stdout)["pictures"]
    assert 0 < stored < 300
    summary = json.loads(run_command("index", "--json").stdout)
    assert summary["new"] == 300 - stored
    assert json.loads(run_command("status", "--json").stdout)["pictures"] == 300


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_consistent_and_the_next_one_goes_on(
    run_command: RunCommand, tmp_path: Path, sent: signal.Signals
) -> None:
    pictures = tmp_path / "pictures"
    for number in range(200):
        make_picture(pictures / f"{number}.png", f"#{number * 60:06x}")
    library = tmp_path / "library"
    process = subprocess.Popen(
        [sys.executable, "-m", "searchengine", "index", "--batch-size", "4", str(pictures)],
        env=command_environment(tmp_path),
        preexec_fn=heed_interrupts,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and stored_pictures(library) < 8:
        time.sleep(0.02)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "goes on from here" in stderr
    assert "Traceback" not in stderr
    stored = stored_pictures(library)
    assert 8 <= stored < 200
    status = json.loads(run_command("status", "--json").stdout)
    assert (status["pictures"], status["encoders"][0]["index"]) == (stored, "ready")
    assert json.loads(run_command("index", "--json").stdout)["new"] == 200 - stored


def test_a_second_writer_is_refused_and_reading_goes_on(
    one_library: RunCommand, tmp_path: Path
) -> None:
    from indexer.store import Store

    store = Store(tmp_path / "library")
    with store.writer():
        done = one_library("index")
        assert done.returncode == 3
        assert "Another searchengine is indexing" in done.stderr
        assert one_library("search", "cat").returncode == 0
    store.close()
    assert one_library("index").returncode == 0
