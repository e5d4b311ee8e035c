"""Reads the word lists of `config/words/`: plain text, since tomllib needs 10 ms for 100 KB.

A file holds sections (``[name]``, the first may go without), comments (``#``) and words or phrases
between commas or line ends. Where a line says ``key: words``, the words belong to the key.
"""

from __future__ import annotations

from indexer.config_files import config_path


def read_words(name: str) -> dict[str, frozenset[str]]:
    """The sections of a list, each a set of words."""
    return {
        section: frozenset(word for part in ",".join(lines).split(",") if (word := part.strip()))
        for section, lines in _sections(name).items()
    }


def read_table(name: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """The sections of a list, each a table from a key to its words."""
    tables: dict[str, dict[str, tuple[str, ...]]] = {}
    for section, lines in _sections(name).items():
        table = tables.setdefault(section, {})
        for line in lines:
            key, _, words = line.partition(":")
            table[key.strip()] = tuple(word for part in words.split(",") if (word := part.strip()))
    return tables


def _sections(name: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines = sections.setdefault("", [])
    for line in config_path(f"words/{name}").read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            lines = sections.setdefault(line[1:-1], [])
        elif line:
            lines.append(line)
    return sections
