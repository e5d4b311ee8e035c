"""The frozen values that travel through the pipeline: scan -> decode -> embed -> store.

Paths are `str` as Python's file system calls give and take them (undecodable bytes kept as
surrogates), so that a name that is not UTF-8 still names its file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True, slots=True)
class FileState:
    """What one `stat` tells of a file; two equal states mean an unchanged file."""

    path: str
    size_bytes: int
    mtime_ns: int
    seen_at_ns: int  # when the stat was taken: an mtime just before it may hide a later edit


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that gives no embedding, and why. A value, not an error: it never stops a run.

    `is_permanent`: the same bytes would fail again, so an unchanged file is not tried again.
    `reason` is a short phrase fit for counting; `detail` adds the figures of this one file.
    """

    path: str
    reason: str
    detail: str = ""
    is_permanent: bool = True

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """What a picture's header says. Sizes are upright (EXIF orientation applied), in pixels."""

    width_px: int
    height_px: int
    format: str
    orientation: int = 1  # as stored in EXIF, 1..8
    taken_at: str | None = None  # ISO 8601 local time, "2024-05-01T12:33:10"
    utc_offset: str | None = None  # "+02:00"
    camera: str | None = None
    lens: str | None = None
    latitude: float | None = None  # degrees, north positive
    longitude: float | None = None  # degrees, east positive


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB picture, reduced to little more than the encoder needs."""

    sha256: bytes
    info: PictureInfo
    image: Image.Image


@dataclass(frozen=True, slots=True)
class Embedded:
    """One file ready to be stored. `info` and `embedding` are None where the content is known."""

    file: FileState
    sha256: bytes
    info: PictureInfo | None = None
    embedding: npt.NDArray[np.float16] | None = None  # (D,)


Box = tuple[float, float, float, float]  # x0, y0, x1, y1 as fractions of width and height


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing that a detector sees in a picture."""

    label: str
    score: float  # calibrated: the probability that it is there
    box_xyxy: Box
    colours: bytes = b""  # shares of the basic colours, 0..255 each: `searchengine.colours`
    id: int = 0  # of the store; 0 while it is in none


@dataclass(frozen=True, slots=True)
class DetectorRecord:
    """A detector whose detections the library holds."""

    id: int
    key: str  # Detector.id
    name: str  # what builds it again
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the store remembers of a file, as the scan needs it."""

    image_id: int
    content_id: int | None
    size_bytes: int
    mtime_ns: int
    seen_at_ns: int
    is_embedded: bool
    skip_reason: str | None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A picture of the library, as results show it."""

    id: int
    path: str
    content_id: int
    size_bytes: int
    mtime_ns: int
    width_px: int
    height_px: int
    taken_at: str | None
    utc_offset: str | None
    camera: str | None
    lens: str | None
    latitude: float | None
    longitude: float | None
    shown_at: str  # taken_at, else the file's mtime: what dates sort and filter by


@dataclass(slots=True)
class IndexSummary:
    """What one run of the indexer did; `searchengine index` prints it."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    encoded: int = 0  # pictures that went through the encoder
    reused: int = 0  # new or changed files whose bytes were known already
    looked_at: int = 0  # different pictures that went through the detector
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> files
    skipped_files: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was left undone, and the mend
    seconds: float = 0.0
    interrupted: bool = False

    def skip(self, skipped: Skipped) -> None:
        """Counts a file that gave no embedding."""
        self.skipped[skipped.reason] += 1
        self.skipped_files.append(skipped)

    @property
    def pictures_per_second(self) -> float:
        """Pictures taken in (new and changed), over the whole run."""
        return (self.new + self.changed) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which pictures a search may answer with. Empty fields let everything pass."""

    under: tuple[str, ...] = ()  # absolute folders or files: any of them
    after: str | None = None  # ISO 8601 prefix such as "2024-05"; inclusive
    before: str | None = None  # exclusive
    camera: str | None = None  # part of the camera's name, any case

    @property
    def is_empty(self) -> bool:
        return not (self.under or self.after or self.before or self.camera)


@dataclass(frozen=True, slots=True)
class FolderRecord:
    """A folder the library was told to index, with the rules it was told."""

    path: str
    exclude: tuple[str, ...]
    include_hidden: bool
    last_scan_at: str | None  # ISO 8601, UTC
    last_scan_note: str | None  # what went wrong in it, or None


@dataclass(frozen=True, slots=True)
class EncoderRecord:
    """An encoder whose embeddings the library holds. `spec` is what builds it again."""

    id: int
    key: str  # Encoder.id
    spec: dict[str, Any]
    dimension: int
    index_generation: int | None
    index_sha256: bytes | None
