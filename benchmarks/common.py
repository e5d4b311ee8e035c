"""What the benchmarks share: pictures from a seed, the command, the report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Run:
    """One finished command."""

    seconds: float
    stdout: str


def arguments(description: str | None, **options: tuple[type, Any, str]) -> argparse.Namespace:
    """Reads flags, each given as name=(type, default, help)."""
    parser = argparse.ArgumentParser(description=description)
    for name, (kind, default, text) in options.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=default, help=f"{text} ({default})")
    parser.add_argument("--seed", type=int, default=1, help="of the pictures (1)")
    return parser.parse_args()


def run_command(library: Path, *words: str, encoder: str = "starter") -> Run:
    """Runs `searchengine` in a process of its own and times it from outside."""
    environment = {
        **os.environ,
        "SEARCHENGINE_LIBRARY": str(library),
        "SEARCHENGINE_ENCODER": encoder,
    }
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "searchengine", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 1):
        raise SystemExit(f"searchengine {' '.join(words)} failed: {done.stderr}")
    return Run(seconds, done.stdout)


def make_photograph(seed: int, width_px: int, height_px: int) -> Image.Image:
    """Shapes, gradients and grain: as hard to compress and decode as a photograph."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width_px, height_px), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = random.integers(0, width_px), random.integers(0, height_px)
        radius = int(random.integers(width_px // 100 + 1, width_px // 8 + 2))
        colour = tuple(int(value) for value in random.integers(0, 255, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    picture = picture.filter(ImageFilter.GaussianBlur(1))
    grain = random.normal(0, 6, (height_px, width_px, 1)).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def report(name: str, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the rows as a table and writes them with machine, commit, command and seed."""
    columns = list(rows[0])
    texts = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    for line in (columns, ["-" * width for width in widths], *texts):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    where = {
        "command": " ".join(["python", *sys.argv]),
        "commit": _commit(),
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "seed": seed,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**where, "rows": list(rows)}, indent=1), encoding="utf-8")
    print(f"\n{where['machine']}; commit {where['commit']}; {where['command']}\n-> {path}")


def _text(value: Any) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and value < 100
        else (f"{value:,.0f}" if isinstance(value, float) else str(value))
    )


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
