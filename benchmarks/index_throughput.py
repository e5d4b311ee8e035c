"""Pictures per second: the whole command, the encoder alone, and the loop that tutorials show.

All three see the same JPEG files in turn, several times over, so that a noisy machine shows in
all of them alike; the table gives medians and ratios.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from common import arguments, make_photograph, median, report, run_command
from PIL import Image

from indexer.decode import content_hash, decode
from indexer.encoder import Encoder
from indexer.records import Decoded
from indexer.settings import available_cores
from searchengine import open_library


def main() -> None:
    options = arguments(
        __doc__,
        encoder=(str, "starter", "as for `searchengine index`; ViT-B-32/random measures CLIP"),
        pictures=(int, 192, "pictures"),
        width=(int, 4000, "px; the height is three quarters of it"),
        repeats=(int, 3, "rounds"),
    )
    with tempfile.TemporaryDirectory(prefix="searchengine-throughput-") as temporary:
        root = Path(temporary) / "pictures"
        root.mkdir()
        write_pictures(root, options.pictures, options.width, options.seed)
        paths = sorted(root.iterdir())
        with open_library(Path(temporary) / "unused", encoder=options.encoder) as library:
            encoder = library.encoder.get()
            small = [small_picture(path, encoder) for path in paths]
            encoder.encode_images(small[:8])  # warm
            command, inside, alone, loop = [], [], [], []
            for number in range(options.repeats):
                target = Path(temporary) / f"library-{number}"
                run = run_command(
                    target, "index", "--json", "--quiet", str(root), encoder=options.encoder
                )
                command.append(len(paths) / run.seconds)
                inside.append(len(paths) / json.loads(run.stdout)["seconds"])
                alone.append(len(paths) / timed(lambda: encode_in_batches(encoder, small)))
                loop.append(len(paths) / timed(lambda: tutorial_loop(encoder, paths)))
            size_mb = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
            decode_ms = timed(lambda: [small_picture(path, encoder) for path in paths])
            decode_ms = decode_ms / len(paths) * 1000
    # where encoder and decoding share the same cores, nothing can be faster than this
    bound = 1 / (1 / median(alone) + decode_ms / 1000 / available_cores())
    rows = [
        {"what": "encoder alone, pictures decoded before", "pictures/s": median(alone)},
        {"what": "searchengine index, start and end included", "pictures/s": median(command)},
        {"what": "searchengine index, by its own clock", "pictures/s": median(inside)},
        {"what": "bound: that and decoding, on all cores", "pictures/s": bound},
        {"what": "full decode, one picture at a time", "pictures/s": median(loop)},
    ]
    for row in rows:
        row["of encoder alone"] = row["pictures/s"] / median(alone)
    print(
        f"{options.encoder}, {len(paths)} JPEGs of {options.width} x {options.width * 3 // 4}, "
        f"{size_mb:.1f} MB each; decoding one takes {decode_ms:.0f} ms of one core\n"
    )
    report(f"index_throughput-{options.encoder.replace('/', '-')}", options.seed, rows)


def write_pictures(root: Path, count: int, width_px: int, seed: int) -> None:
    """JPEGs from a few originals, each rolled by another distance so that no two are alike."""
    originals = [
        np.asarray(make_photograph(seed + number, width_px, width_px * 3 // 4))
        for number in range(min(count, 8))
    ]
    for number in range(count):
        rolled = np.roll(originals[number % len(originals)], 37 * number, axis=(0, 1))
        Image.fromarray(rolled).save(root / f"{number:04d}.jpg", quality=90)


def small_picture(path: Path, encoder: Encoder) -> Image.Image:
    data = path.read_bytes()
    decoded = decode(
        str(path),
        data,
        sha256=content_hash(data),
        target_px=encoder.image_size_px,
        max_megapixels=200,
    )
    assert isinstance(decoded, Decoded), decoded
    return decoded.image


def encode_in_batches(encoder: Encoder, pictures: list[Image.Image]) -> None:
    for start in range(0, len(pictures), 32):
        encoder.encode_images(pictures[start : start + 32])


def tutorial_loop(encoder: Encoder, paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as picture:
            encoder.encode_images([picture.convert("RGB")])


def timed(function: object) -> float:
    assert callable(function)
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
