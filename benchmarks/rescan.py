"""How long `searchengine index` takes over a large library in which nothing has changed.

The files are copies of a few pictures, so that making the library needs little encoder time; a
rescan looks at each path alike. Also measured: the memory at a tenth of the size and at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import arguments, make_photograph, median, report, run_command

LONG_AGO_S = 1_600_000_000


def main() -> None:
    options = arguments(
        __doc__,
        files=(int, 100_000, "files in the library"),
        repeats=(int, 3, "rescans of each"),
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="searchengine-rescan-") as temporary:
        for files in (options.files // 10, options.files):
            root = Path(temporary) / f"pictures-{files}"
            make_tree(root, files, options.seed)
            library = Path(temporary) / f"library-{files}"
            first = run_command(library, "index", "--quiet", str(root))
            again = [run_command(library, "index", "--quiet") for _ in range(options.repeats)]
            rows.append(
                {
                    "files": files,
                    "first run s": first.seconds,
                    "rescan s": median([run.seconds for run in again]),
                    "rescan us/file": median([run.seconds for run in again]) / files * 1e6,
                    "rescan peak MB": rescan_peak_mb(library),
                }
            )
            shutil.rmtree(root)
    report("rescan", options.seed, rows)


def make_tree(root: Path, files: int, seed: int) -> None:
    """`files` copies of 20 pictures in folders of 500, all of them old."""
    originals = []
    root.mkdir(parents=True)
    for number in range(20):
        path = root / f"original-{number}.jpg"
        make_photograph(seed + number, 320, 240).save(path, quality=85)
        originals.append(path.read_bytes())
        path.unlink()
    for number in range(files):
        folder = root / f"{number // 500:04d}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(originals[number % len(originals)])
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def rescan_peak_mb(library: Path) -> float:
    """Peak resident memory of one rescan, asked of a process that runs nothing else."""
    script = (
        "import resource; from searchengine import open_library;"
        f"open_library({str(library)!r}, encoder='starter').index();"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout) / 1024


if __name__ == "__main__":
    main()
