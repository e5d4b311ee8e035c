"""Phrases of several words, found in a sentence the longest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")

NUMBER = "NUM"  # stands in a phrase for any number


class PhraseTable(Generic[Value]):
    """From phrases to values: `longest` asks which phrase begins at a word."""

    def __init__(self, phrases: Iterable[tuple[str, Value]]) -> None:
        self._by_first: dict[str, list[tuple[tuple[str, ...], Value]]] = {}
        for phrase, value in phrases:
            parts = tuple(phrase.split())
            self._by_first.setdefault(parts[0], []).append((parts, value))
        for candidates in self._by_first.values():
            candidates.sort(key=lambda candidate: -len(candidate[0]))

    def longest(
        self, lowers: Sequence[str], at: int, numbers: Sequence[bool] = ()
    ) -> tuple[int, Value] | None:
        """How many words the longest phrase at `at` has, and its value; None where none begins."""
        firsts = [lowers[at]]
        if numbers and numbers[at]:
            firsts.append(NUMBER)
        best: tuple[int, Value] | None = None
        for first in firsts:
            for parts, value in self._by_first.get(first, ()):
                size = len(parts)
                if best is not None and size <= best[0]:
                    break
                if at + size <= len(lowers) and all(
                    lowers[at + offset] == part
                    or (part == NUMBER and numbers and numbers[at + offset])
                    for offset, part in enumerate(parts)
                ):
                    best = (size, value)
                    break
        return best
