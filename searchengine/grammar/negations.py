"""What must not be there: "without people", "hatless", "a cat that isn't black"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from searchengine.conditions import Thing
from searchengine.grammar.phrase import Item, Phrase
from searchengine.grammar.units import Unit
from searchengine.grammar.words import Words


@dataclass(frozen=True, slots=True)
class Absence:
    """What is absent, the characters that say so, and the items they cover."""

    things: tuple[Thing, ...]
    start: int
    end: int
    first: int  # items [first, last)
    last: int


class NegationReader:
    """Finds the absences among the items of a sentence."""

    def __init__(self, words: Words) -> None:
        self._words = words
        table = words.table["negation"]
        self._having = frozenset(table["having"])
        self._be = frozenset(table["be"])
        self._signs = frozenset(table["signs"])
        self._leading = frozenset(table["leading"])
        self._scene_prepositions = frozenset(table["scene_prepositions"])
        self._joining = frozenset(table["joining"])

    def read(self, items: Sequence[Item], text: str) -> list[Absence]:
        """The absences, in the order of the sentence."""
        absences: list[Absence] = []
        at = 0
        while at < len(items):
            absence = self._at(items, at)
            if absence is None:
                at += 1
                continue
            absences.append(absence)
            at = max(absence.last, at + 1)
        return absences

    def _at(self, items: Sequence[Item], at: int) -> Absence | None:
        item = items[at]
        if isinstance(item, Phrase):
            return None
        if item.kind == "less":
            return self._made([Thing(item.value)], items, at, at + 1, bare=True)
        if item.kind == "neg":
            return self._before(items, at)
        if item.kind == "absent":
            return self._after(items, at)
        if item.kind in ("negative", "nobody"):
            return self._verb(items, at)
        return None

    def _before(self, items: Sequence[Item], at: int) -> Absence | None:
        """without ..., no ..."""
        words = self._words
        position = at + 1
        while position < len(items) and self._is_filler(items[position]):
            position += 1
        if position < len(items):
            following = items[position]
            if isinstance(following, Unit) and following.kind in ("nobody", "pron"):
                position += 1
                if following.kind == "nobody" or following.lower in ("anyone", "anybody"):
                    return self._made([Thing("person")], items, at, position)
                return None
            if isinstance(following, Unit) and following.kind in ("text", "mark"):
                return None
        things, end = self._things(items, position)
        if not things:
            return None
        if self._is_sign(items, at) or self._is_invisible(things[0], items, at):
            return None
        if words.in_class(things[0].noun, "abstract") and len(things) == 1:
            unit = items[at]
            if isinstance(unit, Unit) and unit.lower == "no":
                return None
        return self._made(things, items, at, end)

    def _is_sign(self, items: Sequence[Item], at: int) -> bool:
        """a NO SWIMMING sign"""
        for item in items[at : at + 5]:
            if isinstance(item, Unit) and item.kind == "mark":
                break
            if isinstance(item, Phrase) and item.noun in self._signs:
                return item is not items[at + 1] if at + 1 < len(items) else True
        return False

    def _is_invisible(self, thing: Thing, items: Sequence[Item], at: int) -> bool:
        return self._words.in_class(thing.noun, "invisible") and not thing.attribute

    def _is_filler(self, item: Item) -> bool:
        """any, a single, wearing: between the negative and its noun"""
        if isinstance(item, Phrase):
            return False
        if item.kind in ("text", "mark", "rel", "conj", "nobody"):
            return False
        words = self._words
        return (
            item.kind in ("det", "neg", "negative", "prep", "aux")
            or item.lower in self._having
            or words.is_participle(item.lower)
            or item.lower in words.adverbs
        )

    def _things(self, items: Sequence[Item], position: int) -> tuple[list[Thing], int]:
        """The nouns from `position` on, with those that "or" and "and" add."""
        things: list[Thing] = []
        first: Phrase | None = None
        while position < len(items):
            item = items[position]
            if not isinstance(item, Phrase):
                break
            if not item.noun and not item.attribute:
                break
            if first is not None and item.quantity is not None:
                break
            first = first or item
            things.append(item.thing if item.noun else Thing(item.attribute))
            if position + 2 < len(items) and isinstance(items[position + 1], Unit):
                link = items[position + 1]
                assert isinstance(link, Unit)
                nxt = position + 2
                if link.lower in ("or", "nor", "and", "&", ","):
                    while _lower(items, nxt) in self._joining:
                        nxt += 1
                    after = items[nxt] if nxt < len(items) else None
                    if (
                        isinstance(after, Phrase)
                        and after.noun
                        and self._goes_on(items, link, first, after, nxt, position)
                    ):
                        position = nxt
                        continue
            position += 1
            break
        return things, position

    def _goes_on(
        self,
        items: Sequence[Item],
        link: Unit,
        first: Phrase,
        after: Phrase,
        at: int,
        position: int,
    ) -> bool:
        """Whether what follows the link is denied as well."""
        if after.quantity is not None:
            return False
        if link.lower in ("or", "nor"):
            return True
        denied = at > position + 2 and any(
            isinstance(item, Unit) and item.lower in self._joining - {"and"}
            for item in items[position + 2 : at]
        )
        if denied:
            return True
        if link.lower == ",":
            later = items[at + 1] if at + 1 < len(items) else None
            return (
                isinstance(later, Unit)
                and later.lower in ("or", "and", "nor", ",")
                and (
                    at + 2 < len(items)
                    and isinstance(items[at + 2], Phrase | Unit)
                    and not after.determiner
                )
            )
        follower = items[at + 1] if at + 1 < len(items) else None
        is_clause = isinstance(follower, Unit) and follower.kind == "word"
        return (
            bool(after.determiner) == bool(first.determiner)
            and not after.attribute
            and not is_clause
        )

    def _after(self, items: Sequence[Item], at: int) -> Absence | None:
        """computer NOWHERE TO BE SEEN"""
        for position in range(at - 1, -1, -1):
            item = items[position]
            if isinstance(item, Phrase):
                if not item.noun:
                    return None
                return self._made([item.thing], items, position, at + 1)
            if item.kind not in ("aux", "word"):
                return None
        return None

    def _verb(self, items: Sequence[Item], at: int) -> Absence | None:
        """not wearing a hat, hasn't got olives, isn't black, nobody on it"""
        unit = items[at]
        assert isinstance(unit, Unit)
        words = self._words
        position = at + 1
        saw_verb = False
        if unit.lower == "none" and _lower(items, position) == "of":
            position += 2  # of the kids, of them
        while position < len(items):
            item = items[position]
            if isinstance(item, Phrase):
                break
            if (
                item.lower in self._having
                or (
                    item.kind in ("word", "noun")
                    and words.is_verb(item.lower)
                    and not words.is_noun(item.lower)
                )
                or (
                    unit.kind == "negative"
                    and item.kind == "rel"
                    and position == at + 1
                    and item.lower in ("on", "in")
                )
            ):
                saw_verb = True
            elif not (
                item.kind in ("aux", "det", "negative")
                or item.lower in words.adverbs
                or item.lower in self._be
                or item.lower == "any"
            ):
                break
            position += 1
        following = items[position] if position < len(items) else None
        if unit.kind == "nobody" or unit.lower in ("nobody", "no-one", "noone"):
            if saw_verb and isinstance(following, Phrase) and following.noun:
                things, end = self._things(items, position)
                if not words.in_class(things[0].noun, "abstract", "scenery"):
                    return self._made(things, items, at, end)
            return self._made([Thing("person")], items, at, at + 1)
        if isinstance(following, Phrase):
            return self._denied(items, at, position, following, unit, saw_verb)
        if (
            isinstance(following, Unit)
            and following.kind == "word"
            and following.lower in words.adjectives
            and position == at + 1
        ):
            return None
        return None

    def _denied(
        self,
        items: Sequence[Item],
        at: int,
        position: int,
        following: Phrase,
        unit: Unit,
        saw_verb: bool,
    ) -> Absence | None:
        words = self._words
        subject = self._subject(items, at)
        if following.quantity is not None and not following.quantity.is_one:
            return None  # not two dogs: perhaps three
        if not following.noun or (
            following.attribute and following.noun == (subject.noun if subject else "")
        ):
            if subject is None or not following.attribute:
                return None
            thing = Thing(following.noun or subject.noun, following.attribute)
            return self._made([thing], items, at, position + 1)
        things, end = self._things(items, position)
        if not things or (
            words.in_class(things[0].noun, "abstract", "invisible", "scenery") and not saw_verb
        ):
            return None
        if words.in_class(things[0].noun, "abstract"):
            return None
        if (
            unit.lower in ("none", "not", "never")
            or saw_verb
            or unit.lower in words.table["negation"]["negatives"]
        ):
            return self._made(things, items, at, end)
        return None

    def _subject(self, items: Sequence[Item], at: int) -> Phrase | None:
        for item in reversed(items[:at]):
            if isinstance(item, Phrase):
                return item if item.noun else None
            if item.kind == "mark":
                return None
        return None

    def _made(
        self,
        things: Sequence[Thing],
        items: Sequence[Item],
        first: int,
        last: int,
        *,
        bare: bool = False,
    ) -> Absence:
        """The absence, stretched over the words that go with it on both sides."""
        start, end = items[first].start, items[last - 1].end
        if bare:
            return Absence(tuple(things), start, end, first, last)
        while first > 0:
            item = items[first - 1]
            if not isinstance(item, Unit):
                break
            goes_with = (
                item.kind in ("conj", "mark", "aux", "pron", "det")
                or item.lower in self._be
                or item.lower in self._leading
            )
            if not goes_with or (item.kind == "mark" and item.lower not in ",;-–—:("):
                break
            first -= 1
            start = item.start
        while last < len(items):
            item = items[last]
            if isinstance(item, Unit) and item.kind in ("neg", "negative", "nobody", "less"):
                break
            if isinstance(item, Phrase):
                if _kind(items, last - 1) in ("rel", "prep", "word"):
                    last += 1
                    end = item.end
                    continue
                break
            if item.kind == "mark" or (
                item.kind == "conj" and item.lower in ("and", "but", "or", "&", "with", "while")
            ):
                break
            if item.kind in ("rel", "prep") and item.lower in self._scene_prepositions | {"with"}:
                following = items[last + 1] if last + 1 < len(items) else None
                if isinstance(following, Phrase) and self._is_scene(following):
                    break
                if item.lower == "with":
                    break
            last += 1
            end = item.end
        return Absence(tuple(things), start, end, first, last)

    def _is_scene(self, phrase: Phrase) -> bool:
        words = self._words
        return (
            words.in_class(phrase.noun, "scenery", "place", "abstract")
            or phrase.is_name
            or not words.is_noun(phrase.noun.lower())
        )


def _lower(items: Sequence[Item], at: int) -> str:
    item = items[at] if 0 <= at < len(items) else None
    return item.lower if isinstance(item, Unit) else ""


def _kind(items: Sequence[Item], at: int) -> str:
    item = items[at] if 0 <= at < len(items) else None
    return item.kind if isinstance(item, Unit) else ""
