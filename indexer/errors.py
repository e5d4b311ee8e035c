"""The error tree of both packages. Libraries raise; only `searchengine.cli` prints or exits.

    SearchEngineError (3)
    ├── UsageError (2)               a flag, a path or a query that cannot work as given
    │   ├── UnknownEncoder           no such name; the message lists the nearest ones
    │   ├── EncoderMismatch          the library was indexed with another encoder
    │   └── UnknownDetector          no such name; the message lists the nearest ones
    ├── EncoderError                 an encoder could not be built or gave unusable output
    │   └── EncoderUnavailable       weights are not cached and the hub does not answer
    ├── DetectorError                a detector could not be built or gave unusable output
    │   └── DetectorUnavailable      weights are not cached and the hub does not answer
    └── LibraryError                 the library on disk cannot be used as it is
        ├── LibraryTooNew            written by a newer version
        ├── LibraryLocked            another process is writing
        └── StorageFull              no space left on the device

The number is the exit code of the command line. Every message says what, which, and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class SearchEngineError(Exception):
    """Base of all errors this project raises on purpose; `str(error)` is fit for a user."""

    exit_code: ClassVar[int] = 3


class UsageError(SearchEngineError):
    """What was asked for cannot work as given."""

    exit_code: ClassVar[int] = 2


class UnknownEncoder(UsageError):
    """No encoder of that name in the catalogue nor in open_clip's list."""


class EncoderMismatch(UsageError):
    """The library holds no embeddings of the encoder that was asked for."""


class UnknownDetector(UsageError):
    """No detector of that name in the catalogue, and no folder that holds one."""


class EncoderError(SearchEngineError):
    """An encoder could not be built, or its output is not usable."""


class EncoderUnavailable(EncoderError):
    """The weights are neither cached nor to be had from the hub now."""


class DetectorError(SearchEngineError):
    """A detector could not be built, or its output is not usable."""


class DetectorUnavailable(DetectorError):
    """The weights are neither cached nor to be had from the hub now."""


class LibraryError(SearchEngineError):
    """The library on disk cannot be used as it is."""


class LibraryTooNew(LibraryError):
    """The library was written by a newer version of searchengine."""


class LibraryLocked(LibraryError):
    """Another process is writing to the library."""


class StorageFull(LibraryError):
    """The disk that holds the library is full."""
