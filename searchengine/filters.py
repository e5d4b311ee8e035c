"""Which pictures may answer at all: folders, dates, cameras, as the user writes them."""

from __future__ import annotations

import os
import re
from datetime import datetime

from indexer.errors import UsageError
from indexer.records import Filter

_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}(:\d{2}(:\d{2})?)?)?)?)?")


def make_filter(
    *,
    under: tuple[str, ...] = (),
    after: str | None = None,
    before: str | None = None,
    camera: str | None = None,
) -> Filter:
    """Checks and normalises what the user gave. Raises UsageError."""
    return Filter(
        under=tuple(os.path.abspath(os.path.expanduser(path)) for path in under),
        after=_date(after, "--after"),
        before=_date(before, "--before"),
        camera=camera.strip() if camera else None,
    )


def _date(text: str | None, flag: str) -> str | None:
    if text is None:
        return None
    text = text.strip()
    match = _DATE.fullmatch(text)
    if match:
        padded = text.replace(" ", "T") + "0000-01-01T00:00:00"[len(text) :]
        try:
            datetime.fromisoformat(padded)
        except ValueError:
            match = None
    if not match:
        raise UsageError(f"{flag} is {text!r}; it takes a date: 2024, 2024-05 or 2024-05-31.")
    return text.replace(" ", "T")
