"""What a picture's header says about it: EXIF date, camera, lens, place. Part of decoding."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from indexer.records import PictureInfo

Fields = Mapping[int, Any]
Directories = tuple[Fields, Fields, Fields]  # EXIF's main fields, its details, its GPS block

_DATE = re.compile(r"^(\d{4})[:\-/](\d{2})[:\-/](\d{2})[ T](\d{2}):(\d{2})(?::(\d{2}))?")
_OFFSET = re.compile(r"^[+-]\d{2}:\d{2}$")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def read_info(picture: Image.Image) -> PictureInfo:
    """Reads the header of an opened picture, before `draft` changes its size.

    Broken fields are left out one by one: metadata is never a reason to skip a picture.
    Source: EXIF 2.32 (CIPA DC-008), sections 4.6.4 to 4.6.6.
    """
    width_px, height_px = picture.size
    directories = _directories(picture.getexif)
    # Pillow tells a TIFF's size upright
    if _orientation(directories[0]) in _TURNED and picture.format != "TIFF":
        width_px, height_px = height_px, width_px
    return _info(width_px, height_px, picture.format or "?", directories)


def read_raw_info(data: bytes, *, width_px: int, height_px: int) -> PictureInfo:
    """The EXIF of a RAW file, which most of them hold as a TIFF does; the size is known upright."""

    def load() -> Image.Exif:
        exif = Image.Exif()
        exif.load(data)
        return exif

    return _info(width_px, height_px, "RAW", _directories(load))


def _info(width_px: int, height_px: int, format: str, directories: Directories) -> PictureInfo:
    exif, details, gps = directories
    latitude, longitude = _position(gps)
    offset = _text(details.get(ExifTags.Base.OffsetTimeOriginal))
    return PictureInfo(
        width_px=width_px,
        height_px=height_px,
        format=format,
        orientation=_orientation(exif),
        taken_at=_date(details.get(ExifTags.Base.DateTimeOriginal))
        or _date(details.get(ExifTags.Base.DateTimeDigitized))
        or _date(exif.get(ExifTags.Base.DateTime)),
        utc_offset=offset if offset and _OFFSET.match(offset) else None,
        camera=_maker_and_model(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model)),
        lens=_maker_and_model(
            details.get(ExifTags.Base.LensMake), details.get(ExifTags.Base.LensModel)
        ),
        latitude=latitude,
        longitude=longitude,
    )


def read_orientation(picture: Image.Image) -> int:
    """What is left to be done to make the loaded picture upright: EXIF's 1 (nothing) to 8."""
    return _orientation(_directories(picture.getexif)[0])


def _orientation(exif: Fields) -> int:
    value = exif.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _directories(load: Callable[[], Image.Exif]) -> Directories:
    try:
        exif = load()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        return exif, details, exif.get_ifd(ExifTags.IFD.GPSInfo)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return {}, {}, {}


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    return "".join(character for character in value if character.isprintable()).strip() or None


def _date(value: Any) -> str | None:
    match = _DATE.match(_text(value) or "")
    if not match:
        return None
    try:
        return datetime(*(int(part or 0) for part in match.groups())).isoformat()  # type: ignore[arg-type]
    except ValueError:  # "0000:00:00 00:00:00" from a camera whose clock was never set
        return None


def _maker_and_model(maker: Any, model: Any) -> str | None:
    maker_text, model_text = _text(maker), _text(model)
    if not model_text or not maker_text:
        return model_text or maker_text
    # "Canon" + "Canon EOS R5" is one name, "NIKON CORPORATION" + "NIKON D850" as well
    if model_text.lower().startswith(maker_text.split()[0].lower()):
        return model_text
    return f"{maker_text} {model_text}"


def _position(gps: Fields) -> tuple[float | None, float | None]:
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), 90)
    longitude = _degrees(
        gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), 180
    )
    if latitude is None or longitude is None:
        return None, None
    return latitude, longitude


def _degrees(parts: Any, reference: Any, limit: float) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if (_text(reference) or "N").upper() in ("S", "W"):
        value = -value
    # a NaN from 0/0 fails this comparison too
    return round(value, 7) if -limit <= value <= limit else None
