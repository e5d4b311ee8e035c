"""The encoders known by a short name, and whether their weights are here; without torch."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from indexer.config_files import config_path
from indexer.errors import UnknownEncoder

STARTER_NAME = "starter"
# the names under which open_clip looks for weights, in its order
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One encoder of the catalogue. The meaning of each field stands in `config/models.toml`."""

    name: str
    architecture: str
    tag: str
    dimension: int
    parameters_m: float
    download_mb: int
    licence: str
    repository: str
    summary: str
    recommended: str = ""

    @property
    def full_name(self) -> str:
        """ARCH/TAG, which is also the id of its embeddings."""
        return f"{self.architecture}/{self.tag}"


def load_catalogue() -> tuple[CatalogueEntry, ...]:
    """Returns the entries in the order in which they are shown."""
    content = tomllib.loads(config_path("models.toml").read_text(encoding="utf-8"))
    return tuple(CatalogueEntry(**entry) for entry in content["encoder"])


def recommended_entry() -> CatalogueEntry:
    """The encoder that `auto` wants."""
    return next(entry for entry in load_catalogue() if entry.recommended)


def find(name: str) -> CatalogueEntry:
    """The entry of a short name or of ARCH/TAG, in upper or lower case.

    Raises UnknownEncoder, which lists the nearest names.
    """
    entries = load_catalogue()
    wanted = name.casefold()
    for entry in entries:
        if wanted in (entry.name.casefold(), entry.full_name.casefold()):
            return entry
    raise UnknownEncoder(unknown_message(name, [entry.name for entry in entries]))


def unknown_message(name: str, known: list[str]) -> str:
    """What to say to somebody who wants an encoder that there is not."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(by_folded[match] for match in near)}?" if near else ""
    return f"There is no encoder {name!r}.{hint} Run: searchengine models"


def is_cached(entry: CatalogueEntry, *, hub_cache: Path | None = None) -> bool:
    """Whether the weights are on this machine, in the place where open_clip looks for them.

    `hub_cache` takes the place of the folder that huggingface_hub's own variables name.
    """
    if entry.name == STARTER_NAME:
        return True
    from huggingface_hub import try_to_load_from_cache

    return any(
        isinstance(try_to_load_from_cache(entry.repository, file, cache_dir=hub_cache), str)
        for file in WEIGHT_FILES
    )
