"""The encoder's view of single boxes: embeddings of their crops, each made once and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from indexer.ahead import Ahead
from indexer.detections import ContentFiles, crops_of, files_of, write_crops
from indexer.encoder import LazyEncoder
from indexer.errors import LibraryError
from indexer.records import Box, Detection, EncoderRecord
from indexer.store import Store
from searchengine.binding import Vector
from searchengine.look import LookOptions, OnLook, read_picture

_MARGIN = 0.08  # of a box's side, around its crop: detectors cut close
_BATCH = 32


class Crops:
    """Embeds crops of the library's pictures with one encoder."""

    def __init__(
        self, store: Store, record: EncoderRecord, encoder: LazyEncoder, options: LookOptions
    ) -> None:
        self.store = store
        self.record = record
        self.encoder = encoder
        self.options = options

    def views(
        self, wanted: Mapping[int, Sequence[Detection]], on_look: OnLook
    ) -> dict[int, Vector]:
        """(D,) by the detection's id, of boxes given by their content's id; boxes without an id
        are passed over. `on_look` is told of pictures that must be opened. Raises EncoderError."""
        wanted = {id: [each for each in some if each.id] for id, some in wanted.items()}
        ids = [detection.id for some in wanted.values() for detection in some]
        if not ids:
            return {}
        with self.store.reading() as connection:
            views = crops_of(connection, self.record, ids)
            lacking = {
                content_id: [detection for detection in some if detection.id not in views]
                for content_id, some in wanted.items()
                if any(detection.id not in views for detection in some)
            }
            files = files_of(connection, list(lacking))
        if not files:
            return views
        size_px = 2 * self.encoder.get().image_size_px
        waiting: dict[int, Image.Image] = {}

        def read(file: ContentFiles) -> Image.Image | str:
            return read_picture(file, size_px, self.options.max_megapixels)

        with Ahead(self.options.workers, _BATCH) as ahead:
            for done, (file, picture) in enumerate(ahead.map(read, files), start=1):
                if not isinstance(picture, str):
                    some = lacking[file.content_id]
                    waiting |= {each.id: crop(picture, each.box_xyxy) for each in some}
                if len(waiting) >= _BATCH or done == len(files):
                    views |= self._encode(waiting)
                    waiting = {}
                on_look(done, len(files))
        return views

    def views_in(self, picture: Image.Image, wanted: Sequence[Detection]) -> dict[int, Vector]:
        """(D,) by the detection's id, of boxes of a picture that need not be in the library."""
        if not wanted:
            return {}
        crops = [crop(picture, detection.box_xyxy) for detection in wanted]
        embeddings = self.encoder.get().encode_images(crops)
        return dict(zip([detection.id for detection in wanted], embeddings, strict=True))

    def _encode(self, crops: Mapping[int, Image.Image]) -> dict[int, Vector]:
        if not crops:
            return {}
        embeddings = self.encoder.get().encode_images(list(crops.values()))
        made = dict(zip(crops, embeddings, strict=True))
        try:
            with self.store.writer():
                write_crops(self.store, self.record, {id: made[id] for id in made if id > 0})
        except (LibraryError, OSError):
            pass  # made again next time; that nothing can be kept has been said already
        return made


def crop(image: Image.Image, box_xyxy: Box) -> Image.Image:
    """The part of the picture that the box and a little of its surroundings fill."""
    x0, y0, x1, y1 = box_xyxy
    dx, dy = (x1 - x0) * _MARGIN, (y1 - y0) * _MARGIN
    left, top = max(0.0, x0 - dx) * image.width, max(0.0, y0 - dy) * image.height
    right, bottom = min(1.0, x1 + dx) * image.width, min(1.0, y1 + dy) * image.height
    corners = (
        int(left),
        int(top),
        max(int(left) + 1, round(right)),
        max(int(top) + 1, round(bottom)),
    )
    return image.crop(corners)
