"""First stage of a query's way: what the user gave -> `Query`, the weighted parts to search by."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from indexer.errors import UsageError

_WEIGHT = re.compile(r"^(\d+(?:\.\d+)?):\s*(.+)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: a sentence, a picture's path, or a picture, with its weight."""

    subject: str | Path | Image.Image
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """What to search by: the weighted sum of the terms' embeddings.

    `text` is what results call the query: the sentence, or the picture's path. `leave_out` is the
    path of a file that may not answer: the picture that is searched by.
    """

    text: str
    terms: tuple[Term, ...]
    leave_out: str | None = None


def parse(text: str, *, add: Sequence[str] = (), subtract: Sequence[str] = ()) -> Query:
    """Reads a sentence and what is to be added to it or taken away.

    Each of `add` and `subtract` is a sentence or a picture's path, after an optional weight as in
    ``2:golden retriever``. Raises UsageError where there is nothing to search by.
    """
    text = " ".join(text.split())
    terms = [Term(text)] if text else []
    terms += [_term(part, sign=1) for part in add]
    if not terms:
        raise UsageError("The query is empty. Say what the picture shows: searchengine search dog")
    terms += [_term(part, sign=-1) for part in subtract]
    return Query(text, tuple(terms))


def parse_similar(
    picture: Path | Image.Image, *, add: Sequence[str] = (), subtract: Sequence[str] = ()
) -> Query:
    """A query by a picture, with the same arithmetic; the file itself is left out of the answer."""
    return Query(
        str(picture) if isinstance(picture, Path) else "(picture)",
        (
            Term(picture),
            *(_term(part, sign=1) for part in add),
            *(_term(part, sign=-1) for part in subtract),
        ),
        leave_out=os.path.abspath(picture) if isinstance(picture, Path) else None,
    )


def _term(part: str, *, sign: int) -> Term:
    match = _WEIGHT.match(part)
    weight, subject = (float(match[1]), match[2]) if match else (1.0, part)
    subject = " ".join(subject.split())
    if not subject:
        raise UsageError("--add and --subtract take a text or a picture; one of them is empty.")
    if weight == 0:
        raise UsageError(
            f"The weight of {subject!r} is 0; leave it out, or give it a weight above."
        )
    path = Path(subject).expanduser()
    return Term(path if _is_file(path) else subject, sign * weight)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a sentence may be too long for a name, or hold a null byte
        return False
