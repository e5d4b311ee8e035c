"""RAW through `searchengine[raw]`, on a DNG that the test writes itself."""

from __future__ import annotations

import importlib.util
import struct

import numpy as np
import pytest

from indexer.decode import content_hash, decode
from indexer.records import Decoded, Skipped

HAS_RAWPY = importlib.util.find_spec("rawpy") is not None


def make_dng(width_px: int = 128, height_px: int = 96, *, orientation: int = 1) -> bytes:
    """A DNG (Adobe's 1.4 specification) whose left half is red and whose right half is blue."""
    mosaic = np.full((height_px, width_px), 600, np.uint16)  # RGGB
    mosaic[0::2, 0 : width_px // 2 : 2] = 50_000
    mosaic[1::2, width_px // 2 + 1 :: 2] = 50_000
    rational, signed, short, long, ascii_, byte = 5, 10, 3, 4, 2, 1
    matrix = b"".join(struct.pack("<ii", int(v * 10_000), 10_000) for v in np.eye(3).ravel())
    neutral = struct.pack("<II", 1, 1) * 3
    fields = [
        (254, long, 1, struct.pack("<I", 0)),
        (256, long, 1, struct.pack("<I", width_px)),
        (257, long, 1, struct.pack("<I", height_px)),
        (258, short, 1, struct.pack("<H", 16)),
        (259, short, 1, struct.pack("<H", 1)),
        (262, short, 1, struct.pack("<H", 32803)),  # colour filter array
        (271, ascii_, 5, b"Test\0"),
        (272, ascii_, 4, b"Cam\0"),
        (273, long, 1, b"DATA"),  # where the mosaic lies: filled in below
        (274, short, 1, struct.pack("<H", orientation)),
        (277, short, 1, struct.pack("<H", 1)),
        (278, long, 1, struct.pack("<I", height_px)),
        (279, long, 1, struct.pack("<I", mosaic.nbytes)),
        (306, ascii_, 20, b"2024:05:01 12:33:10\0"),
        (33421, short, 2, struct.pack("<HH", 2, 2)),
        (33422, byte, 4, bytes((0, 1, 1, 2))),
        (50706, byte, 4, bytes((1, 4, 0, 0))),
        (50708, ascii_, 9, b"Test Cam\0"),
        (50714, short, 1, struct.pack("<H", 512)),
        (50717, short, 1, struct.pack("<H", 65535)),
        (50721, signed, 9, matrix),
        (50728, rational, 3, neutral),
    ]
    start = 8
    extra_at = start + 2 + 12 * len(fields) + 4
    directory, extra = struct.pack("<H", len(fields)), b""
    data_at = extra_at + sum(len(value) for *_, value in fields if len(value) > 4)
    for tag, kind, count, value in fields:
        value = struct.pack("<I", data_at) if value == b"DATA" else value
        if len(value) > 4:
            directory += struct.pack("<HHII", tag, kind, count, extra_at + len(extra))
            extra += value
        else:
            directory += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + directory + b"\0" * 4 + extra + mosaic.tobytes()


def attempt(data: bytes) -> Decoded | Skipped:
    return decode("a.dng", data, sha256=content_hash(data), target_px=32, max_megapixels=50)


@pytest.mark.skipif(not HAS_RAWPY, reason="rawpy is not installed (searchengine[raw])")
def test_a_raw_picture_gives_its_colours_upright_and_its_metadata() -> None:
    outcome = attempt(make_dng())
    assert isinstance(outcome, Decoded), outcome
    assert (outcome.info.width_px, outcome.info.height_px) == (128, 96)
    assert outcome.info.taken_at == "2024-05-01T12:33:10"
    assert outcome.info.camera == "Test Cam"
    width, height = outcome.image.size
    left = outcome.image.getpixel((width // 4, height // 2))
    right = outcome.image.getpixel((3 * width // 4, height // 2))
    assert left[0] > left[2] + 60
    assert right[2] > right[0] + 60

    turned = attempt(make_dng(orientation=6))  # what was left is now on top
    assert isinstance(turned, Decoded), turned
    assert (turned.info.width_px, turned.info.height_px) == (96, 128)
    width, height = turned.image.size
    assert height > width
    top = turned.image.getpixel((width // 2, height // 4))
    assert top[0] > top[2] + 60


@pytest.mark.skipif(not HAS_RAWPY, reason="rawpy is not installed (searchengine[raw])")
def test_a_damaged_raw_picture_is_skipped() -> None:
    data = make_dng()
    for broken in (data[:300], b"II*\0" + b"\xff" * 400):
        assert isinstance(attempt(broken), Skipped)


@pytest.mark.skipif(HAS_RAWPY, reason="rawpy is installed")
def test_without_the_extra_a_raw_picture_is_skipped_with_the_command_that_mends_it() -> None:
    outcome = attempt(make_dng())
    assert isinstance(outcome, Skipped)
    assert "pip install 'searchengine[raw]'" in str(outcome)
    assert not outcome.is_permanent
