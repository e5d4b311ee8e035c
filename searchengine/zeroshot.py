"""Zero-shot classification: which of the given labels a picture shows. Needs no library.

Source: Radford et al. 2021, sec. 3.1: a label becomes a few sentences (`config/`), their mean
embedding is its classifier, and the encoder's logit scale makes a softmax of the cosines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.encoder import Encoder
from indexer.errors import UsageError
from indexer.records import Decoded, Skipped
from searchengine.match import load_fit, probabilities_alone
from searchengine.prompts import label_templates

Floats = npt.NDArray[np.float32]
BATCH = 32
MAX_LABELS = 10_000
MANY_LABELS = 200  # more take seconds to embed


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label of one picture. `probability` is among the labels, or with `multi` its own."""

    label: str
    probability: float
    score: float  # cosine


@dataclass(frozen=True, slots=True)
class Classified:
    """One picture with its likeliest labels, best first."""

    path: str
    labels: tuple[LabelScore, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "labels": [
                {"label": s.label, "probability": s.probability, "score": s.score}
                for s in self.labels
            ],
        }


class Classifier:
    """Labels made ready for one encoder; `classify` then costs one embedding a picture."""

    def __init__(
        self, encoder: Encoder, labels: Sequence[str], *, prompts: Floats | None = None
    ) -> None:
        """With the unrelated prompts' embeddings each label is asked for by itself.

        Raises UsageError for labels that cannot work, EncoderError.
        """
        self.labels = checked_labels(labels, multi=prompts is not None)
        self.encoder = encoder
        self._embeddings = label_embeddings(encoder, self.labels)  # [L, D]
        self._prompts = prompts  # [P, D]

    def scores(self, pictures: Floats) -> tuple[Floats, Floats]:
        """Probabilities and cosines of pictures (K, D) with the labels, (K, L) each.

        Softmax of the cosines times the encoder's logit scale; or with prompts, for each label by
        itself, how likely a picture matches it: the match levels' logistic over where its cosine
        lies among those of the unrelated prompts.
        """
        cosines: Floats = pictures @ self._embeddings.T  # [K, L]
        if self._prompts is not None:
            references: Floats = pictures @ self._prompts.T  # [K, P]
            return probabilities_alone(load_fit("text"), cosines, references), cosines
        logits = self.encoder.logit_scale * cosines.astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: Floats = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        return probabilities, cosines

    def classify(
        self,
        paths: Sequence[str],
        *,
        top_k: int,
        workers: int,
        max_megapixels: float,
        on_look: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Iterator[Classified | Skipped]:
        """Each picture's likeliest labels in the paths' order, or why it could not be read.

        `on_look` is told how many are done, of how many.
        """
        from indexer.ahead import Ahead
        from indexer.decode import content_hash, decode, read_file

        def open_picture(path: str) -> Decoded | Skipped:
            data = read_file(path)
            if isinstance(data, Skipped):
                return data
            return decode(
                path,
                data,
                sha256=content_hash(data),
                target_px=self.encoder.image_size_px,
                max_megapixels=max_megapixels,
            )

        with Ahead(workers, 2 * BATCH) as ahead:
            waiting: list[tuple[str, Decoded | Skipped]] = []
            for done, outcome in enumerate(ahead.map(open_picture, paths), start=1):
                waiting.append(outcome)
                if len(waiting) == BATCH or done == len(paths):
                    yield from self._batch(waiting, top_k)
                    waiting = []
                    on_look(done, len(paths))

    def _batch(
        self, opened: Sequence[tuple[str, Decoded | Skipped]], top_k: int
    ) -> Iterator[Classified | Skipped]:
        images = [item.image for _, item in opened if isinstance(item, Decoded)]
        if images:
            probabilities, cosines = self.scores(self.encoder.encode_images(images))
        row = 0
        for path, item in opened:
            if isinstance(item, Skipped):
                yield item
                continue
            order = np.argsort(-probabilities[row], kind="stable")[:top_k]
            yield Classified(
                path,
                tuple(
                    LabelScore(
                        self.labels[at],
                        round(float(probabilities[row, at]), 6),
                        round(float(cosines[row, at]), 6),
                    )
                    for at in order.tolist()
                ),
            )
            row += 1


def label_embeddings(encoder: Encoder, labels: Sequence[str]) -> Floats:
    """The mean over the templates of each label, (L, D) float32, L2-normalised."""
    templates = label_templates()
    texts = [template.replace("{}", label) for label in labels for template in templates]
    embeddings = encoder.encode_texts(texts).reshape(len(labels), len(templates), -1)  # [L, T, D]
    mean = embeddings.mean(axis=1)
    unit: Floats = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    return unit


def checked_labels(labels: Sequence[str], *, multi: bool = False) -> tuple[str, ...]:
    """The labels with single spaces. Raises UsageError for none, one, an empty or a double one."""
    cleaned = tuple(" ".join(label.split()) for label in labels)
    if not any(cleaned):
        raise UsageError('There are no labels. Say them: --labels "cat,dog,car"')
    if not all(cleaned):
        raise UsageError(
            f"Label {cleaned.index('') + 1} of {len(cleaned)} is empty. Take out the extra comma."
        )
    seen: dict[str, str] = {}
    for label in cleaned:
        if label.casefold() in seen:
            raise UsageError(f"The label {label!r} is there twice. Leave one of them out.")
        seen[label.casefold()] = label
    if len(cleaned) == 1 and not multi:
        raise UsageError(
            f"With {cleaned[0]!r} alone every picture is 100 % of it. Add labels for what else "
            "pictures may show, or ask for each label by itself with --multi"
        )
    if len(cleaned) > MAX_LABELS:
        raise UsageError(f"These are {len(cleaned):,} labels; {MAX_LABELS:,} are the most.")
    return cleaned


def read_labels_file(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The labels of a UTF-8 file, one a line; `#` begins a comment line. Raises UsageError."""
    try:
        text = Path(os.path.expanduser(path)).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"There is no labels file {os.fspath(path)}. Check the spelling."
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The labels file {os.fspath(path)} is not UTF-8 (byte {error.start}). "
            "Save it as UTF-8 and run the same command again."
        ) from None
    except OSError as error:
        raise UsageError(
            f"The labels file {os.fspath(path)} cannot be read: {error.strerror}."
        ) from error
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def find_pictures(
    paths: Sequence[str | os.PathLike[str]], exclude: Sequence[str] = ()
) -> tuple[list[str], list[Skipped]]:
    """The pictures at these paths, folders walked by the rules of `index`; and what is none.

    A file that is named is taken whatever its suffix. Raises UsageError for a path where nothing
    lies.
    """
    from indexer.decode import PICTURE_SUFFIXES
    from indexer.scan import Scan, ScanRules

    found: list[str] = []
    skipped: list[Skipped] = []
    for given in paths:
        path = os.path.abspath(os.path.expanduser(os.fspath(given)))
        if os.path.isdir(path):
            scan = Scan(path, ScanRules(PICTURE_SUFFIXES, tuple(exclude)))
            for listing in scan:
                found += [file.path for file in listing.files]
                skipped += listing.skipped
            skipped += [
                Skipped(where, "cannot be read", why, is_permanent=False)
                for where, why in scan.errors
            ]
        elif os.path.isfile(path):
            found.append(path)
        elif os.path.exists(path):  # a FIFO would block whoever opens it
            skipped.append(Skipped(path, "not a regular file", is_permanent=False))
        else:
            raise UsageError(f"There is no picture or folder {path}. Check the spelling.")
    return list(dict.fromkeys(found)), skipped


def classify(
    *paths: str | os.PathLike[str],
    labels: Sequence[str],
    multi: bool = False,
    top_k: int | None = None,
    library: str | os.PathLike[str] | None = None,
    announce: Callable[[str], None] = lambda _: None,
    **settings: Any,
) -> list[Classified | Skipped]:
    """Which of the labels each picture shows; folders are walked. Needs no library.

    Args:
        labels: at least two words or phrases; with `multi` one will do.
        multi: each label's probability by itself, where several or none may hold.
        top_k: how many labels of each picture, best first; without it all.
        library: the one whose encoder is used, where it exists.
        settings: any field of `Settings`, such as ``encoder="starter"``.

    Raises UsageError, EncoderError.
    """
    from searchengine.app import open_library

    with open_library(library, announce=announce, **settings) as opened:
        return list(opened.classify(*paths, labels=labels, multi=multi, top_k=top_k))
