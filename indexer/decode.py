"""Second stage of a picture's way: bytes of a file -> upright RGB picture, or `Skipped`.

A 12-megapixel JPEG is decoded by the codec at an eighth of its size where that is enough for the
encoder, and every picture leaves this room small, so that a few hundred fit into memory.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, UnidentifiedImageError

from indexer.metadata import read_info, read_orientation, read_raw_info
from indexer.records import Decoded, Skipped

# Pillow refuses pictures above 178 megapixels, less than a present-day phone takes; `decode`
# holds its own, configurable limit against the header before anything is decompressed.
Image.MAX_IMAGE_PIXELS = None
pillow_heif.register_heif_opener()

PILLOW_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .tif .tiff .bmp .dib .avif .avifs "
    ".jp2 .j2k .jpf .jpx .jpc .j2c .pnm .pbm .pgm .ppm .pfm .heic .heif .hif .heics .heifs".split()
)
RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw "
    ".rw2 .rwl .sr2 .srf .srw .x3f".split()
)
PICTURE_SUFFIXES = PILLOW_SUFFIXES | RAW_SUFFIXES

# What decoders raise on malformed input: they check some things and trip over the rest.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    EOFError,
    struct.error,
    MemoryError,
    RuntimeError,
    AttributeError,
    AssertionError,
)

# How much larger than the encoder's square the shorter side stays. Against a full decode of 47
# photographs of 4 to 6 megapixels, the smallest cosine: 0.987 at 1, 0.995 at 1.5, 0.998 at 2.
DETAIL = 2

# EXIF orientation -> what makes it upright (ImageOps.exif_transpose trips over a broken EXIF)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

NEUTRAL_GROUND = (128, 128, 128)  # under transparency: neither black nor white lines vanish on it


def read_file(path: str) -> bytes | Skipped:
    """Reads a file whole. What goes wrong here may be mended tomorrow, so no skip is permanent."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return Skipped(path, "vanished before it was read", is_permanent=False)
    except PermissionError:
        return Skipped(path, "no permission to read", is_permanent=False)
    except MemoryError:
        return Skipped(path, "too large for the memory", is_permanent=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Skipped(path, "vanished before it was read", is_permanent=False)
        return Skipped(path, "cannot be read", error.strerror or str(error), is_permanent=False)
    if not data:
        return Skipped(path, "empty file")
    return data


def content_hash(data: bytes) -> bytes:
    """SHA-256 of the whole file: which embedding belongs to it, wherever it lies."""
    return hashlib.sha256(data).digest()


def decode(
    path: str, data: bytes, *, sha256: bytes, target_px: int, max_megapixels: float
) -> Decoded | Skipped:
    """Decodes the bytes of one file.

    Args:
        path: names the file in messages; its suffix tells RAW from the rest.
        data: the file's bytes, and their `content_hash`.
        target_px: side of the square the encoder sees. The shorter side of the result is at
            least that, unless the picture itself is smaller.
        max_megapixels: larger pictures are skipped before they are decompressed.
    """
    limit = _Limit(path, max_megapixels)
    try:
        if os.path.splitext(path)[1].lower() in RAW_SUFFIXES:
            return _decode_raw(path, data, sha256, target_px, limit)
        with Image.open(io.BytesIO(data)) as picture:
            too_large = limit.exceeded_by(picture.size)
            if too_large:
                return too_large
            info = read_info(picture)
            return Decoded(sha256, info, upright_rgb(picture, target_px=target_px))
    except UnidentifiedImageError:
        return Skipped(path, "not a picture", _what_it_seems(data))
    except DECODER_ERRORS as error:
        if "truncated" in str(error).lower():
            return Skipped(path, "truncated", str(error))
        return Skipped(path, "damaged", f"{type(error).__name__}: {error}"[:200])


def upright_rgb(picture: Image.Image, *, target_px: int) -> Image.Image:
    """Any Pillow picture -> RGB, EXIF orientation applied, reduced towards `target_px`.

    Colours: CMYK, LAB and wide-gamut RGB go through their ICC profile to sRGB, 16-bit and float
    samples are scaled, transparency lies over a neutral grey.
    """
    # JPEG only, a no-op elsewhere: the codec's inverse DCT gives 1/2, 1/4 or 1/8 directly
    detail_px = DETAIL * target_px
    picture.draft(None, (detail_px, detail_px))
    profile = picture.info.get("icc_profile")
    picture.load()
    # asked after load: Pillow turns TIFF, and libheif HEIF, by themselves
    turn = _TURNS.get(read_orientation(picture))
    upright = picture.transpose(turn) if turn is not None else picture
    if upright.mode in ("P", "PA"):
        has_alpha = upright.mode == "PA" or "transparency" in picture.info
        upright = upright.convert("RGBA" if has_alpha else "RGB")
    elif upright.mode in ("L", "RGB", "1") and "transparency" in picture.info:
        upright = upright.convert("RGBA")  # one colour or grey stands for transparent
    elif upright.mode.startswith(("I", "F")):
        upright = _scale_to_8_bits(upright)
    elif upright.mode == "1":
        upright = upright.convert("L")
    factor = min(upright.size) // detail_px
    if factor > 1:
        upright = upright.reduce(factor)
    return _to_srgb(_over_neutral_ground(upright), profile)


def _over_neutral_ground(picture: Image.Image) -> Image.Image:
    if picture.mode in ("LA", "La"):
        picture = picture.convert("RGBA")
    if picture.mode == "RGBa":
        picture = picture.convert("RGBA")
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGB", picture.size, NEUTRAL_GROUND)
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def _scale_to_8_bits(picture: Image.Image) -> Image.Image:
    samples = np.asarray(picture)  # [H, W], 16-bit, 32-bit or float
    if picture.mode.startswith("I;16"):
        # +128: rounds, so that 65535 -> 255 and mid-grey stays mid-grey
        return Image.fromarray(
            ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        )
    finite = samples[np.isfinite(samples)] if picture.mode == "F" else samples
    if not finite.size:
        raise ValueError("no finite sample")
    low, high = float(finite.min()), float(finite.max())
    if picture.mode == "I" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0 if high > 255 else 255.0
    elif picture.mode == "F" and low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    scaled = (np.nan_to_num(samples, nan=low, posinf=high, neginf=low) - low) / (high - low or 1.0)
    return Image.fromarray((scaled * 255 + 0.5).astype(np.uint8))


def _to_srgb(picture: Image.Image, icc_profile: bytes | None) -> Image.Image:
    if picture.mode == "LAB":
        return _through_profile(picture, ImageCms.createProfile("LAB"))
    if icc_profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
            if "sRGB" not in ImageCms.getProfileDescription(profile):
                return _through_profile(picture, profile)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged or foreign profile: the plain conversion below is what is left
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _through_profile(picture: Image.Image, profile: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(
        picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # None only with inPlace=True
    return converted


def _decode_raw(
    path: str, data: bytes, sha256: bytes, target_px: int, limit: _Limit
) -> Decoded | Skipped:
    try:
        import rawpy
    except ImportError:
        mend = "pip install 'searchengine[raw]'"
        return Skipped(path, "RAW needs an extra package", mend, is_permanent=False)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            too_large = limit.exceeded_by((raw.sizes.raw_width, raw.sizes.raw_height))
            if too_large:
                return too_large
            is_turned = raw.sizes.flip in (5, 6)
            sides = (raw.sizes.width, raw.sizes.height)  # asked now: half_size halves them
            # half size: one pixel for each 2 x 2 of the sensor, quicker and still large enough
            pixels = raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8)
    except rawpy.LibRawError as error:
        return Skipped(path, "damaged", f"LibRaw: {error}")
    width_px, height_px = sides[::-1] if is_turned else sides
    info = read_raw_info(data, width_px=width_px, height_px=height_px)
    return Decoded(sha256, info, upright_rgb(Image.fromarray(pixels), target_px=target_px))


class _Limit:
    def __init__(self, path: str, max_megapixels: float) -> None:
        self.path = path
        self.max_megapixels = max_megapixels

    def exceeded_by(self, size: tuple[int, int]) -> Skipped | None:
        width_px, height_px = size
        megapixels = width_px * height_px / 1e6
        if megapixels <= self.max_megapixels:
            return None
        return Skipped(
            self.path,
            "too many pixels",
            f"{width_px} x {height_px} is {megapixels:,.0f} megapixels, the limit is "
            f"{self.max_megapixels:,.0f} (--max-megapixels)",
            is_permanent=False,  # the limit may be raised, and the header is quick to read
        )


def _what_it_seems(data: bytes) -> str:
    if all(byte >= 32 or byte in b"\t\r\n" for byte in data[:64]):
        return "it looks like text"
    return "no decoder knows its format"
