"""The unrelated prompts of `config/`, and their embeddings by each encoder, kept on disk."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from indexer.config_files import config_path
from indexer.encoder import LazyEncoder

Floats = npt.NDArray[np.float32]

_TRIED = 16  # prompts that tell how long all of them take
_SILENT_S = 10.0  # a busy machine may take seconds for the small ones too


def load_lines(name: str) -> tuple[str, ...]:
    """The lines of a file of `config/`, without comments and empty lines."""
    lines = config_path(name).read_text(encoding="utf-8").splitlines()
    stripped = (line.strip() for line in lines)
    return tuple(line for line in stripped if line and not line.startswith("#"))


def unrelated_prompts() -> tuple[str, ...]:
    """Sentences of varied content: what a picture usually does not show."""
    return load_lines("unrelated_prompts.txt")


def label_templates() -> tuple[str, ...]:
    """Sentences with {} where a label goes."""
    return load_lines("label_templates.txt")


def prompt_embeddings(
    encoder: LazyEncoder,
    cache_dir: Path | None,
    *,
    announce: Callable[[str], None] = lambda _: None,
) -> Floats:
    """The unrelated prompts' embeddings by one encoder, (P, D); computed once and then read.

    `cache_dir` None keeps nothing. Raises EncoderError.
    """
    prompts = unrelated_prompts()
    path = _cache_file(encoder.key, prompts, cache_dir) if cache_dir else None
    kept = _read(path, len(prompts)) if path else None
    if kept is not None:
        return kept
    embeddings = _encode(encoder, prompts, announce)
    if path:
        _write(path, embeddings)
    return embeddings


def _encode(
    encoder: LazyEncoder, prompts: tuple[str, ...], announce: Callable[[str], None]
) -> Floats:
    built = encoder.get()
    started = time.perf_counter()
    first = built.encode_texts(prompts[:_TRIED])
    expected_s = (time.perf_counter() - started) * len(prompts) / _TRIED
    if expected_s > _SILENT_S:
        announce(f"Preparing match levels for {encoder.key} (once, about {expected_s:.0f} s)")
    return np.concatenate([first, built.encode_texts(prompts[_TRIED:])])


def _cache_file(key: str, prompts: tuple[str, ...], cache_dir: Path) -> Path:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", key).strip("-").lower()
    # the key as well: two of them may give one slug
    digest = hashlib.sha256("\n".join((key, *prompts)).encode()).hexdigest()[:16]
    return cache_dir / "prompts" / f"{slug}-{digest}.npy"


def _read(path: Path, rows: int) -> Floats | None:
    try:
        kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent, or damaged: computed again
        return None
    if kept.ndim != 2 or len(kept) != rows or kept.dtype != np.float32:
        return None
    lengths = np.linalg.norm(kept, axis=1)
    return kept if bool(np.allclose(lengths, 1, atol=1e-2)) else None  # a flipped bit, or NaN


def _write(path: Path, embeddings: Floats) -> None:
    """Whole or not at all. A cache that can't be written costs time and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, embeddings)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
