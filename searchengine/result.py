"""What a search answers: hits, and the answer as a whole. Their JSON is a contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexer.records import ImageRecord
from searchengine.match import Level, checked

_SEEN = ("counting", "spatial", "binding")  # verdicts met by what is there, not by what is not


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. Field names are the JSON contract: later work adds some and renames none."""

    rank: int  # from 1
    id: int
    path: str
    score: float  # cosine with the query
    width: int  # px, upright
    height: int  # px, upright
    taken_at: str | None  # ISO 8601 local time of EXIF
    match: Level | None = None  # None where a small library gives nothing to compare with
    explanation: dict[str, Any] | None = None
    shown_at: str = ""  # what dates sort and filter by: `taken_at`, else the file's own time


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search answers; `as_json` is the contract of `search --json`."""

    query: str
    encoder: str
    route: str
    verdicts: list[dict[str, Any]]
    took_ms: dict[str, float]
    hits: list[Hit]
    notes: list[str] = field(default_factory=list)  # what was not checked, and why

    def as_json(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "encoder": self.encoder,
            "route": self.route,
            "verdicts": self.verdicts,
            "notes": self.notes,
            "took_ms": self.took_ms,
            "hits": [
                {name: getattr(hit, name) for name in Hit.__dataclass_fields__} for hit in self.hits
            ],
        }


@dataclass(frozen=True, slots=True)
class Found:
    """An answer before it has a rank."""

    record: ImageRecord
    score: float
    explanation: dict[str, Any] | None = None
    match: Level | None = None

    @property
    def shown_at(self) -> str:
        return self.record.shown_at

    def ranked(self, rank: int) -> Hit:
        return Hit(
            rank=rank,
            id=self.record.id,
            path=self.record.path,
            score=round(float(np.clip(self.score, -1.0, 1.0)), 6),
            width=self.record.width_px,
            height=self.record.height_px,
            taken_at=self.record.taken_at,
            match=self.match,
            explanation=self.explanation,
            shown_at=self.shown_at,
        )


def checked_level(
    level: Level | None, explanation: Mapping[str, Any] | None, *, is_absence_alone: bool
) -> Level | None:
    """The match level, from what the embedding says (`level`) and what the detector saw.

    `explanation` is a hit's; of an absence alone ("no people") the embedding says nothing.
    """
    if explanation is None:
        return level
    if is_absence_alone:
        return checked("weak", explanation["condition"], was_seen=True)
    parts = [part for part in explanation["parts"] if part["verdict"] in _SEEN]
    was_seen = any(part["boxes"] for part in parts) and not explanation["not_checked"]
    return checked(level, explanation["condition"], was_seen=was_seen)
