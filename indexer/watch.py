"""Hints that a folder has changed: watchdog's events, gathered until they fall silent.

Only hints: inotify overflows without a word and network drives send nothing, so whoever watches
also scans now and then, and a scan alone decides what has changed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from indexer.scan import IGNORE_FILE

NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs afpfs webdav davfs 9p fuse.sshfs fuse.rclone".split()
)


class Watcher:
    """Watches folders while it is a context; `wait` tells which of them have changed."""

    def __init__(
        self,
        roots: Sequence[str],
        suffixes: frozenset[str],
        *,
        quiet_s: float = 2.0,
        longest_s: float = 30.0,
    ) -> None:
        """
        Args:
            suffixes: of the files that matter, lower case with the dot. Without them a library
                inside a watched folder would wake its own watcher for ever.
            quiet_s: events are passed on once none has come for that long: a copy is over.
            longest_s: and at the latest so long after the first of them.
        """
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._changed: set[str] = set()
        self._condition = threading.Condition()
        self._last_event = 0.0
        self._observers: list[BaseObserver] = []
        for root in roots:
            if os.path.isdir(root):
                observer = PollingObserver(timeout=60) if is_on_network(root) else Observer()
                handler = _Handler(self._note, root, suffixes)
                observer.schedule(handler, root, recursive=True)
                self._observers.append(observer)

    def __enter__(self) -> Watcher:
        for observer in self._observers:
            observer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for observer in self._observers:
            observer.stop()
        for observer in self._observers:
            observer.join()

    def wait(self, timeout_s: float) -> set[str]:
        """The roots in which something happened; empty if nothing did within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while not self._changed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return set()
                # in short steps: on Windows a Ctrl-C does not wake a longer wait
                self._condition.wait(min(left, 0.5))
            first = time.monotonic()
            while (quiet := time.monotonic() - self._last_event) < self._quiet_s:
                if time.monotonic() - first > self._longest_s:
                    break
                self._condition.wait(self._quiet_s - quiet)
            changed, self._changed = self._changed, set()
            return changed

    def _note(self, root: str) -> None:
        with self._condition:
            self._changed.add(root)
            self._last_event = time.monotonic()
            self._condition.notify()


class _Handler(FileSystemEventHandler):
    def __init__(self, note: Callable[[str], None], root: str, suffixes: frozenset[str]) -> None:
        self._note = note
        self._root = root
        self._suffixes = suffixes

    def on_any_event(self, event: FileSystemEvent) -> None:
        # reading a picture, as the indexer does, is no change
        if event.event_type in ("opened", "closed_no_write"):
            return
        if event.is_directory:
            # what happens to a file in it has its own event
            matters = event.event_type in ("created", "deleted", "moved")
        else:
            matters = self._matters(event.src_path) or self._matters(event.dest_path)
        if matters:
            self._note(self._root)

    def _matters(self, path: str | bytes) -> bool:
        name = os.path.basename(os.fsdecode(path))
        return name == IGNORE_FILE or os.path.splitext(name)[1].lower() in self._suffixes


def is_on_network(path: str, *, mounts: str = "/proc/self/mounts") -> bool:
    """Whether a folder lies on a network drive, which sends no events. Known on Linux only."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    real = os.path.realpath(path)
    deepest, kind = "", ""
    for _, point, file_system, *_ in lines:
        point = point.replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(deepest):
            deepest, kind = point, file_system
    return kind in NETWORK_FILE_SYSTEMS
