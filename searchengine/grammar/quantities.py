"""Numbers of a sentence: "at least three", "half a dozen", "two or three", "5+"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from searchengine.conditions import Operator
from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words

_YEARS = range(1800, 2100)
_LARGEST = 10_000  # nobody counts further in a picture


@dataclass(frozen=True, slots=True)
class Quantity:
    """What the words say of a number: each operator with its number; all must hold."""

    terms: tuple[tuple[Operator, int | None], ...]
    is_plain_one: bool = False  # "one", which counts only in contrast
    is_pair: bool = False  # "a pair of", which may be one pair of jeans

    @property
    def is_one(self) -> bool:
        return self.terms == (("==", 1),)


class Quantities:
    """Reads quantities at a position of a sentence."""

    def __init__(self, words: Words) -> None:
        table = words.table
        self._words = words
        self._numbers: dict[str, int] = table["numbers"]
        self._scales: dict[str, int] = table["number_units"]
        self._before: PhraseTable[Operator] = PhraseTable(table["comparatives"].items())
        self._after: PhraseTable[Operator] = PhraseTable(table["comparatives_after"].items())
        self._pairs: PhraseTable[int] = PhraseTable(table["pairs"].items())
        self._namers = frozenset(table["counting"]["namers"])
        self._questions = PhraseTable((phrase, True) for phrase in table["counting"]["questions"])

    def read(
        self, tokens: Sequence[Token], lowers: Sequence[str], at: int
    ) -> tuple[int, Quantity] | None:
        """How many tokens the quantity at `at` has, and what it says; None where none begins."""
        question = self._questions.longest(lowers, at)
        if question:
            return question[0], Quantity((("?", None),))
        pair = self._pairs.longest(lowers, at)
        if pair and pair[1] and self._is_of_things(lowers, at + pair[0]):
            return pair[0], Quantity((("==", pair[1]),), is_pair=pair[1] == 2)
        before = self._before.longest(lowers, at)
        if before and at + before[0] < len(tokens):
            number = self._number(tokens, at + before[0])
            if number:
                size, value = number
                if before[1] == ">=" and value == 0:
                    return None
                size += before[0]
                more, second = self._second_limit(tokens, lowers, at + size)
                return size + more, Quantity(((before[1], value), *second))
            pair = self._pairs.longest(lowers, at + before[0])
            if pair and pair[1]:
                return before[0] + pair[0], Quantity(((before[1], pair[1]),), is_pair=pair[1] == 2)
        if lowers[at] == "between":
            return self._between(tokens, lowers, at)
        return self._counted(tokens, lowers, at)

    def _second_limit(
        self, tokens: Sequence[Token], lowers: Sequence[str], at: int
    ) -> tuple[int, tuple[tuple[Operator, int | None], ...]]:
        """more than two AND FEWER THAN FIVE cats: how many tokens, and what they say"""
        link = at
        while link < len(lowers) and lowers[link] in (",", "and", "but"):
            link += 1
        comparative = self._before.longest(lowers, link) if link < len(lowers) else None
        number = self._number(tokens, link + comparative[0]) if comparative else None
        if comparative is None or number is None:
            return 0, ()
        return link + comparative[0] + number[0] - at, ((comparative[1], number[1]),)

    def _is_of_things(self, lowers: Sequence[str], at: int) -> bool:
        """a couple OF ZEBRAS, but not "a couple kissing\""""
        if at >= len(lowers):
            return False
        words, following = self._words, lowers[at]
        after = lowers[at + 1] if at + 1 < len(lowers) else ""
        return (
            following == "of"
            or following in words.closed["det"]
            or lowers[at - 1] not in words.nouns.nouns
            or (words.is_noun(following) and words.plurals.is_plural(following))
            or (following in words.adjectives and words.plurals.is_plural(after))
        )

    def _counted(
        self, tokens: Sequence[Token], lowers: Sequence[str], at: int
    ) -> tuple[int, Quantity] | None:
        number = self._number(tokens, at)
        if not number:
            return self._joined(tokens, at)
        if self._is_name(lowers, at):
            return None
        size, value = number
        end = at + size
        if value == 0:
            return None
        if tokens[end - 1].text.endswith("+"):
            return size, Quantity(((">=", value),))
        if end + 1 < len(tokens) and lowers[end] in ("or", "to", "-", "–"):
            second = self._number(tokens, end + 1)
            if second and second[1] > value:
                return size + 1 + second[0], Quantity(((">=", value), ("<=", second[1])))
        if end < len(tokens) and lowers[end] == "+":
            return size + 1, Quantity(((">=", value),))
        after = self._after.longest(lowers, end) if end < len(tokens) else None
        if after:
            return size + after[0], Quantity(((after[1], value),))
        return size, Quantity((("==", value),), is_plain_one=lowers[at] == "one" and size == 1)

    def _is_name(self, lowers: Sequence[str], at: int) -> bool:
        """number 7 bus, no. 5 tram, but not "the number 3 dogs\""""
        before = at - 1 if at and lowers[at - 1] != "." else at - 2
        if before < 0 or lowers[before] not in self._namers:
            return False
        following = lowers[at + 1] if at + 1 < len(lowers) else ""
        return self._words.plurals.singular(following) == following

    def _between(
        self, tokens: Sequence[Token], lowers: Sequence[str], at: int
    ) -> tuple[int, Quantity] | None:
        """between three and five people"""
        low = self._number(tokens, at + 1)
        if not low or at + 2 + low[0] >= len(tokens) or lowers[at + 1 + low[0]] != "and":
            return None
        high = self._number(tokens, at + 2 + low[0])
        if not high or high[1] == low[1]:
            return None
        least, most = sorted((low[1], high[1]))
        return 2 + low[0] + high[0], Quantity(((">=", least), ("<=", most)))

    def _joined(self, tokens: Sequence[Token], at: int) -> tuple[int, Quantity] | None:
        """2-3, x4, 3x"""
        lower = tokens[at].lower
        if match := re.fullmatch(r"(\d{1,3})-(\d{1,3})", lower):
            low, high = int(match[1]), int(match[2])
            if 0 < low < high:
                return 1, Quantity(((">=", low), ("<=", high)))
        if match := re.fullmatch(r"(\d{1,3})x|x(\d{1,3})", lower):
            return 1, Quantity((("==", int(match[1] or match[2])),))
        return None

    def _number(self, tokens: Sequence[Token], at: int) -> tuple[int, int] | None:
        """The number written at `at`: words or digits; a year is no number."""
        if at >= len(tokens):
            return None
        token = tokens[at]
        if token.kind == "number":
            digits = token.lower.rstrip("+")
            if re.fullmatch(r"\d{1,3}(?:,\d{3})+", digits):
                digits = digits.replace(",", "")
            if not digits.isdecimal() or len(digits) > 5:
                return None
            value = int(digits)
            if value > _LARGEST or (value in _YEARS and "," not in token.lower):
                return None
            return self._scaled(tokens, at, 1, value)
        return self._spelled(tokens, at)

    def _spelled(self, tokens: Sequence[Token], at: int) -> tuple[int, int] | None:
        lower = tokens[at].lower
        tens, hyphen, ones = lower.partition("-")
        if (
            hyphen
            and 20 <= self._numbers.get(tens, 0) <= 90
            and 0 < self._numbers.get(ones, 0) < 10
        ):
            return self._scaled(tokens, at, 1, self._numbers[tens] + self._numbers[ones])
        if lower in ("a", "one") and at + 1 < len(tokens) and tokens[at + 1].lower in self._scales:
            return 2, self._scales[tokens[at + 1].lower]
        if lower == "dozen":
            return 1, self._scales[lower]
        value = self._numbers.get(lower)
        if value is None:
            return None
        if 20 <= value <= 90 and at + 1 < len(tokens):
            more = self._numbers.get(tokens[at + 1].lower, 0)
            if 0 < more < 10:
                return 2, value + more
        return self._scaled(tokens, at, 1, value)

    def _scaled(self, tokens: Sequence[Token], at: int, size: int, value: int) -> tuple[int, int]:
        """two dozen, three hundred"""
        if at + size < len(tokens) and (scale := self._scales.get(tokens[at + size].lower)):
            return size + 1, value * scale
        return size, value
