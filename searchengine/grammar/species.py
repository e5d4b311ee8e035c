"""Species: by their Latin names, by adjectives that say which, and by questions of which one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.sentences import Name, Sentence
from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words

_GENUS = re.compile(r"[a-z]{3,}(?:us|a|um|is|es|on|ea|ia|ix|ax|ex|yx|os|as|er|o)")
_EPITHET = re.compile(
    r"[a-z]{2,}(?:us|a|um|is|ii|ae|ensis|oides|aris|alis|icus|ica|icum|anus|ana|ens|ans|ata|atus|atum|ella|ellus|ipes|ea|eus|or|ur|ior|ix|x|i|os|on|e)"
)


class SpeciesReader:
    """Finds the species named at a position, and the question which one a thing is."""

    def __init__(self, words: Words) -> None:
        self._words = words
        names = words.names
        table = words.table["fine_grained"]
        self._first = names["first names"]
        self._genera = names["genera"]
        self._species = names["species"]
        self._species_marks = names["species marks"]
        self._places = PhraseTable((name, "place") for name in names["places"])
        self._questions = PhraseTable((phrase, True) for phrase in table["questions"])
        self._asking = PhraseTable((phrase, True) for phrase in table["asking"])
        self._versus = frozenset(table["versus"])

    def read(self, sentence: Sentence, at: int) -> Name | None:
        """Quercus robur, downy woodpecker"""
        return self._latin(sentence, at) or self._of_species(sentence, at)

    def question(self, tokens: Sequence[Token]) -> tuple[int, int] | None:
        """The tokens that ask which one of a kind it is, or None."""
        lowers = [token.lower for token in tokens]
        asks = any(self._asking.longest(lowers, at) for at in range(len(tokens)))
        plain = [lower for lower in lowers if lower != "or" and self._words.is_function(lower)]
        is_whole = len(tokens) < 7 and lowers.count("or") == 1 and not plain
        for at in range(len(tokens)):
            if found := self._questions.longest(lowers, at):
                return at, at + found[0]
            compares = lowers[at] in self._versus and (lowers[at] != "or" or asks or is_whole)
            if compares and 0 < at < len(tokens) - 1 and self._is_same_kind(tokens, at, asks=asks):
                return at, at + 1
        return None

    def _latin(self, sentence: Sentence, at: int) -> Name | None:
        """Quercus robur"""
        tokens, lowers = sentence.tokens, sentence.lowers
        if at + 1 >= len(tokens):
            return None
        genus, epithet = tokens[at], tokens[at + 1]
        if (
            epithet.kind != "word"
            or genus.kind != "word"
            or genus.is_possessive
            or epithet.is_possessive
        ):
            return None
        if epithet.is_capital and not sentence.is_title:
            return None
        is_epithet = (
            len(epithet.lower) > 3
            and bool(_EPITHET.fullmatch(epithet.lower))
            and not self._words.is_known(epithet.lower)
        )
        if epithet.lower in ("sp", "spp", "sp.", "spp.") and genus.lower in self._genera:
            return Name(at, at + 2, "species")
        if not is_epithet:
            return None
        in_list = lowers[at] in self._genera
        looks_latin = (
            genus.is_capital
            and bool(_GENUS.fullmatch(lowers[at]))
            and not self._words.is_known(lowers[at])
        )
        if in_list or (
            looks_latin and lowers[at] not in self._first and not self._places.longest(lowers, at)
        ):
            return Name(at, at + 2, "species")
        return None

    def _of_species(self, sentence: Sentence, at: int) -> Name | None:
        """downy woodpecker, lesser spotted eagle"""
        lowers = sentence.lowers
        end = at
        while end < len(lowers) and (
            lowers[end] in self._species_marks
            or " ".join(lowers[end : end + 2]) in self._species_marks
        ):
            end += 1
        if end == at or end >= len(lowers):
            return None
        head = self._words.plurals.singular(lowers[end])
        if head in self._species and not sentence.tokens[end - 1].is_possessive | False:
            return Name(at, end + 1, "species")
        return None

    def _is_same_kind(self, tokens: Sequence[Token], at: int, *, asks: bool) -> bool:
        """Whether both sides of "vs" are of one kind, so that only an expert tells them apart."""
        words = self._words
        left = self._noun_before(tokens, at)
        right = self._noun_after(tokens, at + 1)
        if not left or not right or tokens[at - 1] == tokens[-1]:
            return False
        kinds = [words.nouns.canonical(noun) for noun in (left, right)]
        if words.is_person(left) or words.is_person(right):
            return False
        known = [words.is_noun(noun) for noun in (left, right)]
        living = [words.is_animate(noun) or words.in_class(noun, "plant") for noun in (left, right)]
        if kinds[0] == kinds[1] or (asks and all(living)):
            return True
        if not any(known):
            return asks
        return any(living) and not all(known)

    def _noun_before(self, tokens: Sequence[Token], at: int) -> str:
        for size in (3, 2, 1):
            if at - size >= 0:
                noun = " ".join(token.lower for token in tokens[at - size : at])
                if self._words.is_noun(noun):
                    return self._words.plurals.singular(noun)
        return tokens[at - 1].lower

    def _noun_after(self, tokens: Sequence[Token], at: int) -> str:
        while at < len(tokens) - 1 and tokens[at].lower in ("a", "an", "the", "is", "it"):
            at += 1
        for size in (3, 2, 1):
            if at + size <= len(tokens):
                noun = " ".join(token.lower for token in tokens[at : at + size])
                if self._words.is_noun(noun):
                    return self._words.plurals.singular(noun)
        return tokens[min(at, len(tokens) - 1)].lower
