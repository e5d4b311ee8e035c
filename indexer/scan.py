"""First stage of a picture's way: walk a folder and say what one `stat` tells of each file.

The walk decides what belongs to the library (suffixes, hidden names, ignore rules, links); it
opens no picture. `diff_directory` holds what it found against what the store remembers.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitwildmatch import GitWildMatchPattern

from indexer.records import FileState, KnownFile, Skipped

IGNORE_FILE = ".searchignore"

# FAT keeps mtimes to 2 s, so a file written that shortly before its stat may have been
# written again since: git calls such an entry "racily clean" and looks at the content.
RACY_NS = 2_000_000_000
LATEST_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ScanRules:
    """What belongs to the library. `exclude` holds gitignore patterns, relative to the root."""

    suffixes: frozenset[str]  # lower case, with the dot
    exclude: tuple[str, ...] = ()
    include_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder's pictures, and what is named like a picture but is none."""

    directory: str
    files: list[FileState]
    skipped: list[Skipped]


@dataclass(slots=True)
class Scan:
    """A walk over one folder. Iterate it to the end, then read `errors`.

    `base` is the root whose rules hold, where `root` is only a part of it.
    `errors` holds (path, message) of every folder or entry that could not be read: with any of
    them, what was not seen may still be there, so nothing may be taken for deleted.
    """

    root: str
    rules: ScanRules
    other_roots: Sequence[str] = ()
    base: str = ""
    errors: list[tuple[str, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Listing]:
        real_roots = tuple(os.path.realpath(root) for root in (self.root, *self.other_roots))
        visited: set[tuple[int, int]] = set()
        rules = self._rules_at_root()
        pending: list[tuple[str, _IgnoreRules]] = [(self.root, rules)]
        while pending:
            directory, rules = pending.pop()
            try:
                info = os.stat(directory)
                # a link may lead to a folder that was walked before, or to a parent of itself
                if (info.st_dev, info.st_ino) in visited:
                    continue
                visited.add((info.st_dev, info.st_ino))
                with os.scandir(directory) as iterator:
                    entries = sorted(iterator, key=lambda entry: entry.name)
            except OSError as error:
                self.errors.append((directory, error.strerror or str(error)))
                continue
            try:
                if any(entry.name == IGNORE_FILE for entry in entries):
                    rules = rules.deeper(directory)
            except (OSError, ValueError) as error:  # unreadable, or a pattern that is none
                self.errors.append((os.path.join(directory, IGNORE_FILE), str(error)))
            listing = Listing(directory, [], [])
            folders: list[tuple[str, _IgnoreRules]] = []
            for entry in entries:
                if self._is_hidden(entry):
                    continue
                try:
                    if entry.is_symlink() and self._is_found_anyway(entry.path, real_roots):
                        continue
                    if entry.is_dir():
                        if not rules.ignores(entry.path, is_folder=True):
                            folders.append((entry.path, rules))
                    elif self._has_picture_suffix(entry.name) and not rules.ignores(entry.path):
                        self._take(entry, listing)
                except OSError as error:
                    if error.errno == errno.ELOOP:  # links that lead to each other hide nothing
                        listing.skipped.append(
                            Skipped(entry.path, "broken link", is_permanent=False)
                        )
                    else:
                        self.errors.append((entry.path, error.strerror or str(error)))
            yield listing
            pending.extend(reversed(folders))

    def _rules_at_root(self) -> _IgnoreRules:
        base = self.base or self.root
        rules = _IgnoreRules(base, self.rules)
        parts = Path(self.root).relative_to(base).parts
        for depth in range(len(parts)):  # what lies above the part that is scanned
            folder = os.path.join(base, *parts[:depth])
            if os.path.lexists(os.path.join(folder, IGNORE_FILE)):
                try:
                    rules = rules.deeper(folder)
                except (OSError, ValueError) as error:
                    self.errors.append((os.path.join(folder, IGNORE_FILE), str(error)))
        return rules

    def _take(self, entry: os.DirEntry[str], listing: Listing) -> None:
        try:
            info = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                listing.skipped.append(Skipped(entry.path, "broken link", is_permanent=False))
            return  # gone since the folder was read: the same as never seen
        if not stat.S_ISREG(info.st_mode):
            # a FIFO or device named .png would block whoever opens it
            listing.skipped.append(Skipped(entry.path, "not a regular file", is_permanent=False))
            return
        # SQLite's integers end in the year 2262; a camera's broken clock does not
        mtime_ns = min(max(info.st_mtime_ns, -LATEST_NS), LATEST_NS)
        listing.files.append(FileState(entry.path, info.st_size, mtime_ns, time.time_ns()))

    def _is_found_anyway(self, link: str, real_roots: Sequence[str]) -> bool:
        """Whether what a link leads to lies below a root, where it has a name of its own."""
        target = os.path.realpath(link)
        for root in real_roots:
            if is_under(target, root):
                inside = os.path.relpath(target, root).split(os.sep)
                # git-annex and its like keep the files themselves in hidden folders
                return self.rules.include_hidden or not any(
                    part.startswith(".") and part != "." for part in inside
                )
        return False

    def _is_hidden(self, entry: os.DirEntry[str]) -> bool:
        return entry.name.startswith(".") and not self.rules.include_hidden

    def _has_picture_suffix(self, name: str) -> bool:
        return os.path.splitext(name)[1].lower() in self.rules.suffixes


class _IgnoreRules:
    """Gitignore rules in force in one folder: --exclude, and each .searchignore on the way."""

    def __init__(self, root: str, rules: ScanRules) -> None:
        self._specs: tuple[tuple[str, GitIgnoreSpec], ...] = ()
        if rules.exclude:
            self._specs = ((root, compile_patterns(rules.exclude)),)

    def deeper(self, directory: str) -> _IgnoreRules:
        """The same rules and those of this folder's own file. Raises OSError, ValueError."""
        text = (Path(directory) / IGNORE_FILE).read_text(encoding="utf-8", errors="replace")
        deeper = object.__new__(_IgnoreRules)
        deeper._specs = (*self._specs, (directory, compile_patterns(text.splitlines())))
        return deeper

    def ignores(self, path: str, *, is_folder: bool = False) -> bool:
        verdict = False
        for base, spec in self._specs:  # the deepest file that says anything decides
            relative = os.path.relpath(path, base) + ("/" if is_folder else "")
            include = spec.check_file(relative.encode("utf-8", "replace").decode()).include
            if include is not None:
                verdict = include
        return verdict


def why_left_out(path: str, base: str, rules: ScanRules) -> str | None:
    """Why a walk over `base` does not take the file at `path` below it; None where it does.

    Raises OSError, ValueError for an ignore file that can't be read.
    """
    ignored = _IgnoreRules(base, rules)
    here = base
    parts = Path(path).relative_to(base).parts
    for depth, part in enumerate(parts, start=1):
        if os.path.lexists(os.path.join(here, IGNORE_FILE)):
            ignored = ignored.deeper(here)
        here = os.path.join(here, part)
        if part.startswith(".") and not rules.include_hidden:
            return f"{here} is hidden"
        if ignored.ignores(here, is_folder=depth < len(parts)):
            return f"a pattern of --exclude, of the settings or of {IGNORE_FILE} matches {here}"
    if os.path.splitext(path)[1].lower() not in rules.suffixes:
        return "its suffix is none of a picture's"
    return None


def compile_patterns(patterns: Sequence[str]) -> GitIgnoreSpec:
    """Gitignore patterns, ready to match. Raises ValueError, which names the one that is none."""
    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except (ValueError, re.error) as error:
            raise ValueError(f"{pattern!r} is no gitignore pattern ({error})") from error
    return GitIgnoreSpec.from_lines(patterns)


def folder_pattern(folder: str, root: str) -> str:
    """The gitignore pattern that leaves out one folder below `root`; both absolute."""
    return f"/{_escaped(os.path.relpath(folder, root))}/"


def _escaped(way: str) -> str:
    """A way down from a folder as a part of a pattern: `[`, `*` and `?` in it are themselves."""
    escaped: str = GitWildMatchPattern.escape(way.replace(os.sep, "/"))
    return escaped


def anchored(pattern: str, folder: str) -> str:
    """The pattern of a folder, said of one above it; `folder` is the way down to it."""
    negation = "!" if pattern.startswith("!") else ""
    body = pattern.removeprefix("!")
    # a slash before the last character ties a gitignore pattern to its folder
    between = "/" if "/" in body.rstrip("/") else "/**/"
    return f"{negation}/{_escaped(folder)}{between}{body.lstrip('/')}"


def is_under(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies below it; both absolute and normalised."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def is_unchanged(file: FileState, known: KnownFile) -> bool:
    """Whether one `stat` is enough to know that the content is the one last read."""
    return (
        file.size_bytes == known.size_bytes
        and file.mtime_ns == known.mtime_ns
        and known.seen_at_ns - known.mtime_ns > RACY_NS
    )


@dataclass(slots=True)
class DirectoryDiff:
    """What one folder asks of the pipeline."""

    to_read: list[tuple[FileState, KnownFile | None]] = field(default_factory=list)
    unchanged: int = 0
    still_skipped: list[Skipped] = field(default_factory=list)
    vanished: list[KnownFile] = field(default_factory=list)


def diff_directory(
    listing: Listing, known: Mapping[str, KnownFile], *, retry_skipped: bool
) -> DirectoryDiff:
    """Holds a listing against what the store remembers of that folder, by file name."""
    diff = DirectoryDiff()
    seen = {os.path.basename(skipped.path) for skipped in listing.skipped}
    for file in listing.files:
        name = os.path.basename(file.path)
        seen.add(name)
        before = known.get(name)
        if before is None or not is_unchanged(file, before):
            diff.to_read.append((file, before))
        elif before.skip_reason is not None and not retry_skipped:
            reason, _, detail = before.skip_reason.partition(": ")
            diff.still_skipped.append(Skipped(file.path, reason, detail))
        elif before.is_embedded:
            diff.unchanged += 1
        else:
            diff.to_read.append((file, before))
    diff.vanished = [before for name, before in known.items() if name not in seen]
    return diff
