"""Third step of reading: units -> noun phrases, each with its number, attribute and noun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from searchengine.conditions import Operator
from searchengine.grammar.number_sense import NumberSense
from searchengine.grammar.phrase import Gathered, Item, Phrase
from searchengine.grammar.quantities import Quantity
from searchengine.grammar.units import OPEN, Unit
from searchengine.grammar.words import Words

_LIMITS: tuple[Operator, ...] = ("<", "<=", ">", ">=")


class PhraseReader:
    """Finds the noun phrases among the units of a sentence."""

    def __init__(self, words: Words) -> None:
        self._words = words
        counting = words.table["counting"]
        self._numbers = NumberSense(words)
        self._after: dict[str, Operator] = words.table["comparatives_after"]
        self._single = frozenset(counting["single"])
        self._single_of = frozenset(counting["single_of"])
        self._groups = frozenset(counting["groups"])
        attributes = words.table["attributes"]
        self._child_sizes = frozenset(attributes["child_sizes"])
        self._child_nouns = frozenset(attributes["child_nouns"])

    def read(self, units: Sequence[Unit]) -> list[Item]:
        """The sentence as phrases and what stands between them."""
        items: list[Item] = []
        at = 0
        while at < len(units):
            phrase, size, verbs = self._phrase(units, at, items)
            if phrase is None:
                items.append(units[at])
                at += 1
            else:
                items.append(phrase)
                items.extend(units[at + size : at + size + verbs])
                at += size + verbs
        return _ones_resolved(items)

    def _phrase(
        self, units: Sequence[Unit], at: int, before: Sequence[Item]
    ) -> tuple[Phrase | None, int, int]:
        gathered = Gathered()
        first = at
        while at < len(units):
            step = self._take(gathered, units, at, before)
            if step == 0:
                break
            at += step
        if not (gathered.nouns or gathered.attributes or gathered.quantity):
            return None, 0, 0
        phrase = self._finished(gathered, units, first, at, before)
        more, second = self._later_limit(phrase, units, at)
        if phrase.quantity and second:
            both = Quantity((*phrase.quantity.terms, *second.terms))
            phrase = replace(phrase, quantity=both, end=units[at + more - 1].end)
        return phrase, at + more - first, gathered.verbs

    def _later_limit(
        self, phrase: Phrase, units: Sequence[Unit], at: int
    ) -> tuple[int, Quantity | None]:
        """more than two cats BUT FEWER THAN FIVE: how many units, and what they say"""
        link = at
        while link < len(units) and units[link].lower in (",", "and", "but"):
            link += 1
        quantity = units[link].quantity if at < link < len(units) else None
        if (
            quantity is None
            or phrase.quantity is None
            or self._noun_follows(units, link + 1)
            or not all(
                len(each.terms) == 1 and each.terms[0][0] in _LIMITS
                for each in (phrase.quantity, quantity)
            )
        ):
            return 0, None
        return link + 1 - at, quantity

    def _take(
        self, gathered: Gathered, units: Sequence[Unit], at: int, before: Sequence[Item]
    ) -> int:
        """Adds the unit at `at` to the phrase; returns how many units were taken, 0 for none."""
        unit = units[at]
        begun = bool(gathered.nouns or gathered.attributes or gathered.adjectives)
        if unit.kind == "det":
            if begun or (gathered.determiner and unit.lower in ("that", "which")):
                return 0
            if unit.lower in ("that", "which", "what") and not self._noun_follows(units, at + 1):
                return 0
            gathered.determiner = unit.lower
            return 1
        if unit.kind == "num":
            return self._take_number(gathered, units, at, before)
        if unit.kind == "number":  # a year, a price
            return 1 if gathered.nouns or gathered.determiner else 0
        if unit.kind not in OPEN:
            if not gathered.nouns and gathered.attributes and self._joins_attributes(units, at):
                gathered.attributes += [
                    unit.lower if unit.lower != "," else ",",
                    units[at + 1].lower,
                ]
                return 2
            return 0
        if gathered.is_closed:
            return 0
        if unit.kind == "name":
            if gathered.nouns and not gathered.is_owned:
                return 0
            return self._take_noun(gathered, unit, units, at)
        if unit.kind == "noun":
            return self._take_noun(gathered, unit, units, at)
        return self._take_word(gathered, unit, units, at)

    def _take_number(
        self, gathered: Gathered, units: Sequence[Unit], at: int, before: Sequence[Item]
    ) -> int:
        unit = units[at]
        if gathered.nouns or gathered.quantity:
            return 0
        if gathered.attributes and not (unit.quantity and unit.quantity.is_pair):
            return 0
        if unit.lower == "one" and gathered.attributes:
            return 0
        gathered.quantity = unit.quantity
        size = 1
        while at + size < len(units) and units[at + size].kind in ("prep", "det", "adv"):
            if units[at + size].kind == "prep" and units[at + size].lower != "of":
                break
            is_number = unit.lower in self._words.numbers or unit.lower.isdecimal()
            gathered.is_part = gathered.is_part or (is_number and units[at + size].lower == "of")
            gathered.has_determiner = units[at + size].kind == "det"
            size += 1
        return size

    def _take_word(self, gathered: Gathered, unit: Unit, units: Sequence[Unit], at: int) -> int:
        words, lower = self._words, unit.lower
        follows = self._noun_follows(units, at + 1)
        if gathered.nouns:
            if lower.endswith("ing") and words.verb_base(lower) and not self._is_thing(lower):
                gathered.verbs = 1
                return 0
            if lower in words.adverbs and not words.is_noun(lower):
                return 0
            if not words.is_noun(lower) and (lower in words.adjectives or words.is_verb(lower)):
                return 0
            if self._is_verb_here(gathered, lower, units, at):
                gathered.verbs = 1
                return 0
            if lower.endswith("ed") and len(lower) > 4 and not words.is_noun(lower):
                return 0
            if lower in words.attributes and (lower in words.colours or not words.is_noun(lower)):
                return 0
            return self._take_noun(gathered, unit, units, at)
        has_number = gathered.quantity is not None and not gathered.quantity.is_plain_one
        if lower in self._single and follows and not has_number and not unit.is_possessive:
            following = units[at + 1].lower
            if following not in self._single_of and not words.is_verb(following):
                gathered.quantity = Quantity((("==", 1),))
                return 1
        is_attribute = lower in words.attributes or (
            lower in words.modifiers
            and at + 1 < len(units)
            and units[at + 1].lower in words.colours
        )
        may_be_noun = not follows and words.is_noun(lower) and lower not in words.colours
        if is_attribute and not unit.is_possessive and not may_be_noun:
            begun = gathered.determiner or gathered.quantity or gathered.attributes
            if begun and not follows and words.is_noun(lower):
                return self._take_noun(gathered, unit, units, at)  # an orange
            gathered.attributes.append(lower)
            return 1
        if words.is_noun(lower):
            if lower in words.adjectives and follows:
                gathered.adjectives.append(lower)
                return 1
            return self._take_noun(gathered, unit, units, at)
        if lower in words.adjectives or lower.endswith("ly") or lower in words.adverbs:
            if follows:
                gathered.adjectives.append(lower)
                return 1
            return 0
        if words.is_verb(lower):
            if self._is_participle_before_noun(gathered, units, at):
                gathered.adjectives.append(lower)
                return 1
            return 0
        if lower.endswith(("ing", "ed")) and len(lower) > 5 and not unit.is_possessive:
            if self._is_participle_before_noun(gathered, units, at):
                gathered.adjectives.append(lower)
                return 1
            return 0
        if "-" in lower and follows:
            gathered.adjectives.append(lower)
            return 1
        return self._take_noun(gathered, unit, units, at)

    def _is_participle_before_noun(
        self, gathered: Gathered, units: Sequence[Unit], at: int
    ) -> bool:
        """four RUNNING horses, but not "a family of four HAVING breakfast\""""
        begun = (
            gathered.determiner or gathered.quantity or gathered.attributes or gathered.adjectives
        )
        if not begun or not self._noun_follows(units, at + 1):
            return False
        if gathered.attributes and not gathered.determiner and not gathered.quantity:
            return False  # a woman in white HOLDING red roses
        wants_plural = gathered.quantity is not None and not gathered.quantity.is_one
        return not wants_plural or self._plural_follows(units, at + 1)

    def _plural_follows(self, units: Sequence[Unit], at: int) -> bool:
        while at < len(units) and units[at].kind in ("word", "noun"):
            last = units[at].lower.rpartition(" ")[2]
            if self._words.is_noun(last) and self._words.plurals.is_plural(last):
                return True
            at += 1
        return False

    def _take_noun(self, gathered: Gathered, unit: Unit, units: Sequence[Unit], at: int) -> int:
        if unit.is_possessive:
            if not self._noun_follows(units, at + 1):
                gathered.nouns.append(unit)  # the cat's in the sink
                gathered.is_closed = True
                return 1
            gathered.nouns.clear()
            gathered.attributes.clear()
            gathered.is_owned = True
            return 1
        gathered.nouns.append(unit)
        last = unit.lower.rpartition(" ")[2]
        if self._words.plurals.is_plural(last) and not self._words.plurals.is_uncountable(last):
            gathered.is_closed = not (
                at + 1 < len(units)
                and units[at + 1].kind in OPEN
                and gathered.quantity is not None
                and self._words.plurals.is_only_plural(last)
            )
        return 1

    def _is_verb_here(self, gathered: Gathered, lower: str, units: Sequence[Unit], at: int) -> bool:
        """After a noun: walks, sits, plays are verbs unless a plural is wanted."""
        words = self._words
        if lower in words.verb_forms and not words.is_noun(lower):
            return True
        if not lower.endswith("s") or lower.endswith("ss"):
            return False
        wants_plural = gathered.quantity is not None and not gathered.quantity.is_one
        if wants_plural or not gathered.determiner or not words.verb_base(lower):
            return False
        if at + 1 < len(units) and units[at + 1].kind in ("det", "num"):
            return True
        noun = gathered.nouns[-1].lower
        return words.is_animate(noun) or not self._is_thing(lower)

    def _is_thing(self, lower: str) -> bool:
        noun = self._words.plurals.singular(lower)
        return self._words.in_class(
            noun, "object", "place", "scenery", "clothing", "container", "food", "group"
        )

    def _noun_follows(self, units: Sequence[Unit], at: int) -> bool:
        """Whether what stands at `at` may go on a noun phrase towards its noun."""
        if at >= len(units):
            return False
        unit = units[at]
        words = self._words
        if unit.kind in ("noun", "name"):
            return True
        if unit.kind == "less":
            return self._noun_follows(units, at + 1)
        if unit.kind == "num":
            return bool(unit.quantity and unit.quantity.is_pair)
        if unit.kind != "word":
            return False
        if words.is_noun(unit.lower) or unit.lower in ("one", "ones"):
            return True
        if unit.lower in words.attributes or unit.lower in words.adjectives:
            return self._noun_follows(units, at + 1) or (
                unit.lower in words.colours and unit.lower not in words.adjectives
            )
        if unit.lower in words.adverbs or unit.lower.endswith("ly"):
            return self._noun_follows(units, at + 1) and not words.is_noun(unit.lower)
        if words.is_verb(unit.lower):
            return words.is_participle(unit.lower) and self._is_noun_at(units, at + 1)
        return not (unit.lower.endswith(("ing", "ed")) and len(unit.lower) > 5)

    def _is_noun_at(self, units: Sequence[Unit], at: int) -> bool:
        """WALKING boots: a participle goes on towards a noun that stands right behind it."""
        return at < len(units) and (
            units[at].kind == "noun"
            or (units[at].kind == "word" and self._words.is_noun(units[at].lower))
        )

    def _joins_attributes(self, units: Sequence[Unit], at: int) -> bool:
        """red AND white striped: both belong to the noun that follows."""
        words = self._words
        if at + 1 >= len(units) or units[at].lower not in ("and", ",", "&"):
            return False
        following = units[at + 1]
        return (
            following.kind == "word"
            and following.lower in words.attributes
            and units[at - 1].lower in words.attributes
            and (self._noun_follows(units, at + 2) or self._joins_attributes(units, at + 2))
            and not (words.is_noun(following.lower) and following.lower not in words.colours)
        )

    def _finished(
        self,
        gathered: Gathered,
        units: Sequence[Unit],
        first: int,
        end: int,
        before: Sequence[Item],
    ) -> Phrase:
        words = self._words
        head = gathered.nouns[-1] if gathered.nouns else None
        quantity = gathered.quantity
        noun, is_plural = "", False
        if head is not None:
            last = head.lower.rpartition(" ")[2]
            is_plural = words.plurals.is_plural(last)
            noun = head.text if head.kind == "name" else self._singular(head, quantity)
        if quantity is not None and not self._numbers.is_counted(
            gathered, quantity, head, noun, before, units, end
        ):
            quantity = None
        if quantity is not None and head is None:
            noun = self._numbers.people(units, end, before)
            quantity = quantity if noun else None
        if quantity is not None and len(quantity.terms) == 1:
            after = self._after.get(" ".join(unit.lower for unit in units[end : end + 2]))
            if after and quantity.terms[0][0] == "==":  # seven people or more
                quantity = replace(quantity, terms=((after, quantity.terms[0][1]),))
        attributes = gathered.attributes
        if head is not None and self._is_child(attributes, head.lower):
            attributes = [word for word in attributes if word not in self._child_sizes]
        return Phrase(
            noun,
            units[first].start,
            units[end - 1].end,
            _attribute(attributes),
            tuple(gathered.adjectives),
            quantity,
            gathered.determiner,
            is_plural,
            head is not None and head.kind == "name",
            gathered.is_owned,
            (noun in self._groups or words.in_class(noun, "group"))
            and end < len(units)
            and units[end].lower == "of",
        )

    def _singular(self, head: Unit, quantity: Quantity | None) -> str:
        plurals = self._words.plurals
        lower = head.lower
        if (
            quantity is not None
            and not quantity.is_pair
            and lower in ("glasses", "shades", "scales")
        ):
            return plurals.one_of(lower)
        return plurals.singular(lower)

    def _is_child(self, attributes: Sequence[str], head: str) -> bool:
        noun = self._words.plurals.singular(head)
        return noun in self._child_nouns and noun not in ("one", "ones") and bool(attributes)


def _attribute(words: Sequence[str]) -> str:
    return " ".join(words).replace(" ,", ",")


def _ones_resolved(items: list[Item]) -> list[Item]:
    """A green apple and a yellow ONE: the noun is that of the phrase before."""
    resolved: list[Item] = []
    noun = ""
    for item in items:
        if isinstance(item, Phrase):
            if item.noun in ("one", "ones") or (not item.noun and item.determiner):
                item = replace(item, noun=noun if item.attribute else item.noun)
            elif item.noun:
                noun = item.noun
        resolved.append(item)
    return resolved
