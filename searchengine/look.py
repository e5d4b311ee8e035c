"""Has a detector look at pictures of the library, each once in its life, and remembers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from indexer.ahead import Ahead
from indexer.detections import ContentFiles, files_of, remember_detector, write_looks
from indexer.errors import LibraryError, LibraryLocked
from indexer.records import Detection, Skipped
from indexer.store import Store
from searchengine.colours import colour_shares
from searchengine.detector import Detector

BATCH_SIZE = 8  # a detector gains little from more, and a query waits for the first batch
OnLook = Callable[[int, int], None]  # done, of how many


@dataclass(slots=True)
class Looks:
    """What came of looking: detections by content, and why some contents could not be seen."""

    seen: dict[int, tuple[Detection, ...]] = field(default_factory=dict)
    unseen: dict[int, str] = field(default_factory=dict)
    done: int = 0  # contents that were seen, whether kept in `seen` or not
    not_kept: str = ""  # why some of it could not be stored
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class LookOptions:
    workers: int
    max_megapixels: float


def look_at(
    store: Store,
    detector: Detector,
    name: str,
    content_ids: Sequence[int],
    options: LookOptions,
    *,
    on_look: OnLook = lambda _done, _total: None,
    keep: bool = True,
) -> Looks:
    """Looks at contents in batches, and stores each batch as soon as it is done.

    What is seen while another process writes to the library, or where it may only be read, is not
    stored, and the answer says so. `keep`: also return what was seen. Ctrl-C is not raised: what
    is stored stays, and the answer says `interrupted`. Raises DetectorError.
    """
    looks = Looks()
    done = 0
    with store.reading() as connection:
        files = files_of(connection, content_ids)
    there = {file.content_id for file in files}
    looks.unseen = {id: "it has no file any more" for id in content_ids if id not in there}
    target_px = detector.image_size_px

    def read(file: ContentFiles) -> Image.Image | str:
        return read_picture(file, target_px, options.max_megapixels)

    try:
        with Ahead(options.workers, BATCH_SIZE * 3) as ahead:
            for batch in _batches(ahead.map(read, files)):
                seen = _look(detector, batch, looks)
                looks.not_kept = _keep(store, detector, name, seen) or looks.not_kept
                if looks.not_kept and not keep:
                    break  # nobody would have anything of it
                looks.done += len(seen)
                if keep:
                    looks.seen.update(seen)
                done += len(batch)
                on_look(done, len(files))
    except KeyboardInterrupt:
        looks.interrupted = True
    return looks


def _look(
    detector: Detector, batch: Sequence[tuple[ContentFiles, Image.Image | str]], looks: Looks
) -> dict[int, tuple[Detection, ...]]:
    pictures = {}
    for file, picture in batch:
        if isinstance(picture, str):
            looks.unseen[file.content_id] = picture
        else:
            pictures[file.content_id] = picture
    found = detector.detect(list(pictures.values()))
    return {
        content_id: tuple(
            replace(detection, colours=colour_shares(picture, detection.box_xyxy))
            for detection in detections
        )
        for (content_id, picture), detections in zip(pictures.items(), found, strict=True)
    }


def read_picture(file: ContentFiles, target_px: int, max_megapixels: float) -> Image.Image | str:
    """The upright picture of a content, or why there is none: one of its files is enough."""
    from indexer.decode import content_hash, decode, read_file

    reason = "it has no file any more"
    for path in file.paths:
        data = read_file(path)
        if isinstance(data, Skipped):
            reason = str(data)
            continue
        if content_hash(data) != file.sha256:
            reason = "it has changed since it was indexed"
            continue
        decoded = decode(
            path, data, sha256=file.sha256, target_px=target_px, max_megapixels=max_megapixels
        )
        if isinstance(decoded, Skipped):
            reason = str(decoded)
            continue
        return decoded.image
    return reason


def _keep(
    store: Store, detector: Detector, name: str, seen: Mapping[int, Sequence[Detection]]
) -> str:
    """Stores a batch; returns why it could not be done, "" if it was. A search goes on anyway."""
    try:
        # the lock is held for a moment only: nobody shall wait for a search
        with store.writer():
            record = remember_detector(store, detector.id, name, detector.labels)
            write_looks(store, record, seen)
    except LibraryLocked:
        return "another process writes to the library"
    except LibraryError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _batches(
    items: Iterator[tuple[ContentFiles, Image.Image | str]],
) -> Iterator[list[tuple[ContentFiles, Image.Image | str]]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch
