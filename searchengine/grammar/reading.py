"""The whole of reading: a sentence -> what it demands, and the words that say so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from searchengine.conditions import Conditions, Count, Thing
from searchengine.grammar.bindings import bound_things
from searchengine.grammar.languages import other_language
from searchengine.grammar.names import NameReader
from searchengine.grammar.negations import Absence, NegationReader
from searchengine.grammar.phrase import Item, Phrase
from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.phrases import PhraseReader
from searchengine.grammar.quantities import Quantity
from searchengine.grammar.relations import RelationReader
from searchengine.grammar.texts import TextReader
from searchengine.grammar.tokens import MAX_TOKENS, mend_typos, tokenize
from searchengine.grammar.units import OPEN, Unit, UnitReader
from searchengine.grammar.words import Words, words

Span = tuple[int, int]  # characters [start, end) of the sentence


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sentence demands; `triggers` are the user's words by verdict."""

    text: str
    conditions: Conditions
    triggers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    language: str = ""  # another than English
    is_cut: bool = False  # longer than what was read
    bare_numbers: tuple[str, ...] = ()  # numbers that count nothing
    named: tuple[Thing, ...] = ()  # things that stand there without a number
    sides: tuple[str, ...] = ()  # "on the left" of the picture, and of no other thing


class Grammar:
    """Reads sentences; made once, since it holds the words."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._units = UnitReader(words)
        self._phrases = PhraseReader(words)
        self._relations = RelationReader(words)
        self._negations = NegationReader(words)
        self._names = NameReader(words)
        self._texts = TextReader(words)
        self._requests = PhraseTable(
            (phrase, True) for phrase in words.table["request"]["prefixes"]
        )
        self._comparatives = tuple(words.table["comparatives"])
        self._further = frozenset(words.table["negation"]["further"])
        self._contrasts = [tuple(pair.split()) for pair in words.table["attributes"]["contrasts"]]

    def read(self, text: str) -> Reading:
        """The reading of one sentence. Never raises, whatever the text is."""
        tokens = tokenize(text, self._words)
        is_cut = len(tokens) == MAX_TOKENS
        language = other_language(tokens, self._words)
        if language or not tokens:
            return Reading(text, Conditions(content=text.strip()), language=language, is_cut=is_cut)
        names = self._names.read(tokens)
        question = self._names.question(tokens)
        texts = self._texts.read(tokens, is_model=any(name.what == "model" for name in names))
        in_text = {at for first, last in texts for at in range(first, last)}
        names = [name for name in names if not in_text & set(range(name.first, name.last))]
        spans = {first: (last - first, "text") for first, last in texts}
        spans |= {name.first: (name.last - name.first, "name") for name in names}
        spared = in_text | {at for name in names for at in range(name.first, name.last)}
        units = self._units.read(mend_typos(tokens, self._words, spared), spans)
        items = self._phrases.read(units)
        absences = self._negations.read(items, text)
        kept = _without(items, absences)
        relations = self._relations.read(kept)
        counts, count_spans, bare = self._counts(kept, text)
        absences, ones, alone = self._without_others(text, absences, kept)
        counts += [count for count in ones if count.thing.noun not in _nouns(counts)]
        count_spans += alone
        bound = bound_things(kept, self._words, self._contrasts)
        fine = [(tokens[n.first].start, tokens[n.last - 1].end) for n in names if n.what != "place"]
        if question:
            fine.append((tokens[question[0]].start, tokens[question[1] - 1].end))
        triggers = {
            "counting": _cut(text, count_spans),
            "spatial": _cut(text, [(found.start, found.end) for found in relations]),
            "binding": _cut(text, [(phrase.start, phrase.end) for phrase in bound]),
            "negation": _cut(text, [(absence.start, absence.end) for absence in absences]),
            "fine-grained": _cut(text, fine),
            "text-in-image": _cut(
                text, [(tokens[first].start, tokens[last - 1].end) for first, last in texts]
            ),
        }
        positive = self._positive(text, absences) if absences else ""
        named = [item for item in kept if isinstance(item, Phrase) and item.noun]
        conditions = Conditions(
            content=self._content(
                positive or text, units if not absences else None, triggers["counting"]
            ),
            counts=tuple(counts),
            relations=tuple(found.relation for found in relations),
            attributes=tuple(phrase.thing for phrase in bound),
            excluded=tuple(
                dict.fromkeys(thing for absence in absences for thing in absence.things)
            ),
            positive=positive,
        )
        return Reading(
            text,
            conditions,
            {name: cut for name, cut in triggers.items() if cut},
            is_cut=is_cut,
            bare_numbers=bare,
            named=tuple(phrase.thing for phrase in named if phrase.quantity is None),
            sides=() if relations or not named else _sides(kept),
        )

    def _counts(
        self, items: Sequence[Item], text: str
    ) -> tuple[list[Count], list[Span], tuple[str, ...]]:
        """The counts, where they stand, and the numbers that count nothing."""
        counted: list[tuple[Phrase, bool]] = []  # with "is a plain one"
        bare = []
        for at, item in enumerate(items):
            if isinstance(item, Phrase):
                if item.quantity is not None and at and _is_denial(items[at - 1]):
                    continue  # "not two dogs": any other number would do
                if item.quantity is not None and item.noun:
                    is_only = at + 1 < len(items) and getattr(items[at + 1], "lower", "") == "only"
                    counted.append((item, item.quantity.is_plain_one and not is_only))
                elif not item.noun and not item.attribute:
                    bare.append(text[item.start : item.end])
            elif item.kind == "alone":
                phrase = self._lonely(items, at)
                if phrase is not None:
                    counted.append((phrase, False))
            elif item.kind in ("num", "number"):
                bare.append(item.text)
        if len(counted) < 2 or (all(plain for _, plain in counted) and len(counted) < 2):
            counted = [(phrase, plain) for phrase, plain in counted if not plain]
        counts, spans = [], []
        for phrase, _ in counted:
            assert phrase.quantity is not None
            for operator, n in phrase.quantity.terms:
                count = Count(phrase.thing, operator, n)
                if count not in counts:
                    counts.append(count)
            spans.append((phrase.start, phrase.end))
        if any(isinstance(item, Phrase) and item.noun for item in items):
            bare = []  # an age, a time, a year
        return counts, spans, tuple(bare)

    def _without_others(
        self, text: str, absences: Sequence[Absence], kept: Sequence[Item]
    ) -> tuple[list[Absence], list[Count], list[Span]]:
        """A dog without OTHER dogs: not "no dog" but one.

        Returns the absences that are left, a count of each thing that is alone of its kind, and
        where the sentence says so.
        """
        left, ones, spans = [], [], []
        phrases = [item for item in kept if isinstance(item, Phrase) and item.noun]
        for absence in absences:
            spoken = re.findall(r"[a-z]+", text[absence.start : absence.end].lower())
            of_a_kind: dict[Thing, list[Phrase]] = {}
            if self._further & set(spoken):
                of_a_kind = {
                    thing: [phrase for phrase in phrases if self._is_one_of(phrase.noun, thing)]
                    for thing in absence.things
                }
            things = tuple(thing for thing in absence.things if not of_a_kind.get(thing))
            left.append(replace(absence, things=things))
            for thing, same in of_a_kind.items():
                is_counted = any(each.quantity and not each.quantity.is_plain_one for each in same)
                is_one = bool(same) and not same[0].is_plural and not is_counted
                if is_one and self._is_same(same[0].noun, thing):
                    ones.append(Count(Thing(same[0].noun), "==", 1))
                    spans.append((absence.start, absence.end))
        return [absence for absence in left if absence.things], ones, spans

    def _is_same(self, noun: str, thing: Thing) -> bool:
        return noun == thing.noun or (thing.noun == "person" and self._words.is_person(noun))

    def _is_one_of(self, noun: str, thing: Thing) -> bool:
        """A dog is one of the animals, a man one of the people."""
        is_animal = thing.noun == "animal" and self._words.is_animate(noun)
        return self._is_same(noun, thing) or is_animal

    def _lonely(self, items: Sequence[Item], at: int) -> Phrase | None:
        """Who is ALONE: the first thing of the clause."""
        best = None
        for item in reversed(items[:at]):
            if (
                isinstance(item, Phrase)
                and item.noun
                and not item.is_plural
                and item.quantity is None
            ):
                if self._words.is_person(item.noun) or best is None or not item.noun:
                    best = item
            elif isinstance(item, Unit) and item.kind == "mark":
                break
        if best is None or self._words.in_class(best.noun, "abstract", "scenery", "place"):
            return None
        return replace(best, quantity=Quantity((("==", 1),)))

    def _positive(self, text: str, absences: Sequence[Absence]) -> str:
        """The sentence without what must be absent."""
        pieces, end = [], 0
        for absence in absences:
            pieces.append(text[end : absence.start])
            end = max(end, absence.end)
        pieces.append(text[end:])
        positive = re.sub(r"\s+([,.;!?])", r"\1", " ".join(" ".join(pieces).split()))
        positive = positive.strip(" ,;:.!?-–—&")
        first, _, rest = positive.partition(" ")
        is_comparative = any(positive.lower().startswith(f"{each} ") for each in self._comparatives)
        if first.lower() in ("on", "in", "at", "of", "and", "but", "or") and not is_comparative:
            positive = rest
        last = positive.rpartition(" ")[2]
        if last.lower() in ("and", "but", "or", "with", "that", "where"):
            positive = positive[: -len(last)].rstrip(" ,")
        return positive

    def _content(self, text: str, units: Sequence[Unit] | None, counted: Sequence[str]) -> str:
        """What to embed: without "show me", numbers and question words."""
        if units is None:
            units = self._units.read(
                mend_typos(tokenize(text, self._words), self._words, set()), {}
            )
        lowers = [unit.lower for unit in units]
        spoken = " ".join(lowers).split()
        first = 0
        while first < len(spoken) and (found := self._requests.longest(spoken, first)):
            first += found[0]
        skipped = 0
        pieces: list[str] = []
        dropped: set[str] = set()
        for at, unit in enumerate(units):
            size = len(unit.lower.split())
            if skipped < first:
                skipped += size
            elif unit.lower == "of" and at and units[at - 1].text in dropped:
                continue  # a pair of
            elif unit.kind == "num" and any(
                _unspaced(unit.text) in _unspaced(phrase) and unit.text != phrase
                for phrase in counted
            ):
                dropped.add(unit.text)
                if _is_second_limit(units, at):
                    while pieces and pieces[-1] in (",", "and", "but"):
                        pieces.pop()
            else:
                pieces.append(_as_meant(unit))
        content = re.sub(r"\s+([,.;:!?)])", r"\1", " ".join(pieces)).strip(" ,;:?!")
        return content.removeprefix("of ") or " ".join(text.split())


def _sides(items: Sequence[Item]) -> tuple[str, ...]:
    """ "on the left", "right side of" a picture, but no bare "left": a left hand."""
    units = [item for item in items if isinstance(item, Unit) and item.kind in ("side", "rel")]
    sideways = [unit.text for unit in units if unit.value in ("left_of", "right_of")]
    return tuple(text for text in sideways if " " in text)


def _unspaced(text: str) -> str:
    return text.replace(" ", "")


def _is_second_limit(units: Sequence[Unit], at: int) -> bool:
    """Whether the number at `at` has no noun of its own: more than two dogs but less than FIVE."""
    following = units[at + 1] if at + 1 < len(units) else None
    return following is None or not (following.kind in (*OPEN, "det") or following.lower == "of")


def _is_denial(item: Item) -> bool:
    return isinstance(item, Unit) and item.kind == "negative"


def _nouns(counts: Sequence[Count]) -> set[str]:
    return {count.thing.noun for count in counts}


def _without(items: Sequence[Item], absences: Sequence[Absence]) -> list[Item]:
    """The items that are not denied; a mark stands where something was left out."""
    denied = {at for absence in absences for at in range(absence.first, absence.last)}
    kept: list[Item] = []
    for at, item in enumerate(items):
        if at not in denied:
            kept.append(item)
        elif not kept or not (isinstance(kept[-1], Unit) and kept[-1].kind == "mark"):
            kept.append(Unit("mark", ",", ",", item.start, item.end))
    return kept


def _as_meant(unit: Unit) -> str:
    """The unit as written, its typos mended."""
    is_mended = unit.kind in ("word", "noun") and not unit.is_possessive
    return unit.lower if is_mended and unit.lower != unit.text.lower() else unit.text


def _cut(text: str, spans: Sequence[Span]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text[start:end].strip(" ,") for start, end in spans))


@cache
def grammar() -> Grammar:
    """The grammar over the shipped words, made once in a process's life."""
    return Grammar(words())
