"""Where things lie to each other: relation phrases, their subjects and their objects."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import cast

from searchengine.conditions import Relation, RelationName
from searchengine.grammar.phrase import Item, Phrase
from searchengine.grammar.place_rules import PlaceRules
from searchengine.grammar.units import Unit
from searchengine.grammar.words import Words


@dataclass(frozen=True, slots=True)
class Found:
    """A relation and the characters of the sentence that say it."""

    relation: Relation
    start: int
    end: int


class RelationReader:
    """Finds the relations among the items of a sentence."""

    def __init__(self, words: Words) -> None:
        self._words = words
        table = words.table
        self._bare: dict[str, str] = table["relation_words"]["bare"]
        rules = table["relation_rules"]
        self._ties = frozenset(rules["ties"])
        self._wearing = frozenset(rules["wearing"])
        self._need_object = frozenset(rules["need_object"])
        self._between = frozenset(rules["between"])
        self._rules = PlaceRules(words)

    def read(self, items: Sequence[Item]) -> list[Found]:
        """The relations, in the order of the sentence, each once."""
        found: list[Found] = []
        for at, item in enumerate(items):
            if isinstance(item, Unit):
                if item.kind == "rel":
                    found += self._at_relation(items, at)
                elif item.kind == "side":
                    found += self._with_side(items, at)
        found += self._sides(items) if not found else []
        unique: list[Found] = []
        for one in found:
            if one.relation not in [other.relation for other in unique]:
                unique.append(one)
        return unique

    def _at_relation(self, items: Sequence[Item], at: int) -> list[Found]:
        unit = cast(Unit, items[at])
        name = cast(RelationName, unit.value)
        if at and getattr(items[at - 1], "kind", "") == "negative":
            return []  # a dog not left of a cat: every other place would do
        target = self._object_after(items, at)
        if target is None:
            return self._without_object(items, at, name)
        obj = cast(Phrase, items[target])
        subject_at = self._subject(items, at, name, obj)
        if subject_at is None:
            return self._fronted(items, at, target, name)
        subject = cast(Phrase, items[subject_at])
        if not self._rules.holds(items, at, name, subject, obj):
            return []
        found = [Found(Relation(subject.thing, name, obj.thing), unit.start, unit.end)]
        if name == "between" and not obj.quantity:
            second = self._second(items, target)
            if second is not None:
                found.append(
                    Found(Relation(subject.thing, name, second.thing), unit.start, unit.end)
                )
            elif not obj.is_plural:
                return []
        return found

    def _object_after(self, items: Sequence[Item], at: int) -> int | None:
        """The phrase that the relation governs."""
        if at + 1 < len(items) and isinstance(items[at + 1], Phrase):
            phrase = cast(Phrase, items[at + 1])
            if phrase.is_group and at + 3 < len(items) and isinstance(items[at + 3], Phrase):
                return at + 3
            return at + 1 if phrase.noun else None
        return None

    def _second(self, items: Sequence[Item], target: int) -> Phrase | None:
        """The other of two: between a tree AND A LAMP POST."""
        if target + 2 < len(items):
            link, second = items[target + 1], items[target + 2]
            if isinstance(link, Unit) and link.lower in ("and", "&") and isinstance(second, Phrase):
                return second if second.noun else None
        return None

    def _subject(
        self, items: Sequence[Item], at: int, name: RelationName, obj: Phrase
    ) -> int | None:
        """The position of the phrase that stands in the relation, or None."""
        words = self._words
        position = at - 1
        verb = ""
        while position >= 0:
            item = items[position]
            if isinstance(item, Phrase):
                if item.noun not in self._between:
                    break
                position -= 1
                continue
            if (
                item.kind == "mark"
                and item.lower == ","
                and self._only_adverbs(items, position + 1, at)
            ):
                position -= 1
                continue
            if item.kind in ("mark", "conj") and item.lower not in ("that", "which", "who"):
                return None
            if item.kind == "rel" and item.value == "inside" and position + 1 == at:
                return None
            if item.kind in ("word", "noun") and words.is_verb(item.lower):
                verb = verb or words.verb_base(item.lower) or item.lower
            position -= 1
        if position < 0:
            return None
        return self._climbed(items, position, verb, name, obj)

    def _only_adverbs(self, items: Sequence[Item], first: int, last: int) -> bool:
        """a plane coming in, VERY LOW above the roofs: the comma parts nothing"""
        return first < last and all(
            isinstance(item, Unit)
            and item.kind == "word"
            and (
                item.lower in self._words.adverbs
                or item.lower in self._words.adjectives
                or self._words.is_participle(item.lower)
            )
            for item in items[first:last]
        )

    def _climbed(
        self, items: Sequence[Item], position: int, verb: str, name: RelationName, obj: Phrase
    ) -> int | None:
        """From the nearest phrase up to the one it only describes: a man in a cap -> a man."""
        words = self._words
        on_body = words.in_class(obj.noun, "body") and not obj.is_owned
        while True:
            phrase = cast(Phrase, items[position])
            above = self._phrase_before(items, position)
            link = self._link(items, position)
            if above is None or link is None:
                return position if phrase.noun else None
            upper = cast(Phrase, items[above])
            if link == "of":
                if (
                    self._rules.is_picture(upper)
                    or upper.is_group
                    or upper.noun in ("number", "lot")
                ):
                    return position
            elif link in ("inside", "with", "wearing"):
                wears = words.in_class(phrase.noun, "clothing", "body") or not phrase.noun
                if not (wears and (not on_body or verb)) and not (verb and link == "inside"):
                    return position
                if link == "with" and not wears:
                    return position
            elif link == "doing":
                if on_body or not self._is_animate(upper):
                    return position
            elif link == "rel":
                if name in ("on", "inside") and not verb:
                    return position
            else:
                return position
            position = above

    def _phrase_before(self, items: Sequence[Item], position: int) -> int | None:
        for earlier in range(position - 1, -1, -1):
            item = items[earlier]
            if isinstance(item, Phrase):
                return earlier
            if item.kind == "mark":
                return None
        return None

    def _link(self, items: Sequence[Item], position: int) -> str | None:
        """What ties a phrase to the one before it."""
        words = self._words
        if position == 0:
            return None
        item = items[position - 1]
        if not isinstance(item, Unit):
            return None
        if item.kind == "rel":
            return "inside" if item.lower == "in" else "rel"
        if item.kind == "side":
            return None
        if item.lower in ("of", "with"):
            return item.lower
        if item.kind in ("word", "noun"):
            base = words.verb_base(item.lower)
            if base in self._wearing or item.lower == "worn":
                return "wearing"
            if base in words.carrying:
                return "doing"
        return None

    def _is_animate(self, phrase: Phrase) -> bool:
        return phrase.is_name or self._words.is_animate(phrase.noun)

    def _without_object(self, items: Sequence[Item], at: int, name: RelationName) -> list[Found]:
        """a table with a laptop ON IT; the bench the dog is UNDER; a statue with a bird ON TOP"""
        unit = cast(Unit, items[at])
        pronoun = at + 1 < len(items) and getattr(items[at + 1], "kind", "") == "pron"
        if not pronoun and unit.lower in self._need_object:
            return self._stranded(items, at, name)
        if not pronoun and unit.lower not in self._bare:
            return []
        if not pronoun:
            name = cast(RelationName, self._bare[unit.lower])
        is_neuter = pronoun and cast(Unit, items[at + 1]).lower == "it"
        return self._inverse(items, at, name, {"and"} if is_neuter else set())

    def _with_side(self, items: Sequence[Item], at: int) -> list[Found]:
        """a monitor with a plant TO ITS LEFT"""
        unit = cast(Unit, items[at])
        name = cast(RelationName, unit.value)
        if (
            unit.lower in ("left", "right")
            or sum(isinstance(item, Unit) and item.kind == "side" for item in items) > 1
        ):
            return []
        return self._inverse(items, at, name)

    def _inverse(
        self,
        items: Sequence[Item],
        at: int,
        name: RelationName,
        more_ties: Set[str] = frozenset(),
    ) -> list[Found]:
        """X with Y on it: the thing before the relation lies on the one before that."""
        unit = cast(Unit, items[at])
        subject_at = self._nearest_phrase(items, at)
        if subject_at is None:
            return []
        holder_at = self._phrase_before(items, subject_at)
        if holder_at is None:
            return []
        link = [item for item in items[holder_at + 1 : subject_at] if isinstance(item, Unit)]
        if not any(item.lower in self._ties | more_ties for item in link):
            return []
        subject, holder = cast(Phrase, items[subject_at]), cast(Phrase, items[holder_at])
        if not self._rules.holds(items, at, name, subject, holder):
            return []
        return [Found(Relation(subject.thing, name, holder.thing), unit.start, unit.end)]

    def _nearest_phrase(self, items: Sequence[Item], at: int) -> int | None:
        for position in range(at - 1, -1, -1):
            item = items[position]
            if isinstance(item, Phrase):
                return position if item.noun else None
            if item.kind == "mark":
                return None
        return None

    def _stranded(self, items: Sequence[Item], at: int, name: RelationName) -> list[Found]:
        """the bench that the dog is lying on; the chair sat on by a cat"""
        unit = cast(Unit, items[at])
        if at + 2 < len(items) and getattr(items[at + 1], "lower", "") == "by":
            subject = items[at + 2]
            holder_at = self._nearest_phrase(items, at)
            if isinstance(subject, Phrase) and subject.noun and holder_at is not None:
                holder = cast(Phrase, items[holder_at])
                return [Found(Relation(subject.thing, name, holder.thing), unit.start, unit.end)]
        return []

    def _fronted(
        self, items: Sequence[Item], at: int, target: int, name: RelationName
    ) -> list[Found]:
        """Under the table lies a dog; on the shelf, three books"""
        words = self._words
        unit = cast(Unit, items[at])
        if any(isinstance(item, Phrase) for item in items[:at]) and not (
            isinstance(items[at - 1], Unit) and cast(Unit, items[at - 1]).kind == "mark"
        ):
            return []
        between: list[Unit] = []
        for position in range(target + 1, len(items)):
            item = items[position]
            if isinstance(item, Phrase):
                is_linked = all(
                    link.kind in ("mark", "aux", "pron")
                    or (link.kind in ("word", "noun") and words.is_verb(link.lower))
                    for link in between
                )
                obj = cast(Phrase, items[target])
                if item.is_group and position + 2 < len(items):
                    after = items[position + 2]
                    item = after if isinstance(after, Phrase) and after.noun else item
                if between and is_linked and self._rules.holds(items, at, name, item, obj):
                    return [Found(Relation(item.thing, name, obj.thing), unit.start, unit.end)]
                return []
            between.append(item)
        return []

    def _sides(self, items: Sequence[Item]) -> list[Found]:
        """a windmill on the left, a barn on the right"""
        left = right = None
        first = last = 0
        for at, item in enumerate(items):
            if not (isinstance(item, Unit) and item.kind == "side"):
                continue
            last = item.end
            first = first or item.start
            phrase = self._beside(items, at)
            if phrase is None:
                continue
            if item.value == "left_of":
                left = left or phrase
            else:
                right = right or phrase
        if left is None or right is None or left is right:
            return []
        return [Found(Relation(left.thing, "left_of", right.thing), first, last)]

    def _beside(self, items: Sequence[Item], at: int) -> Phrase | None:
        """The phrase that a side word belongs to: the one before it, or at a beginning the next."""
        previous = items[at - 1] if at else None
        if isinstance(previous, Phrase) and previous.noun:
            return previous
        starts = previous is None or (
            isinstance(previous, Unit) and previous.kind in ("mark", "conj", "prep")
        )
        if starts:
            for item in items[at + 1 : at + 4]:
                if isinstance(item, Phrase):
                    return item if item.noun else None
        for position in range(at - 1, max(-1, at - 4), -1):
            item = items[position]
            if isinstance(item, Phrase):
                return item if item.noun else None
            if item.kind == "mark":
                break
        return None
