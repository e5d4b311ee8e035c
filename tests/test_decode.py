"""Every kind of picture becomes upright RGB; every kind of rubbish becomes a reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from indexer.decode import content_hash, decode, read_file
from indexer.records import Decoded, Skipped


def encode(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data: bytes, name: str = "a.jpg", *, target_px: int = 64, limit: float = 50) -> Decoded:
    outcome = attempt(data, name, target_px=target_px, limit=limit)
    assert isinstance(outcome, Decoded), outcome
    assert outcome.image.mode == "RGB"
    return outcome


def attempt(
    data: bytes, name: str = "a.jpg", *, target_px: int = 64, limit: float = 50
) -> Decoded | Skipped:
    return decode(name, data, sha256=content_hash(data), target_px=target_px, max_megapixels=limit)


def pixel(data: bytes, x: float = 0.5, y: float = 0.5, **options: int) -> tuple[int, ...]:
    """The decoded colour at a fraction of width and height."""
    image = decoded(data, **options).image
    return image.getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))


def close(colour: tuple[int, ...], expected: tuple[int, ...], tolerance: int = 6) -> bool:
    return max(abs(a - b) for a, b in zip(colour, expected, strict=True)) <= tolerance


# A picture that tells its corners apart: red top left, green top right, blue bottom left.
def corners(width: int = 96, height: int = 64) -> Image.Image:
    picture = Image.new("RGB", (width, height), (255, 255, 255))
    picture.paste((220, 20, 20), (0, 0, width // 2, height // 2))
    picture.paste((20, 220, 20), (width // 2, 0, width, height // 2))
    picture.paste((20, 20, 220), (0, height // 2, width // 2, height))
    return picture


FORMATS = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "TIFF": {},
    "BMP": {},
    "JPEG2000": {"quality_mode": "dB", "quality_layers": [60]},
    "PPM": {},
    "HEIF": {"quality": 95},
    "AVIF": {"quality": 95},
}


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_gives_its_colours_in_their_places(format: str) -> None:
    data = encode(corners(), format, **FORMATS[format])
    assert close(pixel(data, 0.2, 0.2), (220, 20, 20), 16)
    assert close(pixel(data, 0.8, 0.2), (20, 220, 20), 16)
    assert close(pixel(data, 0.2, 0.8), (20, 20, 220), 16)
    assert close(pixel(data, 0.8, 0.8), (255, 255, 255), 16)
    info = decoded(data).info
    assert (info.width_px, info.height_px) == (96, 64)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # the inverse of what a reader does
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    turn = turns[orientation]
    stored = corners() if turn is None else corners().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, format, exif=exif, **FORMATS[format])
    outcome = decoded(data)
    assert (outcome.info.width_px, outcome.info.height_px) == (96, 64)
    assert outcome.image.size == (96, 64)
    assert close(pixel(data, 0.2, 0.2), (220, 20, 20), 20)
    assert close(pixel(data, 0.8, 0.2), (20, 220, 20), 20)
    assert close(pixel(data, 0.2, 0.8), (20, 20, 220), 20)


def test_a_heif_is_not_turned_twice() -> None:
    # its own transformation decides, and is applied by libheif; EXIF only repeats it
    exif = Image.Exif()
    exif[0x0112] = 6
    outcome = decoded(encode(corners(), "HEIF", exif=exif))
    assert outcome.image.size == (outcome.info.width_px, outcome.info.height_px) == (96, 64)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    for value, expected in ((0, 0), (16384, 64), (32768, 128), (65535, 255)):
        grey = Image.fromarray(np.full((20, 20), value, np.uint16))
        for format in ("PNG", "TIFF", "PPM"):
            assert close(pixel(encode(grey, format)), (expected,) * 3, 1), (format, value)


def test_float_tiff_is_scaled() -> None:
    ramp = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    image = decoded(encode(Image.fromarray(ramp), "TIFF")).image
    assert image.getpixel((0, 0))[0] < 10
    assert image.getpixel((31, 31))[0] > 245


def test_a_palette_keeps_its_colours_and_its_transparency() -> None:
    palette = corners().quantize(8)
    assert close(pixel(encode(palette, "PNG"), 0.2, 0.2), (220, 20, 20), 12)
    see_through = Image.new("P", (20, 20), 0)
    see_through.putpalette([200, 0, 0, 0, 0, 200])
    assert pixel(encode(see_through, "PNG", transparency=0)) == (128, 128, 128)


def test_transparency_lies_over_a_neutral_ground() -> None:
    for mode, clear, solid in (
        ("RGBA", (255, 0, 0, 0), (10, 20, 200, 255)),
        ("LA", (255, 0), (60, 255)),
    ):
        picture = Image.new(mode, (40, 40), clear)
        picture.paste(solid, (0, 0, 20, 40))
        data = encode(picture, "PNG")
        assert close(pixel(data, 0.2), (10, 20, 200) if mode == "RGBA" else (60, 60, 60), 1)
        assert pixel(data, 0.8) == (128, 128, 128)
    half = Image.new("RGBA", (8, 8), (255, 255, 255, 128))
    assert close(pixel(encode(half, "WEBP", lossless=True)), (192, 192, 192), 2)


def test_grey_and_bilevel_pictures_are_grey() -> None:
    assert pixel(encode(Image.new("L", (20, 20), 77), "PNG")) == (77, 77, 77)
    assert pixel(encode(Image.new("1", (20, 20), 1), "TIFF")) == (255, 255, 255)


def test_cmyk_without_a_profile_keeps_its_colours() -> None:
    cmyk = corners().convert("CMYK")
    assert close(pixel(encode(cmyk, "JPEG", quality=95), 0.2, 0.2), (220, 20, 20), 12)
    assert close(pixel(encode(cmyk, "TIFF"), 0.2, 0.8), (20, 20, 220), 6)


def test_a_profile_is_honoured() -> None:
    plain = Image.new("RGB", (20, 20), (200, 60, 60))
    assert pixel(encode(plain, "PNG")) == (200, 60, 60)
    assert pixel(encode(plain, "PNG", icc_profile=b"no profile at all")) == (200, 60, 60)
    swapped = pixel(encode(plain, "PNG", icc_profile=red_and_blue_swapped()))
    assert close(swapped, (60, 60, 200), 12)


def red_and_blue_swapped() -> bytes:
    """sRGB's profile with the chromaticities of red and blue exchanged, in its tag table."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile = profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
    return bytes(profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")))


def test_a_lab_tiff_becomes_rgb() -> None:
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (20, 20), (200, 40, 40)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    assert close(pixel(encode(lab, "TIFF")), (200, 40, 40), 8)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    for format in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:])
        assert close(pixel(data), (250, 0, 0), 12), format


def test_a_large_jpeg_is_decoded_small_but_not_too_small() -> None:
    noise = Image.effect_noise((4000, 3000), 60).convert("RGB")
    outcome = decoded(encode(noise, "JPEG"), target_px=224)
    assert (outcome.info.width_px, outcome.info.height_px) == (4000, 3000)
    assert 2 * 224 <= min(outcome.image.size) <= 4 * 224


def test_every_large_picture_leaves_small() -> None:
    image = decoded(encode(Image.new("RGB", (3000, 2000)), "PNG"), "a.png", target_px=224).image
    assert 2 * 224 <= min(image.size) <= 4 * 224


def test_exif_tells_date_camera_lens_and_place() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "NIKON CORPORATION", "NIKON D850"
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0x9011] = "2024:05:01 12:33:10", "+02:00"
    details[0xA434] = "NIKKOR Z 50mm f/1.8 S"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "S", (33.0, 51.0, 24.0)
    gps[3], gps[4] = "E", (151.0, 12.0, 54.0)
    info = decoded(encode(corners(), "JPEG", exif=exif)).info
    assert info.taken_at == "2024-05-01T12:33:10"
    assert info.utc_offset == "+02:00"
    assert info.camera == "NIKON D850"
    assert info.lens == "NIKKOR Z 50mm f/1.8 S"
    assert info.latitude == pytest.approx(-33.856667)
    assert info.longitude == pytest.approx(151.215)


@pytest.mark.parametrize(
    "date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2024:13:45 99:00:00", "yesterday", ""]
)
def test_a_broken_date_is_no_date(date: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = date
    assert decoded(encode(corners(), "JPEG", exif=exif)).info.taken_at is None


def test_a_broken_exif_block_never_costs_the_picture() -> None:
    for block in (
        b"Exif\0\0rubbish",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff",
    ):
        assert decoded(encode(corners(), "JPEG", exif=block)).info.width_px == 96


def reason(data: bytes, name: str = "a.jpg", **options: float) -> str:
    outcome = attempt(data, name, **options)  # type: ignore[arg-type]
    assert isinstance(outcome, Skipped), outcome
    assert outcome.path == name
    return outcome.reason


def test_rubbish_is_skipped_with_its_reason() -> None:
    jpeg = encode(Image.effect_noise((400, 300), 60), "JPEG")
    assert reason(jpeg[: len(jpeg) // 2]) == "truncated"
    assert reason(b"these are my holiday notes\n" * 20) == "not a picture"
    assert reason(bytes(range(256)) * 4) == "not a picture"
    png = encode(Image.effect_noise((400, 300), 60), "PNG")
    assert reason(png[:4000], "a.png") == "truncated"
    webp = encode(corners(), "WEBP", lossless=True)
    assert reason(webp[: len(webp) // 2], "a.webp") in ("damaged", "not a picture")
    assert reason(b"GIF89a\x10\x00\x10\x00\x00\x00\x00;", "a.gif") in ("damaged", "not a picture")


def test_a_decompression_bomb_is_skipped_by_its_header() -> None:
    bomb = encode(Image.new("1", (30_000, 30_000)), "PNG")
    assert len(bomb) < 1_000_000
    outcome = attempt(bomb, "a.png", limit=200)
    assert isinstance(outcome, Skipped)
    assert outcome.reason == "too many pixels"
    assert "30000 x 30000 is 900 megapixels, the limit is 200 (--max-megapixels)" in outcome.detail


@pytest.mark.parametrize("format", FORMATS)
def test_no_damage_ever_raises(format: str) -> None:
    data = encode(corners(48, 32), format, **FORMATS[format])
    random = np.random.default_rng(7)
    for _ in range(60):
        rotten = bytearray(data)
        for position in random.integers(0, len(data), 4):
            rotten[position] = int(random.integers(0, 256))
        cut = bytes(rotten[: int(random.integers(1, len(data) + 1))])
        outcome = attempt(cut, f"a.{format.lower()}", limit=1)
        assert isinstance(outcome, Skipped | Decoded)


def test_reading_tells_what_went_wrong(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path, expected in (
        (empty, "empty file"),
        (tmp_path / "gone.jpg", "vanished before it was read"),
        (empty / "below.jpg", "vanished before it was read"),
        (tmp_path / ("n" * 300), "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        outcome = read_file(str(path))
        assert isinstance(outcome, Skipped)
        assert outcome.reason == expected
