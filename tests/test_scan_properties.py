"""Any order of adding, editing, renaming, moving and deleting ends like a fresh index."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from conftest import FakeLibrary, make_picture
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

FOLDERS = ("", "x", "y", "x/z")
NAMES = ("a.png", "b.png", "c.png")
COLOURS = ("red", "green", "blue", "white", "rubbish")


class LibraryMachine(RuleBasedStateMachine):
    """Changes a folder at random, indexes now and then, and compares with a fresh library."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Path(tempfile.mkdtemp(prefix="searchengine-"))
        self.library = FakeLibrary(self.work / "library", self.work / "pictures")
        self.root = self.library.root
        self.is_current = False

    def teardown(self) -> None:
        self.library.store.close()
        shutil.rmtree(self.work)

    @initialize()
    def anchor(self) -> None:
        # a root that loses its last picture is taken for an unmounted drive: see test_library_state
        make_picture(self.root / "anchor.png", "yellow")

    def files(self) -> list[Path]:
        return sorted(p for p in self.root.rglob("*.png") if p.name != "anchor.png")

    @rule(
        folder=st.sampled_from(FOLDERS),
        name=st.sampled_from(NAMES),
        colour=st.sampled_from(COLOURS),
        side=st.sampled_from((8, 9)),
    )
    def add_or_edit(self, folder: str, name: str, colour: str, side: int) -> None:
        path = self.root / folder / name
        if colour == "rubbish":
            if path.exists():
                return  # a file that breaks keeps its place: see test_library_state
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"rubbish" * side)
        else:
            make_picture(path, colour, (side, side))
            os.utime(path)  # within the clock's tick of the scan
        self.is_current = False

    @rule(data=st.data(), folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, folder: str, name: str) -> None:
        if files := self.files():
            source = data.draw(st.sampled_from(files))
            target = self.root / folder / name
            if target.exists() and not _is_picture(source):
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            self.is_current = False

    @rule(folder=st.sampled_from(FOLDERS[1:]), new_name=st.sampled_from(("x", "y", "w")))
    def move_folder(self, folder: str, new_name: str) -> None:
        if (self.root / folder).is_dir() and not (self.root / new_name).exists():
            (self.root / folder).rename(self.root / new_name)
            self.is_current = False

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if files := self.files():
            data.draw(st.sampled_from(files)).unlink()
            self.is_current = False

    @rule()
    def index(self) -> None:
        before = set(self.library.found())
        summary = self.library.index()
        after = set(self.library.found())
        assert len(after) - len(before) == summary.new - summary.removed
        self.is_current = True

    @invariant()
    def equals_a_fresh_index(self) -> None:
        if not self.is_current:
            return
        fresh = FakeLibrary(Path(tempfile.mkdtemp(dir=self.work)) / "library", self.root)
        fresh.index()
        for colour in ("red", "green", "blue"):
            assert self.library.scores(colour) == fresh.scores(colour)
        fresh.store.close()


def _is_picture(path: Path) -> bool:
    return not path.read_bytes().startswith(b"rubbish")


TestLibraryMachine = LibraryMachine.TestCase
TestLibraryMachine.settings = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes of disk
    suppress_health_check=list(HealthCheck),
)
