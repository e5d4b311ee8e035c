"""First stage of a query's way: what the user gave -> `Query`, the weighted parts to search by."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from indexer.errors import UsageError
from searchengine import grammar
from searchengine.conditions import Conditions

_WEIGHT = re.compile(r"^([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?):\s*(.+)$", re.DOTALL | re.IGNORECASE)
_MAX_WEIGHT = 1e6  # far beyond use, and far within float32
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: a sentence, a picture's path, or a picture, with its weight."""

    subject: str | Path | Image.Image
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """What to search by: the weighted sum of the terms' embeddings.

    `text` is what results call the query: the sentence, or the picture's path. `leave_out` is the
    path of a file that may not answer: the picture that is searched by. `conditions` is what a
    lone sentence demands beyond its embedding; None where pictures or weights are in play.
    """

    text: str
    terms: tuple[Term, ...]
    leave_out: str | None = None
    conditions: Conditions | None = None

    @property
    def kind(self) -> Literal["text", "picture"]:
        """Which cosines its answers have: those with a picture in it are of another size."""
        return "text" if all(isinstance(term.subject, str) for term in self.terms) else "picture"


def parse(text: str, *, add: Sequence[str] = (), subtract: Sequence[str] = ()) -> Query:
    """Reads a sentence and what is to be added to it or taken away.

    Each of `add` and `subtract` is a sentence or a picture's path, after an optional weight as in
    ``2:golden retriever``. Raises UsageError where there is nothing to search by, for a weight
    out of range, and for what is written like a picture's path where no file lies.
    """
    text = _sentence(text)
    terms = [Term(text)] if text else []
    terms += [_term(part, sign=1) for part in add]
    if not terms:
        raise UsageError("The query is empty. Say what the picture shows: searchengine search dog")
    terms += [_term(part, sign=-1) for part in subtract]
    conditions = grammar.read(text) if text and len(terms) == 1 else None
    return Query(text, tuple(terms), conditions=conditions)


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
    if not subject.strip():
        raise UsageError("--add and --subtract take a text or a picture; one of them is empty.")
    if not (math.isfinite(weight) and 0 < weight <= _MAX_WEIGHT):
        raise UsageError(
            f"The weight of {_sentence(subject)!r} is {weight:g}; "
            f"it must be above 0 and at most {_MAX_WEIGHT:,.0f}."
        )
    return Term(_picture(subject) or _sentence(subject), sign * weight)


def _picture(subject: str) -> Path | None:
    """The path, if that is what was given: a word without both separator and suffix is a word.

    Raises UsageError for what can only be a path, but of no file.
    """
    has_separator = os.sep in subject or bool(os.altsep and os.altsep in subject)
    has_suffix = _has_picture_suffix(subject)
    if not has_separator and not has_suffix:
        return None
    for candidate in (subject, subject.strip()):  # a name may begin or end with a space
        path = os.path.expanduser(candidate)
        if os.path.isfile(path):
            return Path(path)
    is_one_word = len(subject.split()) == 1
    if is_one_word or (has_separator and has_suffix):
        raise UsageError(f"There is no picture {subject.strip()}. Check the spelling.")
    return None  # "a black/white photo"


def _has_picture_suffix(subject: str) -> bool:
    suffix = os.path.splitext(subject.strip())[1].lower()
    if len(suffix) < 2 or " " in suffix:
        return False
    from indexer.decode import PICTURE_SUFFIXES  # slow to import, and few sentences hold a dot

    return suffix in PICTURE_SUFFIXES


def _sentence(text: str) -> str:
    """For the tokenizer: single spaces, and what is not UTF-8 replaced (a path would keep it)."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))
