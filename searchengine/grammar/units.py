"""Second step of reading: tokens -> units, where a phrase that means one thing is one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.quantities import Quantities, Quantity
from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words, words

_LONGEST_COMPOUND = 4  # words


OPEN = ("word", "noun", "name")  # the kinds of units a noun phrase is made of


@dataclass(frozen=True, slots=True)
class Unit:
    """One or several tokens that do one thing in the sentence.

    `kind` is one of: mark, det, num, prep, rel, side, conj, pron, aux, neg (the next thing is
    absent), negative (not, never), nobody, absent (the thing before is absent), less (hatless),
    idiom (to be passed over), text, name, noun (known as one), word (to be told by its place).
    """

    kind: str
    lower: str
    text: str
    start: int
    end: int
    value: str = ""  # of rel and side: the relation; of less: the noun
    quantity: Quantity | None = None
    is_possessive: bool = False

    @property
    def is_capital(self) -> bool:
        return self.text[:1].isupper()


class UnitReader:
    """Finds the units of a sentence."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._quantities = Quantities(words)
        table = words.table
        negation = table["negation"]
        self._phrases: PhraseTable[tuple[str, str]] = PhraseTable(
            [
                *((phrase, ("idiom", "")) for phrase in table["counting"]["idioms"]),
                *((phrase, ("idiom", "")) for phrase in words.names["number names"]),
                *((phrase, ("idiom", "")) for phrase in negation["idioms"]),
                *((phrase, ("idiom", "")) for phrase in table["relation_idioms"]["phrases"]),
                *((phrase, ("side", "left_of")) for phrase in table["relation_words"]["left"]),
                *((phrase, ("side", "right_of")) for phrase in table["relation_words"]["right"]),
                *((phrase, ("rel", name)) for phrase, name in table["relations"].items()),
                *(
                    (phrase, ("rel", name))
                    for phrase, name in table["relation_words"]["bare"].items()
                    if " " in phrase
                ),
                *((phrase, ("nobody", "")) for phrase in negation["nobody"]),
                *((phrase, ("neg", "")) for phrase in negation["before"]),
                *((phrase, ("absent", "")) for phrase in negation["after"]),
                *((phrase, ("alone", "")) for phrase in table["counting"]["alone"]),
                *((phrase, ("idiom", "")) for phrase in table["counting"]["not_alone"]),
            ]
        )
        self._negatives = frozenset(negation["negatives"])
        self._not_less = frozenset(negation["less"])
        self._not_free = frozenset(negation["free"])
        self._stems: dict[str, str] = negation["less_stems"]

    def read(self, tokens: Sequence[Token], spans: Mapping[int, tuple[int, str]]) -> list[Unit]:
        """The units; `spans` are those already found: position -> (size, kind)."""
        units = []
        at = 0
        lowers = [token.lower for token in tokens]
        numbers = [token.kind == "number" or token.lower in self._words.numbers for token in tokens]
        while at < len(tokens):
            if at in spans:
                size, kind = spans[at]
                units.append(_unit(kind, tokens[at : at + size]))
            else:
                limit = next((i for i in range(at, len(tokens)) if i in spans), len(tokens))
                size, unit = self._unit_at(tokens[:limit], lowers[:limit], numbers[:limit], at)
                units.append(unit)
            at += size
        return units

    def _unit_at(
        self, tokens: Sequence[Token], lowers: Sequence[str], numbers: Sequence[bool], at: int
    ) -> tuple[int, Unit]:
        token = tokens[at]
        if token.kind == "quoted":
            return 1, _unit("idiom", tokens[at : at + 1])
        quantity = self._quantities.read(tokens, lowers, at)
        if token.kind == "mark" and not quantity:  # ">= 3" is one
            kind = "conj" if token.lower in ("&", "+") else "mark"
            return 1, _unit(kind, tokens[at : at + 1])
        phrase = self._phrases.longest(lowers, at, numbers)
        compound = self._compound(tokens, lowers, at)
        size = max(quantity[0] if quantity else 0, phrase[0] if phrase else 0, compound)
        if (
            quantity
            and quantity[0] == size
            and not (phrase and phrase[1][0] == "idiom" and phrase[0] == size)
        ):
            return size, _unit("num", tokens[at : at + size], quantity=quantity[1])
        if phrase and phrase[0] == size:
            kind, value = phrase[1]
            if not (compound == size and size > 1 and kind != "idiom"):
                return size, _unit(kind, tokens[at : at + size], value)
        if compound and compound == size:
            return size, _unit("noun", tokens[at : at + size])
        return self._single(tokens, at)

    def _compound(self, tokens: Sequence[Token], lowers: Sequence[str], at: int) -> int:
        """How many words of a compound noun begin here: 0 for none."""
        for size in range(min(_LONGEST_COMPOUND, len(tokens) - at), 1, -1):
            if any(token.is_possessive for token in tokens[at : at + size - 1]):
                continue
            if any(token.kind == "mark" for token in tokens[at : at + size]):
                continue
            if self._words.is_compound(" ".join(lowers[at : at + size])):
                return size
        found = self._words.own_names.longest(lowers, at)
        return found[0] if found else 0

    def _single(self, tokens: Sequence[Token], at: int) -> tuple[int, Unit]:
        token = tokens[at]
        one = tokens[at : at + 1]
        if token.kind == "number":
            return 1, _unit("number", one)
        if token.lower in self._negatives:
            return 1, _unit("negative", one)
        absent = self._absent_noun(token.lower)
        if absent:
            return 1, _unit("less", one, absent)
        if (
            at + 1 < len(tokens)
            and tokens[at + 1].lower == "free"
            and self._is_absent(token.lower, tokens, at)
        ):
            return 2, _unit("less", tokens[at : at + 2], self._words.plurals.singular(token.lower))
        for kind, members in self._words.closed.items():
            if token.lower in members:
                return 1, _unit(kind, one)
        return 1, _unit("word", one)

    def _is_absent(self, noun: str, tokens: Sequence[Token], at: int) -> bool:
        """car free street, with a blank for the hyphen"""
        return (
            noun not in self._not_free
            and self._words.is_noun(noun)
            and not self._words.in_class(noun, "abstract")
            and at + 2 < len(tokens)
            and (at == 0 or tokens[at - 1].lower in self._words.closed["det"])
            and self._words.is_noun(tokens[at + 2].lower)
        )

    def _absent_noun(self, lower: str) -> str:
        """What "hatless" and "car-free" say is not there, or ""."""
        if lower.endswith("less") and lower not in self._not_less:
            stem = lower.removesuffix("less").rstrip("-")
            stem = self._stems.get(stem, stem)
            if len(stem) > 1 and self._words.is_noun(stem):
                return self._words.plurals.singular(stem)
        if lower.endswith("-free"):
            stem = lower.removesuffix("-free")
            if stem not in self._not_free and self._words.is_noun(stem):
                return self._words.plurals.singular(stem)
        return ""


def _unit(
    kind: str, tokens: Sequence[Token], value: str = "", quantity: Quantity | None = None
) -> Unit:
    return Unit(
        kind,
        " ".join(token.lower for token in tokens),
        " ".join(token.text for token in tokens),
        tokens[0].start,
        tokens[-1].end,
        value,
        quantity,
        tokens[-1].is_possessive,
    )


@cache
def unit_reader() -> UnitReader:
    """The reader over the shipped words, made once in a process's life."""
    return UnitReader(words())
