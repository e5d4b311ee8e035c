"""Which relations hold between things, and which only say where a picture was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from searchengine.conditions import RelationName
from searchengine.grammar.phrase import Item, Phrase
from searchengine.grammar.units import Unit
from searchengine.grammar.words import Words


class PlaceRules:
    """Judges a relation by its words: a cat on a table, but no person on a beach."""

    def __init__(self, words: Words) -> None:
        self._words = words
        table = words.table
        self._pictures = frozenset(table["request"]["pictures"])
        self._not_over = frozenset(table["relation_verbs"]["over"])
        rules = table["relation_rules"]
        self._containers = frozenset(rules["containers"])
        self._holding_clothes = frozenset(rules["holding_clothes"])
        self._vague = frozenset(rules["vague"])
        self._stood = frozenset(rules["stood"])

    def holds(
        self, items: Sequence[Item], at: int, name: RelationName, subject: Phrase, obj: Phrase
    ) -> bool:
        """Whether both are things whose places can be compared, and not a thing and a scene."""
        words = self._words
        unit = cast(Unit, items[at])
        if not subject.noun or not obj.noun or self.is_picture(obj):
            return False
        if self.is_picture(subject) and not self._hangs(subject, name):
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
        if unit.lower in self._vague:
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
            return small and words.nouns.singular_tail(noun) in self._holding_clothes
        if unit.lower.startswith(("inside", "within")) and self._is_thing(noun):
            return not words.in_class(noun, "place")
        if words.in_class(noun, "container") or noun in self._containers:
            return True
        kinds = {
            words.nouns.canonical(noun),
            words.nouns.canonical(words.nouns.singular_tail(noun)),
        }
        return bool(kinds & self._containers)

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
        return words.is_verb(previous.lower) and previous.lower not in self._stood

    def is_picture(self, phrase: Phrase) -> bool:
        return phrase.noun.lower() in self._pictures
