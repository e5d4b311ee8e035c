"""Whether a number counts things: no age, no time, no part of a name or compound."""

from __future__ import annotations

from collections.abc import Sequence

from searchengine.grammar.phrase import Gathered, Item, Phrase
from searchengine.grammar.quantities import Quantity
from searchengine.grammar.units import OPEN, Unit
from searchengine.grammar.words import Words


class NumberSense:
    """Judges the number of a noun phrase by its noun and by what stands around it."""

    def __init__(self, words: Words) -> None:
        self._words = words
        counting = words.table["counting"]
        self._people_groups = frozenset(counting["people_groups"])
        self._numbered = frozenset(counting["numbered"])
        self._numbered_parts = frozenset(counting["numbered_parts"])

    def is_counted(
        self,
        gathered: Gathered,
        quantity: Quantity,
        head: Unit | None,
        noun: str,
        before: Sequence[Item],
        units: Sequence[Unit],
        end: int,
    ) -> bool:
        """Whether the quantity says how many of the noun there are."""
        words = self._words
        previous = before[-1] if before else None
        if head is None:
            return True  # a family of four
        if quantity.terms[0][0] == "?":
            return not words.in_class(noun, "abstract")
        if {noun, words.plurals.one_of(noun)} & words.units or (
            words.in_class(noun, "abstract") and noun not in words.nouns.label_words
        ):
            return False
        if head.kind == "name" or (gathered.is_part and not gathered.has_determiner):
            return False
        if quantity.is_pair and words.plurals.is_only_plural(head.lower):
            return False
        last = head.lower.rpartition(" ")[2]
        is_plural = words.plurals.is_plural(last)
        if isinstance(previous, Unit) and previous.lower == "for" and words.is_person(noun):
            return False  # a bench for two people
        if quantity.terms[0][1] == 1:
            return self._is_one_counted(gathered, quantity, is_plural)
        if (
            len(gathered.nouns) > 1
            and any(unit.lower in self._numbered_parts for unit in gathered.nouns[:1])
            and not words.plurals.is_plural(gathered.nouns[0].lower)
        ):
            return False
        if (
            isinstance(previous, Unit)
            and previous.kind in ("word", "noun", "name")
            and (previous.lower in self._numbered or previous.kind == "name")
        ):
            return False
        if isinstance(previous, Phrase) and previous.noun.lower in self._numbered and not is_plural:
            return False
        if isinstance(previous, Phrase) and previous.is_name:
            return False
        if is_plural:
            return True
        if last in self._numbered_parts or gathered.determiner in ("a", "an", "this", "that"):
            return False
        if end < len(units) and units[end].kind in OPEN:
            return False  # ten pin bowling
        return len(gathered.nouns) == 1 and words.is_noun(last) and not isinstance(previous, Phrase)

    def _is_one_counted(self, gathered: Gathered, quantity: Quantity, is_plural: bool) -> bool:
        return not is_plural or gathered.is_part or not quantity.is_plain_one

    def people(self, units: Sequence[Unit], end: int, before: Sequence[Item]) -> str:
        """Who is counted where no noun follows: a family of four, three of us."""
        if len(before) > 1 and isinstance(before[-1], Unit) and before[-1].lower == "of":
            group = before[-2]
            if isinstance(group, Phrase) and group.noun in self._people_groups:
                return "person"
        is_part = 0 < end < len(units) and units[end - 1].lower.split()[-1] == "of"
        return "person" if is_part and units[end].lower in ("us", "them", "you") else ""
