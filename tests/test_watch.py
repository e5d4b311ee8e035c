"""Watching: events are gathered until they fall silent, and the command picks changes up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FakeLibrary, command_environment, make_picture, stored_pictures

from indexer.decode import PICTURE_SUFFIXES as SUFFIXES
from indexer.watch import Watcher, is_on_network


def test_a_burst_of_changes_is_told_once_by_its_root(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    with Watcher([str(one), str(other)], SUFFIXES, quiet_s=0.3) as watcher:
        for number in range(5):
            make_picture(one / "sub" / f"{number}.png")
            time.sleep(0.05)
        assert watcher.wait(20) == {str(one)}
        assert watcher.wait(0.5) == set()
        (other / "a.png").write_bytes(b"x")
        assert watcher.wait(20) == {str(other)}


def test_a_library_inside_a_watched_folder_does_not_wake_its_own_watcher(tmp_path: Path) -> None:
    library = FakeLibrary(tmp_path / "library", tmp_path / "pictures")
    make_picture(library.root / "a.png")
    library.index()
    with Watcher([str(tmp_path)], SUFFIXES, quiet_s=0.1) as watcher:
        library.index()
        assert watcher.wait(1) == set()
        make_picture(library.root / "b.png")
        assert watcher.wait(20) == {str(tmp_path)}
    library.store.close()


def test_reading_is_no_change(tmp_path: Path) -> None:
    path = make_picture(tmp_path / "a.png")
    with Watcher([str(tmp_path)], SUFFIXES, quiet_s=0.1) as watcher:
        path.read_bytes()
        list(tmp_path.iterdir())
        assert watcher.wait(0.7) == set()


def test_a_missing_root_is_not_watched_and_no_error(tmp_path: Path) -> None:
    with Watcher([str(tmp_path / "gone")], SUFFIXES) as watcher:
        assert watcher.wait(0.1) == set()


def test_network_drives_are_known_by_their_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    share = tmp_path / "my share"
    share.mkdir()
    point = str(share).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nnas:/photos {point} nfs4 rw 0 0\n")
    assert is_on_network(str(share), mounts=str(mounts))
    assert not is_on_network(str(tmp_path), mounts=str(mounts))
    assert not is_on_network(str(tmp_path), mounts=str(tmp_path / "none"))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child process on Windows")
def test_the_command_picks_up_new_and_vanished_pictures(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    library = tmp_path / "library"
    make_picture(pictures / "a.png")
    make_picture(pictures / "b.png", "blue")
    process = subprocess.Popen(
        [sys.executable, "-m", "searchengine", "watch", str(pictures)],
        env=command_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: stored_pictures(library) == 2)
        time.sleep(2)  # let it begin to listen
        make_picture(pictures / "sub" / "c.png", "green")
        wait_for(lambda: stored_pictures(library) == 3)
        (pictures / "a.png").unlink()
        wait_for(lambda: stored_pictures(library) == 2)
    finally:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert f"Watching {pictures}" in stderr


def wait_for(condition: object, *, seconds: float = 40) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
