"""Local-first semantic search for photo libraries: the search side and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchengine.app import Library, open_library
    from searchengine.zeroshot import classify

__all__ = ["Library", "__version__", "classify", "open_library"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # `searchengine --help` imports this package too, and needs neither NumPy nor SQLAlchemy
    if name in ("Library", "open_library"):
        from searchengine import app

        return getattr(app, name)
    if name == "classify":
        from searchengine.zeroshot import classify

        return classify
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
