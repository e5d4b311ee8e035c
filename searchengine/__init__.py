"""Local-first semantic search for photo libraries: the search side and the command line."""

__version__ = "0.1.0"
