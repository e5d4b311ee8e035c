"""Which thing has which colour, material, size or pattern, where more than one has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from searchengine.grammar.phrase import Item, Phrase
from searchengine.grammar.units import Unit
from searchengine.grammar.words import Words


def bound_things(
    items: Sequence[Item], words: Words, contrasts: Sequence[tuple[str, ...]]
) -> list[Phrase]:
    """The phrases with attributes of their own, at least two; [] where there are fewer."""
    found: list[Phrase] = []
    for at, item in enumerate(items):
        if not isinstance(item, Phrase):
            continue
        phrase = _predicated(items, at, words) if not item.noun else item
        if phrase is not None and phrase.attribute and _may_bind(phrase, words):
            found.append(phrase)
    if len(found) < 2:
        found = _contrasted(items, contrasts, words, found)
    distinct = {phrase.thing for phrase in found}
    return found if len(distinct) > 1 else []


def _may_bind(phrase: Phrase, words: Words) -> bool:
    noun = phrase.noun
    if not noun or words.in_class(noun, "abstract"):
        return False
    return not words.in_class(noun, "scenery") or words.in_class(noun, "object", "plant")


def _predicated(items: Sequence[Item], at: int, words: Words) -> Phrase | None:
    """A man IN BLUE, a car that IS RED: the attribute belongs to the phrase before."""
    attribute = items[at]
    assert isinstance(attribute, Phrase)
    if not attribute.attribute or at == 0:
        return None
    link = items[at - 1]
    if not isinstance(link, Unit):
        return None
    is_worn = link.lower == "in" or words.verb_base(link.lower) in ("wear", "dress")
    if not is_worn and link.kind != "aux":
        return None
    for position in range(at - 2, -1, -1):
        item = items[position]
        if isinstance(item, Phrase):
            if item.attribute and not is_worn:
                return None
            return replace(item, attribute=attribute.attribute, end=attribute.end)
        if item.kind == "mark":
            return None
    return None


def _contrasted(
    items: Sequence[Item],
    contrasts: Sequence[tuple[str, ...]],
    words: Words,
    found: list[Phrase],
) -> list[Phrase]:
    """An OLD man and a YOUNG boy: age and state bind where they contrast."""
    phrases = [item for item in items if isinstance(item, Phrase) and item.noun]
    for left in phrases:
        for right in phrases:
            for pair in contrasts:
                first, second = pair
                if left is not right and first in left.adjectives and second in right.adjectives:
                    pair_found = [
                        replace(left, attribute=left.attribute or first),
                        replace(right, attribute=right.attribute or second),
                    ]
                    if all(_may_bind(phrase, words) for phrase in pair_found):
                        return sorted(pair_found, key=lambda phrase: phrase.start)
    return found
