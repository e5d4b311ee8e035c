"""Checks of the machine, one small function each; `searchengine doctor` prints what they say."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from indexer import encoders
from indexer.catalogue import is_cached, load_catalogue, recommended_entry
from indexer.errors import SearchEngineError
from indexer.settings import Settings, available_cores, user_file
from searchengine import detectors
from searchengine.app import Library, open_library

ENOUGH_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found; `mend` says what to do where it is not fine."""

    name: str
    state: Literal["fine", "note", "broken"]
    detail: str
    mend: str = ""


def run_checks(settings: Settings, *, offline: bool = False) -> Iterator[Check]:
    """Yields each check as it ends; none raises."""
    yield _python()
    yield _packages()
    yield _device()
    yield Check(
        "settings", "fine", f"{user_file()}{'' if user_file().exists() else ' (not there)'}"
    )
    for name, folder in (("library", settings.library), ("cache", settings.cache_dir)):
        yield _writable(name, folder)
        yield _space(name, folder)
    yield _database(settings)
    if not offline:
        yield _hub()
    yield from _encoders(settings)
    yield from _detectors(settings)
    yield _guarded("round trip", _round_trip)


def _python() -> Check:
    return Check("Python", "fine", f"{platform.python_version()} on {platform.platform()}")


def _packages() -> Check:
    needed = [
        re.split(r"[^A-Za-z0-9_.-]", line)[0]
        for line in importlib.metadata.requires("searchengine") or ()
        if "extra ==" not in line
    ]
    missing = []
    for name in needed:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        mend = f"pip install {' '.join(missing)}"
        return Check("packages", "broken", f"missing: {', '.join(missing)}", mend)
    return Check("packages", "fine", f"all {len(needed)} are there")


def _device() -> Check:
    cores = f"{available_cores()} CPU cores"
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check(
            "device",
            "broken",
            f"torch does not load: {error}",
            "pip install --force-reinstall torch",
        )
    if torch.cuda.is_available():
        return Check("device", "fine", f"{torch.cuda.get_device_name()}, {cores}")
    if torch.backends.mps.is_available():
        return Check("device", "fine", f"Apple GPU, {cores}")
    return Check("device", "fine", f"{cores}, no GPU")


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _writable(name: str, folder: Path) -> Check:
    variable = "LIBRARY" if name == "library" else "CACHE_DIR"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            f"{name} folder",
            "broken",
            f"{folder} cannot be written: {error.strerror}",
            f"Mend its permissions, or name another folder in SEARCHENGINE_{variable}.",
        )
    return Check(f"{name} folder", "fine", str(folder))


def _space(name: str, folder: Path) -> Check:
    free = shutil.disk_usage(_existing(folder)).free
    detail = f"{free / 1e9:,.1f} GB free"
    if free < ENOUGH_BYTES:
        return Check(
            f"{name} space",
            "broken",
            detail,
            "Make room: a library needs about 2 KB a picture, an encoder up to 2 GB.",
        )
    return Check(f"{name} space", "fine", detail)


def _database(settings: Settings) -> Check:
    library = Library(settings)
    try:
        if not library.exists:
            return Check("library", "note", "none yet", "searchengine index ~/Pictures")
        with library, library.store.reading() as connection:
            answers = connection.exec_driver_sql("PRAGMA quick_check").scalars().all()
    except SearchEngineError as error:
        return Check("library", "broken", str(error), "See the message.")
    if answers != ["ok"]:
        return Check(
            "library",
            "broken",
            f"its database is damaged: {answers[0]}",
            f"Move {settings.library} away and index again; pictures are untouched.",
        )
    return Check("library", "fine", "its database is whole")


def _hub() -> Check:
    if encoders.answers(recommended_entry()):
        return Check("model hub", "fine", "it answers")
    return Check(
        "model hub",
        "note",
        "it does not answer; only `starter` and cached encoders can be used",
        "Check the network, or: searchengine index --encoder NAME --checkpoint FILE",
    )


def _encoders(settings: Settings) -> Iterator[Check]:
    specs = {
        entry.name: encoders.EncoderSpec("starter" if entry.name == "starter" else entry.full_name)
        for entry in load_catalogue()
        if is_cached(entry)
    }
    try:
        with Library(settings) as library:
            if library.exists:
                for record in library.store.encoders():
                    specs[record.key] = encoders.EncoderSpec(**record.spec)
    except SearchEngineError:
        pass  # the library's own check has said so
    options = encoders.EncoderOptions(
        runtime=settings.runtime, device=settings.device, cache_dir=settings.cache_dir
    )
    for name, spec in {encoders.encoder_id(spec): spec for spec in specs.values()}.items():

        def load(name: str = name, spec: encoders.EncoderSpec = spec) -> Check:
            encoder = encoders.build_encoder(spec, options, announce=lambda _: None)
            encoder.encode_texts(["a photograph"])
            return Check(f"encoder {name}", "fine", f"{encoder.dimension} dimensions")

        yield _guarded(f"encoder {name}", load)


def _detectors(settings: Settings) -> Iterator[Check]:
    names = {entry.name for entry in detectors.load_detectors() if detectors.is_cached(entry)}
    try:
        with Library(settings) as library:
            if library.exists:
                names |= {record.name for record in library.detectors_used()}
    except SearchEngineError:
        pass  # the library's own check has said so
    for name in sorted(names):

        def load(name: str = name) -> Check:
            lazy = detectors.lazy_detector(name, device=settings.device, announce=lambda _: None)
            detector = lazy.get()
            detector.detect([Image.new("RGB", (64, 64), "grey")])
            return Check(f"detector {detector.id}", "fine", f"{len(detector.labels)} labels")

        yield _guarded(f"detector {name}", load)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (SearchEngineError, OSError) as error:
        return Check(name, "broken", str(error), "See the message; reinstall if it does not help.")


def _round_trip() -> Check:
    with tempfile.TemporaryDirectory(prefix="searchengine-doctor-") as temporary:
        pictures = Path(temporary) / "pictures"
        pictures.mkdir()
        for name, colour in (("red.png", "red"), ("blue.png", "blue")):
            Image.new("RGB", (64, 64), colour).save(pictures / name)
        with open_library(Path(temporary) / "library", encoder="starter") as library:
            library.index(pictures)
            nearest = library.similar(Image.new("RGB", (80, 80), "red"), top_k=1).hits
    if [os.path.basename(hit.path) for hit in nearest] != ["red.png"]:
        return Check(
            "round trip", "broken", f"red is nearest to {nearest}", "Reinstall searchengine."
        )
    return Check("round trip", "fine", "two pictures indexed, the right one found")
