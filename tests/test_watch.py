"""Watching: events are gathered until they fall silent, and the command picks changes up."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    FakeLibrary,
    command_environment,
    heed_interrupts,
    make_picture,
    stored_pictures,
)
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

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


class Exhausted(PollingObserver):
    """As where every watch that Linux allows is taken."""

    def start(self) -> None:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")


class AlmostExhausted(PollingObserver):
    """As where the root got the last watch, and what lies below it none."""

    def schedule(
        self, event_handler: FileSystemEventHandler, path: str | Path, **options: Any
    ) -> ObservedWatch:
        if self.is_alive():
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return super().schedule(event_handler, path, **options)


def out_of_instances() -> BaseObserver:
    raise OSError(errno.EMFILE, "inotify instance limit reached")


@pytest.mark.parametrize(
    "make_observer",
    [
        Exhausted,
        pytest.param(
            AlmostExhausted,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the limit"),
        ),
    ],
)
def test_a_tree_beyond_the_systems_watches_is_polled_and_that_is_told_once(
    tmp_path: Path, make_observer: type[BaseObserver]
) -> None:
    made: list[BaseObserver] = []

    def remembered() -> BaseObserver:
        made.append(make_observer())
        return made[-1]

    root = str(tmp_path)
    with Watcher(
        [root], SUFFIXES, quiet_s=0.1, poll_every_s=0.1, make_observer=remembered
    ) as watcher:
        assert watcher.problems == [
            f"{root} sends no events (inotify watch limit reached): it is read every 0.1 s "
            "instead. Run: sudo sysctl fs.inotify.max_user_watches=1048576"
        ]
        assert [observer.is_alive() for observer in made] == [False]
        (tmp_path / "a.png").write_bytes(b"x")
        assert watcher.wait(20) == {root}


def test_without_another_inotify_instance_folders_are_polled(tmp_path: Path) -> None:
    root = str(tmp_path)
    with Watcher(
        [root], SUFFIXES, quiet_s=0.1, poll_every_s=0.1, make_observer=out_of_instances
    ) as watcher:
        assert watcher.problems == [
            f"{root} sends no events (inotify instance limit reached): it is read every 0.1 s "
            "instead. Run: sudo sysctl fs.inotify.max_user_instances=1024"
        ]
        (tmp_path / "a.png").write_bytes(b"x")
        assert watcher.wait(20) == {root}


def test_one_root_without_events_takes_them_from_no_other(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    observers = iter([Exhausted(), Observer()])
    with Watcher(
        [str(one), str(other)], SUFFIXES, quiet_s=0.1, make_observer=lambda: next(observers)
    ) as watcher:
        assert [problem.split(" sends")[0] for problem in watcher.problems] == [str(one)]
        (other / "a.png").write_bytes(b"x")
        assert watcher.wait(20) == {str(other)}


def test_a_root_that_appears_is_told_and_watched(tmp_path: Path) -> None:
    root = tmp_path / "drive"
    with Watcher([str(root)], SUFFIXES, quiet_s=0.1, look_every_s=0.1) as watcher:
        assert watcher.wait(0.3) == set()
        root.mkdir()
        assert watcher.wait(20) == {str(root)}
        assert watcher.wait(0.5) == set()
        (root / "a.png").write_bytes(b"x")
        assert watcher.wait(20) == {str(root)}
        assert watcher.problems == []


def test_a_root_removed_and_made_again_is_told_and_watched(tmp_path: Path) -> None:
    root = tmp_path / "drive"
    root.mkdir()
    with Watcher([str(root)], SUFFIXES, quiet_s=0.1, look_every_s=0.5) as watcher:
        root.rmdir()
        root.mkdir()  # often with the inode it had
        make_picture(root / "unseen.png")
        while watcher.wait(1):
            pass
        (root / "a.png").write_bytes(b"x")
        assert watcher.wait(20) == {str(root)}


def test_a_root_replaced_by_another_folder_is_told_and_watched(tmp_path: Path) -> None:
    root, other = tmp_path / "drive", tmp_path / "other"
    root.mkdir()
    make_picture(other / "b.png")
    with Watcher([str(root)], SUFFIXES, quiet_s=0.1, look_every_s=0.1) as watcher:
        root.rename(tmp_path / "away")
        other.rename(root)
        assert watcher.wait(20) == {str(root)}
        while watcher.wait(0.5):
            pass
        (tmp_path / "away" / "old.png").write_bytes(b"x")
        assert watcher.wait(0.5) == set()
        (root / "a.png").write_bytes(b"x")
        assert watcher.wait(20) == {str(root)}


def test_a_vanished_root_is_waited_for_at_rest(tmp_path: Path) -> None:
    root = tmp_path / "drive"
    root.mkdir()
    with Watcher([str(root)], SUFFIXES, quiet_s=0.1, look_every_s=0.1) as watcher:
        root.rmdir()
        while watcher.wait(0.5):
            pass
        started, worked_s = time.monotonic(), time.process_time()
        assert watcher.wait(1) == set()
        assert time.monotonic() - started >= 1
        assert time.process_time() - worked_s < 0.5
        assert watcher.problems == []


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
    empty = tmp_path / "empty"
    empty.mkdir()
    library = tmp_path / "library"
    make_picture(pictures / "a.png")
    make_picture(pictures / "b.png", "blue")
    process = subprocess.Popen(
        [sys.executable, "-m", "searchengine", "watch", "--json", str(pictures), str(empty)],
        env=command_environment(tmp_path),
        preexec_fn=heed_interrupts,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: stored_pictures(library) == 2)
        time.sleep(2)  # let it begin to listen
        make_picture(pictures / "sub" / "c.png", "green")
        wait_for(lambda: stored_pictures(library) == 3)
        empty.rmdir()  # no reason to end
        (pictures / "a.png").unlink()
        wait_for(lambda: stored_pictures(library) == 2)
    finally:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert f"Watching {empty}, {pictures}." in stderr
    runs = [json.loads(line) for line in stdout.splitlines()]  # and none without news
    # the signal may come between the last run's commit and its line
    assert [(run["new"], run["unchanged"]) for run in runs[:2]] == [(2, 0), (1, 2)]


def wait_for(condition: object, *, seconds: float = 40) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
