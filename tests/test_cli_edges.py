"""The edges of the command line: outputs that end early, words that are nearly right, odd parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunCommand, command_environment, make_picture
from photographs import copy_photographs

from indexer.errors import UsageError
from indexer.pipeline import Progress
from searchengine.commands.progress import _Rate
from searchengine.query import Term, parse

COMMAND = f"{sys.executable} -m searchengine"


def shell(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs it in bash, for PIPESTATUS."""
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env=command_environment(directory),
        timeout=100,
    )


def unread_pipe() -> int:
    """The writing end of a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    return write


def run_with(directory: Path, *arguments: str, stdout: int, stderr: int) -> tuple[int, str, str]:
    """Exit code, stdout and stderr (where they are pipes to us)."""
    done = subprocess.run(
        [sys.executable, "-m", "searchengine", *arguments],
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=command_environment(directory),
        timeout=100,
    )
    return done.returncode, done.stdout or "", done.stderr or ""


@pytest.fixture
def indexed(run_command: RunCommand, tmp_path: Path) -> Path:
    run_command("index", copy_photographs(tmp_path / "pictures", ("chelsea.png", "coffee.png")))
    return tmp_path


# -- outputs that end early


def test_a_reader_that_has_seen_enough_is_no_failure(indexed: Path) -> None:
    for arguments in (["search", "cat"], ["search", "cat", "--paths"], ["--help"]):
        pipe = unread_pipe()
        ended = run_with(indexed, *arguments, stdout=pipe, stderr=subprocess.PIPE)
        os.close(pipe)
        assert ended == (0, "", ""), arguments
    done = shell(f"{COMMAND} search cat | head -n 1; echo ${{PIPESTATUS[0]}}", indexed)
    first, code = done.stdout.splitlines()
    assert ("chelsea.png" in first, code, done.stderr) == (True, "0", "")


def test_a_full_or_closed_output_is_said_in_one_line(indexed: Path) -> None:
    for script, reason in (
        (f"{COMMAND} search cat >/dev/full", "No space left on device"),
        (f"{COMMAND} search cat --paths >/dev/full", "No space left on device"),
        (f"{COMMAND} search cat >&-", "Bad file descriptor"),
    ):
        done = shell(script, indexed)
        assert done.returncode == 3
        assert done.stderr == f"searchengine: The output could not be written: {reason}.\n"


def test_results_are_printed_where_stderr_is_closed_or_full(indexed: Path) -> None:
    for end in ("2>&-", "2>/dev/full"):
        done = shell(f"{COMMAND} search cat -k 1 --paths {end}", indexed)
        assert (done.returncode, done.stdout) == (0, f"{indexed}/pictures/chelsea.png\n")
        nothing = shell(f"{COMMAND} search cat --min-score 0.999 {end}", indexed)
        assert (nothing.returncode, nothing.stdout) == (1, "")


def test_an_index_run_survives_the_reader_of_its_progress(
    run_command: RunCommand, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    for number in range(6):
        make_picture(pictures / f"{number}.png", f"#{number * 40:06x}")
    (pictures / "bad.png").write_text("no picture")
    pipe = unread_pipe()
    code, _, _ = run_with(tmp_path, "index", str(pictures), stdout=pipe, stderr=pipe)
    os.close(pipe)
    assert code == 0
    status = json.loads(run_command("status", "--json").stdout)
    assert (status["pictures"], status["problems"]) == (6, [])


# -- words that are nearly right


def test_a_misspelt_command_is_answered_with_the_nearest(run_command: RunCommand) -> None:
    done = run_command("serch", "cat")
    assert done.returncode == 2
    assert "No such command 'serch'. Did you mean search?" in done.stderr
    assert "Did you mean" not in run_command("zzzzz").stderr


@pytest.mark.parametrize("end", ["nowhere/typo.jpg", "typo.JPG", "~nouser/x", "my typo/a b.png"])
def test_what_can_only_be_a_path_is_refused_where_no_file_lies(tmp_path: Path, end: str) -> None:
    path = end if end.startswith(("~", "typo")) else str(tmp_path / end)
    with pytest.raises(UsageError, match="There is no picture") as refused:
        parse("dog", add=[path])
    assert path in str(refused.value)
    with pytest.raises(UsageError, match="There is no picture"):
        parse("dog", subtract=[f"2:{path}"])


def test_a_sentence_may_hold_dots_slashes_and_words_that_are_files(tmp_path: Path) -> None:
    (tmp_path / "cat").touch()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert parse("", add=["cat"]).terms == (Term("cat"),)
        assert parse("", add=["./cat"]).terms == (Term(Path("cat")),)
    finally:
        os.chdir(before)
    for sentence in ("a black/white photo", "a dog. on a beach", "Dr. No", "v1.5", "..."):
        assert parse("", add=[sentence]).terms == (Term(sentence),)


def test_a_path_keeps_its_spaces_and_bytes_and_a_sentence_loses_them(tmp_path: Path) -> None:
    spaced = make_picture(tmp_path / "two  spaces" / "a  b.png")
    strange = make_picture(tmp_path / os.fsdecode(b"caf\xe9.png"))
    add = [str(spaced), f"3:{strange}", "two  words"]
    assert parse(" a  caf\udce9 ", add=add).terms == (
        Term("a caf\N{REPLACEMENT CHARACTER}"),
        Term(spaced),
        Term(strange, 3.0),
        Term("two words"),
    )
    assert parse("dog", subtract=["2:b\udcff"]).terms[1] == Term("b\N{REPLACEMENT CHARACTER}", -2.0)


@pytest.mark.parametrize("weight", ["9" * 400, "1e400", "1e300", "0", "0.0", "-2", "1e-400"])
def test_a_weight_that_cannot_be_used_is_refused(weight: str) -> None:
    with pytest.raises(UsageError, match=r"The weight of 'dog' is .*must be above 0"):
        parse("cat", add=[f"{weight}:dog"])


def test_a_query_that_is_not_utf8_is_answered(run_command: RunCommand, indexed: Path) -> None:
    done = run_command(
        "search", os.fsdecode(b"a cat \xff"), "--add", os.fsdecode(b"\xe9"), "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["query"] == "a cat \N{REPLACEMENT CHARACTER}"


# -- what is easily meant otherwise


def test_exclusions_without_a_folder_are_for_all_folders(
    indexed: Path, run_command: RunCommand
) -> None:
    assert "1 removed" in run_command("index", "--dry-run", "--exclude", "cof*").stdout
    assert "1 removed" in run_command("index", "--exclude", "cof*").stdout
    assert "1 unchanged" in run_command("index").stdout


def test_a_forgotten_part_of_a_folder_comes_back_unless_it_is_excluded(
    run_command: RunCommand, tmp_path: Path
) -> None:
    pictures = copy_photographs(tmp_path / "pictures", ("chelsea.png",))
    part = copy_photographs(pictures / "of mine [2]", ("coffee.png",))
    (part / "notes.jpg").write_text("not a picture")
    run_command("index", pictures)
    done = run_command("forget", part)
    assert done.stdout == "1 pictures forgotten.\n"  # what was skipped is no picture
    command = done.stderr.split("searchengine ")[1]
    ended = shell(f"{COMMAND} {command}", tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "1 unchanged")
    assert "lies in" not in run_command("forget", pictures).stderr


def test_an_answer_without_hits_says_why(indexed: Path, run_command: RunCommand) -> None:
    done = run_command("search", "cat", "--under", "/nowhere")
    assert (done.returncode, "No picture passes the filters" in done.stderr) == (1, True)
    run_command("forget", indexed / "pictures")
    assert "holds no picture" in run_command("search", "cat").stderr


def test_words_that_name_a_file_are_told_of_similar(indexed: Path, run_command: RunCommand) -> None:
    picture = indexed / "pictures" / "chelsea.png"
    assert f"searchengine similar {picture}" in run_command("search", picture).stderr
    assert "name a file" not in run_command("search", "a cat").stderr


def test_a_library_that_cannot_be_looked_into_is_said_in_one_line(
    run_command: RunCommand, tmp_path: Path
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for command in (["search", "cat"], ["status"], ["index"], ["models"]):
        done = run_command(*command, "--library", loop)
        assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), command
        assert "cannot be read" in done.stderr
    assert "cannot be read" in run_command("doctor", "--library", loop).stdout


def test_an_explanation_says_that_nothing_was_checked(
    indexed: Path, run_command: RunCommand
) -> None:
    assert "no condition was checked" in run_command("search", "a cat", "--explain").stdout
    assert "no condition was checked" not in run_command("search", "a cat").stdout


# -- the demo's own library, and the clock of the progress


def test_a_kept_demo_library_holds_its_pictures_and_is_not_overwritten(
    run_command: RunCommand, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    done = run_command("demo", "--library", kept, "--json")
    paths = [hit["path"] for answer in json.loads(done.stdout)["answers"] for hit in answer["hits"]]
    assert {os.path.dirname(path) for path in paths} == {str(kept / "pictures")}
    assert all(map(os.path.isfile, paths))
    again = run_command("demo", "--library", kept)
    assert (again.returncode, again.stdout) == (2, "")
    assert f"{kept} holds a library already" in again.stderr


def test_the_demo_leaves_a_folder_of_pictures_alone(
    run_command: RunCommand, tmp_path: Path
) -> None:
    own = make_picture(tmp_path / "home" / "pictures" / "mine.png")
    done = run_command("demo", "--library", tmp_path / "home")
    assert (done.returncode, "holds files already" in done.stderr) == (2, True)
    assert list(own.parent.iterdir()) == [own]


def test_the_demo_takes_no_file_for_a_folder(run_command: RunCommand, tmp_path: Path) -> None:
    file = make_picture(tmp_path / "mine.png")
    done = run_command("demo", "--library", file)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "cannot be read" in done.stderr


def test_the_rate_counts_from_a_clock_that_starts_at_zero() -> None:
    times = iter([0.0, 0.0, 10.0])
    rate = _Rate(lambda: next(times))
    assert rate(Progress("embed", 0, 100)) == "..."
    assert rate(Progress("embed", 50, 100)) == "5.0 pictures/s"
