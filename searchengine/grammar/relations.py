"""Where things lie to each other: relation phrases, their subjects and their objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from searchengine.conditions import Relation, RelationName
from searchengine.grammar.phrases import Item, Phrase
from searchengine.grammar.units import Unit
from searchengine.grammar.words import Words

_CONTAINER_LABELS = frozenset(
    "bottle,wine glass,cup,bowl,vase,sink,toilet,oven,microwave,refrigerator,suitcase,backpack,"
    "handbag,bed,chair,couch,car,bus,train,truck,boat,airplane,toaster".split(",")
)


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
        self._not_over = frozenset(table["relation_verbs"]["over"])
        self._pictures = frozenset(table["request"]["pictures"])

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
        target = self._object_after(items, at)
        if target is None:
            return self._without_object(items, at, name)
        obj = cast(Phrase, items[target])
        subject_at = self._subject(items, at, name, obj)
        if subject_at is None:
            return self._fronted(items, at, target, name)
        subject = cast(Phrase, items[subject_at])
        if not self._holds(items, at, name, subject, obj):
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
                if item.noun not in ("right", "left", "land"):
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
                if self._is_picture(upper) or upper.is_group or upper.noun in ("number", "lot"):
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
            if base in ("wear", "sport", "don") or item.lower == "worn":
                return "wearing"
            if base in words.carrying:
                return "doing"
        return None

    def _is_animate(self, phrase: Phrase) -> bool:
        return phrase.is_name or self._words.is_animate(phrase.noun)

    def _is_picture(self, phrase: Phrase) -> bool:
        return phrase.noun.lower() in self._pictures

    def _without_object(self, items: Sequence[Item], at: int, name: RelationName) -> list[Found]:
        """a table with a laptop ON IT; the bench the dog is UNDER; a statue with a bird ON TOP"""
        unit = cast(Unit, items[at])
        pronoun = at + 1 < len(items) and getattr(items[at + 1], "kind", "") == "pron"
        if not pronoun and unit.lower in ("on", "in", "by", "near", "over", "into", "onto"):
            return self._stranded(items, at, name)
        if not pronoun and unit.lower not in self._bare:
            return []
        if not pronoun:
            name = cast(RelationName, self._bare[unit.lower])
        return self._inverse(items, at, name)

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

    def _inverse(self, items: Sequence[Item], at: int, name: RelationName) -> list[Found]:
        """X with Y on it: the thing before the relation lies on the one before that."""
        unit = cast(Unit, items[at])
        subject_at = self._nearest_phrase(items, at)
        if subject_at is None:
            return []
        holder_at = self._phrase_before(items, subject_at)
        if holder_at is None:
            return []
        link = [item for item in items[holder_at + 1 : subject_at] if isinstance(item, Unit)]
        ties = (
            "with",
            "has",
            "have",
            "having",
            "had",
            "w/",
            "featuring",
            "showing",
            "where",
            "got",
        )
        if not any(item.lower in ties for item in link):
            return []
        subject, holder = cast(Phrase, items[subject_at]), cast(Phrase, items[holder_at])
        if not self._holds(items, at, name, subject, holder):
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
                if between and is_linked and self._holds(items, at, name, item, obj):
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

    def _holds(
        self, items: Sequence[Item], at: int, name: RelationName, subject: Phrase, obj: Phrase
    ) -> bool:
        """Whether both are things whose places can be compared, and not a thing and a scene."""
        words = self._words
        unit = cast(Unit, items[at])
        if not subject.noun or not obj.noun or self._is_picture(obj):
            return False
        if self._is_picture(subject) and not self._hangs(subject, name):
            return False
        if self._is_thing(obj.noun) is False or self._is_thing(subject.noun) is False:
            return False
        if words.in_class(obj.noun, "scenery") and not words.in_class(obj.noun, "object", "plant"):
            return False
        if words.in_class(subject.noun, "scenery") and not words.in_class(subject.noun, "object"):
            return False
        if unit.lower == "over" and self._verb_before(items, at) in self._not_over:
            return False
        if unit.lower == "by" and self._is_agent(items, at, obj):
            return False
        is_place = words.in_class(obj.noun, "place")
        if name == "on":
            return not is_place and self._is_support(obj)
        if name == "inside":
            return self._is_container(unit, subject, obj)
        if unit.lower in ("near", "by", "near to", "close to", "nearby"):
            return (not is_place and not obj.is_name) or subject.is_name
        return True

    def _hangs(self, subject: Phrase, name: RelationName) -> bool:
        """A picture above a sofa is a thing itself."""
        return (
            not subject.is_plural
            and name in ("above", "below", "on", "under", "next_to", "left_of", "right_of")
            and self._words.in_class(subject.noun, "object")
        )

    def _verb_before(self, items: Sequence[Item], at: int) -> str:
        """The base of the last verb before a relation, or ""."""
        for item in reversed(items[:at]):
            if isinstance(item, Unit):
                if item.kind == "mark":
                    break
                if item.kind in ("word", "noun") and (base := self._words.verb_base(item.lower)):
                    return base
        return ""

    def _is_thing(self, noun: str) -> bool | None:
        """False for what is no visible thing; None where no list knows the word."""
        words = self._words
        lower = noun.lower()
        physical = ("object", "container", "clothing", "body", "animal", "food", "plant", "place")
        if lower in words.nouns.label_words or words.in_class(lower, *physical):
            return True
        if words.in_class(lower, "abstract"):
            return False
        return None

    def _is_support(self, obj: Phrase) -> bool:
        known = self._is_thing(obj.noun) or bool(self._words.nouns.detects(obj.noun.lower()))
        if obj.determiner or obj.is_owned or obj.quantity or obj.attribute or obj.is_plural:
            return not obj.is_name
        return known and not self._words.in_class(obj.noun, "food")

    def _is_container(self, unit: Unit, subject: Phrase, obj: Phrase) -> bool:
        words = self._words
        noun = obj.noun.lower()
        if words.is_person(noun):
            return False
        if words.in_class(noun, "clothing"):
            small = (
                self._words.is_animate(subject.noun) and not self._words.is_person(subject.noun)
            ) or words.in_class(subject.noun, "object", "food")
            return small and words.nouns.singular_tail(noun) in (
                "hat",
                "boot",
                "shoe",
                "sock",
                "slipper",
                "helmet",
                "glove",
                "cap",
                "welly",
                "bowler hat",
                "top hat",
            )
        if unit.lower.startswith(("inside", "within")) and self._is_thing(noun):
            return not words.in_class(noun, "place")
        if words.in_class(noun, "container") or noun in ("tree", "bush", "drawer", "vehicle"):
            return True
        return (
            words.nouns.canonical(words.nouns.singular_tail(noun)) in _CONTAINER_LABELS
            or words.nouns.canonical(noun) in _CONTAINER_LABELS
        )

    def _is_agent(self, items: Sequence[Item], at: int, obj: Phrase) -> bool:
        """herded by a collie: who did it, and no place"""
        words = self._words
        previous = items[at - 1] if at else None
        if not isinstance(previous, Unit) or previous.kind not in ("word", "noun", "adj"):
            return not (obj.determiner or obj.is_owned or obj.attribute)
        base = words.verb_base(previous.lower)
        if (
            previous.lower.endswith("ing")
            or base in words.posture
            or previous.lower in words.adverbs
        ):
            return False
        return words.is_verb(previous.lower) and previous.lower not in (
            "sat",
            "stood",
            "lying",
            "hung",
            "left",
        )
