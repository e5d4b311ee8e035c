"""Real photographs for the tests: the ones inside scikit-image's wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from conftest import LONG_AGO_NS

NAMES = (
    "astronaut.png",
    "brick.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "page.png",
    "rocket.jpg",
)


def photograph(name: str) -> Path:
    """Where a photograph of scikit-image lies."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "data" / name


def copy_photographs(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """Copies photographs into a new folder, with an old mtime."""
    folder.mkdir(parents=True)
    for name in names:
        shutil.copy(photograph(name), folder / name)
        os.utime(folder / name, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return folder
