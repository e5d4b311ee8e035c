"""Why a picture does or does not match a query: all that a search knows, said of one picture.

The picture may lie outside the library. Nothing that is found here is kept.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from indexer import lookup
from indexer.decode import PICTURE_SUFFIXES
from indexer.errors import DetectorError
from indexer.records import Detection, ImageRecord
from indexer.scan import ScanRules, is_under, why_left_out
from indexer.store import Store
from searchengine import retrieve
from searchengine.match import CONDITION_HOLDS, Floats, Level
from searchengine.prompts import prompt_embeddings, unrelated_prompts
from searchengine.query import Term
from searchengine.result import checked_level

if TYPE_CHECKING:
    from searchengine.applicability import Assessment, Verdict
    from searchengine.engine import Engine
    from searchengine.query import Query
    from searchengine.rerank import Reranker

WORDS = 3  # nearest descriptions that are told
SEEN_FROM = 0.3  # detections below it are noise to a reader
DOUBTFUL_FROM = 0.2  # a condition less likely than that does not hold
_PAGE = 10  # hits that a user looks at


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`as_json` is the contract of `diagnose --json`."""

    query: str
    path: str
    encoder: str
    verdicts: list[dict[str, Any]]
    is_in_library: bool
    state: str  # "in the library", or why it is not
    score: float  # cosine with what the query shows, without numbers and negations
    percentile: float  # of the library's pictures, those that are less near
    rank: int  # the place it has or would have, by the embedding alone and without filters
    pictures: int  # different ones in the library
    match: Level | None  # as a search gives it, the check of its conditions included
    probability: float | None  # of a match by the embedding, were matches and others equally many
    detector: str | None = None  # None where it can't be had
    seen: list[dict[str, Any]] = field(default_factory=list)
    condition: float | None = None  # probability that the query's conditions hold, if it has any
    parts: list[dict[str, Any]] = field(default_factory=list)  # each of them
    nearest_words: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(
    engine: Engine,
    reranker: Reranker,
    query: Query,
    path: str,
    *,
    assessment: Assessment,
    cache_dir: Path | None,
    exclude: Sequence[str],
) -> Diagnosis:
    """Raises UsageError for a file that is no picture, EncoderError, LibraryError."""
    path = os.path.abspath(os.path.expanduser(path))
    encoder = engine.encoder.get()
    # large enough for the crops that attributes are read from
    picture = retrieve.load_picture(Path(path), 2 * encoder.image_size_px, engine.max_megapixels)
    vector, index = engine.embedded(query)
    with engine.store.reading() as connection:
        record = _record_at(connection, path)
        embedding = retrieve.stored_embedding(connection, Term(Path(path)), engine.record)
        several = lookup.copies(connection)
    if embedding is None:
        embedding = encoder.encode_images([picture])[0]
    ids, scores = index.search(vector, top_k=len(index))
    own = record.content_id if record is not None else -1
    score = float(vector @ embedding)
    nearer_ids = ids[(ids != own) & (scores > score)]
    nearer = len(nearer_ids)
    before = nearer + sum(several.get(content, 1) - 1 for content in nearer_ids.tolist())
    others = max(1, len(ids) - int((ids == own).any()))
    level, probability = engine.matcher.judge(index, query.kind, vector, embedding)
    found = Diagnosis(
        query=query.text,
        path=path,
        encoder=engine.record.key,
        verdicts=[asdict(verdict) for verdict in assessment.verdicts],
        is_in_library=record is not None,
        state=_state(engine.store, record, path, exclude),
        score=round(score, 6),
        percentile=round(100 * (1 - nearer / others), 2),
        rank=nearer + 1,
        pictures=len(index),
        match=level,
        probability=None if probability is None else round(probability, 4),
        nearest_words=_nearest_words(engine, embedding, cache_dir),
        notes=list(assessment.notes),
    )
    found = _with_detections(found, reranker, query, picture)
    advice = _advice(found, assessment.verdicts, record, before + 1, engine.candidates)
    return replace(found, advice=advice)


def _record_at(connection: Any, path: str) -> ImageRecord | None:
    """The library may know the file by a link, or by what a link leads to."""
    real = os.path.realpath(path)
    return lookup.image_at(connection, path) or lookup.image_at(connection, real)


def _state(store: Store, record: ImageRecord | None, path: str, exclude: Sequence[str]) -> str:
    if record is not None:
        info = os.stat(path)
        if (info.st_size, info.st_mtime_ns) != (record.size_bytes, record.mtime_ns):
            return "changed since it was indexed"
        return "in the library"
    with store.reading() as connection:
        reason = lookup.skip_reason_at(connection, path)
    if reason is not None:
        return f"skipped by the last scan: {reason}"
    for folder in store.folders():
        if is_under(path, folder.path):
            rules = ScanRules(PICTURE_SUFFIXES, (*exclude, *folder.exclude), folder.include_hidden)
            why = why_left_out(path, folder.path, rules)
            return f"left out of the library: {why}" if why else "not indexed yet"
    return "outside the folders of the library"


def _nearest_words(engine: Engine, embedding: Floats, cache_dir: Path | None) -> list[str]:
    """What the encoder would rather say of the picture, of the prompts it knows."""
    prompts = unrelated_prompts()
    embeddings = prompt_embeddings(engine.encoder, cache_dir)
    return [prompts[at] for at in np.argsort(-(embeddings @ embedding))[:WORDS].tolist()]


def _with_detections(
    found: Diagnosis, reranker: Reranker, query: Query, picture: Image.Image
) -> Diagnosis:
    try:
        detector = reranker.detector.get()
        (detections,) = detector.detect([picture])
        examined = None
        if query.conditions is not None and not query.conditions.is_empty:
            examined = reranker.examine(query.conditions, picture, detections, found.score)
    except DetectorError as error:
        return replace(found, notes=[*found.notes, f"Without a detector: {error}"])
    shown = [_seen(detection) for detection in detections if detection.score >= SEEN_FROM]
    found = replace(found, detector=detector.id, seen=shown)
    if examined is None or query.conditions is None:
        return found
    explanation, notes = examined
    alone = query.conditions.is_absence_alone
    return replace(
        found,
        match=checked_level(found.match, explanation, is_absence_alone=alone),
        condition=explanation["condition"],
        parts=explanation["parts"],
        notes=[*found.notes, *notes],
    )


def _seen(detection: Detection) -> dict[str, Any]:
    return {
        "label": detection.label,
        "score": round(detection.score, 4),
        "box": [round(float(value), 4) for value in detection.box_xyxy],
    }


def _advice(
    found: Diagnosis,
    verdicts: Sequence[Verdict],
    record: ImageRecord | None,
    place: int,
    candidates: int,
) -> list[str]:
    """`place` is its rank among all files, copies counted, by the embedding alone."""
    advice = []
    folder = os.path.dirname(found.path)
    if record is None and found.state == "outside the folders of the library":
        advice.append(f"No search can find it yet. Run: searchengine index {shlex.quote(folder)}")
    elif record is None and found.state == "not indexed yet":
        advice.append("No search can find it yet. Run: searchengine index")
    elif record is None:
        advice.append("No search can find it while that holds. Afterwards: searchengine index")
    elif found.state != "in the library":
        advice.append("Searches still see the old picture. Run: searchengine index")
    advice += [verdict.better for verdict in verdicts if verdict.better]
    failed = [part for part in found.parts if part["probability"] < CONDITION_HOLDS]
    for part in failed:
        how = "is doubtful" if part["probability"] > DOUBTFUL_FROM else "does not hold"
        advice.append(
            f"{part['asked']!r} {how} for the detector ({part['found']}, "
            f"{part['probability']:.0%} likely). If it is wrong, search with --no-rerank, or with "
            "another --detector."
        )
    if found.match == "weak" and not failed:
        said = " or ".join(f'"{words}"' for words in found.nearest_words[:2])
        advice.append(f"The encoder would rather say {said}: try words nearer to that.")
        advice.append(
            "Or search with a picture like it, alone or beside the words: "
            f"searchengine search {shlex.quote(found.query)} --add {shlex.quote(found.path)}"
        )
    if record is not None and found.condition is None and place > _PAGE:
        advice.append(f"By the embedding alone it is number {place:,}: -k {place} shows it.")
    elif record is not None and found.condition is not None and found.rank > candidates:
        advice.append(
            f"By the embedding alone it is number {found.rank:,}, and the detector looks at the "
            f"first {candidates}: --candidates {found.rank} has it looked at."
        )
    elif record is not None and found.match != "weak" and not failed:
        taken = record.shown_at.replace("T", " ")[:16]
        camera = f", camera {record.camera}" if record.camera else ""
        advice.append(
            "A search without filters shows it. If yours does not, look at --under, --after, "
            f"--before, --camera and --min-score (date {taken}{camera})."
        )
    return list(dict.fromkeys(advice))
