"""Picks a detector by name and builds it: the catalogue's, the hub's, a folder, or the starter."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from indexer.config_files import config_path
from indexer.errors import DetectorUnavailable, UnknownDetector
from searchengine.detector import Detector, LazyDetector
from searchengine.onnx_detector import OnnxDetector, card_id, read_card

Announce = Callable[[str], None]

STARTER_NAME = "starter"
STARTER_FOLDER = Path(__file__).parent / "starter_detector"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class DetectorEntry:
    """One detector of the catalogue. The meaning of each field stands in `config/models.toml`."""

    name: str
    repository: str
    parameters_m: float
    download_mb: int
    licence: str
    summary: str
    coco_ap: float | None = None
    recommended: str = ""


def load_detectors() -> tuple[DetectorEntry, ...]:
    """Returns the entries in the order in which they are shown."""
    content = tomllib.loads(config_path("models.toml").read_text(encoding="utf-8"))
    return tuple(DetectorEntry(**entry) for entry in content["detector"])


def recommended_detector() -> DetectorEntry:
    """The detector that `auto` wants."""
    return next(entry for entry in load_detectors() if entry.recommended)


def is_cached(entry: DetectorEntry) -> bool:
    """Whether the weights are on this machine, in the place where transformers looks for them."""
    return entry.name == STARTER_NAME or _is_in_hub_cache(entry.repository)


def _is_in_hub_cache(repository: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return any(
            isinstance(try_to_load_from_cache(repository, file), str) for file in WEIGHT_FILES
        )
    except HFValidationError:  # a path, and no repository
        return False


def choose_auto(
    *,
    announce: Announce,
    cached: Callable[[DetectorEntry], bool] = is_cached,
    hub_answers: Callable[[DetectorEntry], bool] | None = None,
) -> str:
    """The recommended detector if it can be had within seconds, else `starter`, with a line why."""
    entry = recommended_detector()
    if cached(entry) or (hub_answers or _answers)(entry):
        return entry.name
    announce(
        f"{entry.name} is not on this machine and its hub does not answer: using the small "
        f"built-in detector. For better counts, later: searchengine index --detect "
        f"--detector {entry.name}"
    )
    return STARTER_NAME


def resolve(name: str) -> tuple[str, str]:
    """Which detector a name means: its id, and the name that builds it again.

    Raises UnknownDetector with the nearest names, DetectorError for a damaged starter.
    """
    if not name.strip():
        raise UnknownDetector("--detector is empty. Run: searchengine models")
    if name.casefold() == STARTER_NAME:
        return card_id(read_card(STARTER_FOLDER)), STARTER_NAME
    entries = load_detectors()
    for entry in entries:
        if entry.repository and name.casefold() in (entry.name, entry.repository.casefold()):
            return entry.repository, entry.name
    folder = Path(name).expanduser()
    try:
        if (folder / "config.json").is_file():
            return f"{folder.name}/{_folder_sha256(folder)[:12]}", str(folder.absolute())
        if folder.is_dir():
            raise UnknownDetector(f"The folder {folder} holds no config.json, so no detector.")
    except OSError as error:
        raise UnknownDetector(f"The detector {name} cannot be read: {error.strerror}.") from error
    if (
        "/" in name
        and not folder.exists()
        and name.count("/") == 1
        and not name.startswith((".", "~"))
    ):
        return name, name  # of the hub, which says at once if it knows no such thing
    names = [entry.name for entry in entries]
    by_folded = {candidate.casefold(): candidate for candidate in names}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(by_folded[match] for match in near)}?" if near else ""
    raise UnknownDetector(f"There is no detector {name!r}.{hint} Run: searchengine models")


def lazy_detector(name: str, *, device: str, announce: Announce) -> LazyDetector:
    """A detector of that name, built when the first picture needs it. Raises UnknownDetector."""
    key, name = resolve(name)
    return LazyDetector(key, name, lambda: build_detector(key, name, device, announce))


def remembered_detector(key: str, name: str, *, device: str, announce: Announce) -> LazyDetector:
    """A detector that a library knows, also where its files are gone: what it saw is stored."""
    try:
        return lazy_detector(name, device=device, announce=announce)
    except UnknownDetector:
        return LazyDetector(key, name, lambda: build_detector(key, name, device, announce))


def build_detector(key: str, name: str, device: str, announce: Announce) -> Detector:
    """Raises DetectorUnavailable where its weights cannot be had, DetectorError."""
    if name == STARTER_NAME:
        return OnnxDetector.load(STARTER_FOLDER)
    from indexer.torch_encoder import choose_device
    from searchengine.torch_detector import TorchDetector

    entry = next((entry for entry in load_detectors() if entry.name == name), None)
    source = entry.repository if entry else name
    is_here = Path(source).is_dir() or _is_in_hub_cache(source)
    if not is_here:
        if not _answers_for(source):
            raise DetectorUnavailable(_unavailable_message(source))
        size = f" ({entry.download_mb} MB, once)" if entry else ""
        announce(f"Downloading the detector {name}{size}")
    return TorchDetector.load(source, id=key, device=choose_device(device), local_only=is_here)


def _answers(entry: DetectorEntry) -> bool:
    return _answers_for(entry.repository)


def _answers_for(repository: str) -> bool:
    from indexer.hub import hub_serves

    return hub_serves(repository, WEIGHT_FILES)


def _unavailable_message(source: str) -> str:
    from huggingface_hub import constants

    return (
        f"The weights of the detector {source} are not on this machine, and {constants.ENDPOINT} "
        "does not serve them now. Download its files where there is a network, then name their "
        "folder: --detector FOLDER (or use the built-in one: --detector starter)"
    )


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            with (folder / name).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
