"""Hints that a folder has changed: watchdog's events, gathered until they fall silent.

Only hints: inotify overflows without a word and network drives send nothing, so whoever watches
also scans now and then, and a scan alone decides what has changed.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
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


# what lifts the limits of Linux that a large tree runs into
MENDS = {
    errno.ENOSPC: "sudo sysctl fs.inotify.max_user_watches=1048576",
    errno.EMFILE: "sudo sysctl fs.inotify.max_user_instances=1024",
}


class Watcher:
    """Watches folders while it is a context; `wait` tells which of them have changed.

    `problems` holds a line for each root that cannot send events; it may grow in `wait`.
    """

    def __init__(
        self,
        roots: Sequence[str],
        suffixes: frozenset[str],
        *,
        quiet_s: float = 2.0,
        longest_s: float = 30.0,
        look_every_s: float = 30.0,
        poll_every_s: float = 60.0,
        make_observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        """
        Args:
            suffixes: of the files that matter, lower case with the dot. Without them a library
                inside a watched folder would wake its own watcher for ever.
            quiet_s: events are passed on once none has come for that long: a copy is over.
            longest_s: and at the latest so long after the first of them.
            look_every_s: how often `wait` looks whether a root has come, gone or been replaced.
            poll_every_s: how often a root that sends no events is read.
            make_observer: of the system's events.
        """
        self.problems: list[str] = []
        self._roots = roots
        self._suffixes = suffixes
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._look_every_s = look_every_s
        self._poll_every_s = poll_every_s
        self._make_observer = make_observer
        self._look_at = 0.0
        self._changed: set[str] = set()
        self._condition = threading.Condition()
        self._last_event = 0.0
        self._observers: dict[str, BaseObserver] = {}
        self._identities: dict[str, tuple[int, int] | None] = {}

    def __enter__(self) -> Watcher:
        for root in self._roots:
            self._listen(root)
        self._look_at = time.monotonic() + self._look_every_s
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for observer in self._observers.values():
            _stop(observer)

    def wait(self, timeout_s: float) -> set[str]:
        """The roots in which something happened; empty if nothing did within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            if time.monotonic() >= self._look_at:
                # without the lock: it waits for threads that may want to note something
                self._look()
                self._look_at = time.monotonic() + self._look_every_s
            with self._condition:
                if self._changed:
                    return self._gathered()
                now = time.monotonic()
                if now >= deadline:
                    return set()
                # in short steps: on Windows a Ctrl-C does not wake a longer wait
                self._condition.wait(max(0.0, min(deadline - now, self._look_at - now, 0.5)))

    def _gathered(self) -> set[str]:
        """What has changed, once the events have fallen silent. The lock is held."""
        first = time.monotonic()
        while (quiet := time.monotonic() - self._last_event) < self._quiet_s:
            if time.monotonic() - first > self._longest_s:
                break
            self._condition.wait(self._quiet_s - quiet)
        changed, self._changed = self._changed, set()
        return changed

    def _look(self) -> None:
        """Listens anew to each root that appeared, was replaced, or whose observer has died."""
        for root in self._roots:
            observer = self._observers.get(root)
            # a folder removed and made again may get its old inode, but its emitter has ended
            deaf = observer and not all(emitter.is_alive() for emitter in observer.emitters)
            found = _identity(root)
            if found == self._identities[root] and not deaf:
                continue
            if observer:
                _stop(self._observers.pop(root))
            self._listen(root)
            if found:
                self._note(root)

    def _listen(self, root: str) -> None:
        """Starts an observer of this root if it is there: of its events, else one that polls."""
        # before listening: if it is replaced in between, the next look sees that
        self._identities[root] = _identity(root)
        if self._identities[root] is None:
            return
        ways: list[Callable[[], BaseObserver]] = [self._polling]
        if not is_on_network(root):
            ways.insert(0, self._make_observer)
        for make in ways:
            try:
                self._observers[root] = self._started(root, make)
                return
            except OSError as error:
                if _identity(root) is not None:  # gone since: no problem, and the next look sees it
                    self._tell(root, error, is_polled=make == self._polling)

    def _started(self, root: str, make: Callable[[], BaseObserver]) -> BaseObserver:
        observer = make()
        try:
            observer.schedule(_Handler(self._note, root, self._suffixes), root, recursive=True)
            observer.start()
            if sys.platform == "linux" and make != self._polling:
                # watchdog 7 leaves out folders beyond the system's limit without a word; a watch
                # more shows whether it is reached. The parent, because no root lies above another
                parent = observer.schedule(FileSystemEventHandler(), os.path.dirname(root))
                observer.unschedule(parent)
        except OSError:
            _stop(observer)
            raise
        return observer

    def _polling(self) -> BaseObserver:
        return PollingObserver(timeout=self._poll_every_s)

    def _tell(self, root: str, error: OSError, *, is_polled: bool) -> None:
        reason = error.strerror or str(error)
        if is_polled:
            line = f"{root} cannot be watched ({reason}): only the regular scans will see changes."
        else:
            line = (
                f"{root} sends no events ({reason}): it is read every {self._poll_every_s:g} s "
                "instead."
            )
            if error.errno in MENDS:
                line += f" Run: {MENDS[error.errno]}"
        if line not in self.problems:
            self.problems.append(line)

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


def _identity(root: str) -> tuple[int, int] | None:
    """Device and inode of a folder; None while it is not there."""
    try:
        info = os.stat(root)
    except OSError:
        return None
    return (info.st_dev, info.st_ino) if stat.S_ISDIR(info.st_mode) else None


def _stop(observer: BaseObserver) -> None:
    try:
        observer.stop()
    except OSError:
        return  # its drive is gone, and its watches with it; the thread ends with the process
    if observer.is_alive():
        observer.join()


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
