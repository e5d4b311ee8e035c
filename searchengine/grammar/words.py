"""The words of the grammar by what they do in a sentence, read from `config/` once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache, cached_property, lru_cache
from typing import Any

from indexer.config_files import config_path
from searchengine.grammar.phrase_table import PhraseTable
from searchengine.vocabulary import Vocabulary, vocabulary
from searchengine.word_lists import read_words

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MIN_TYPO = 4  # letters; shorter words are a letter away from too many others
_MAX_TYPO = 20


class Words:
    """Answers what kind of word something is."""

    def __init__(self, nouns: Vocabulary) -> None:
        text = config_path("vocabulary.toml").read_text(encoding="utf-8")
        self.table: dict[str, Any] = tomllib.loads(text)
        self.nouns = nouns
        self.plurals = nouns.plurals
        self.names = read_words("names.txt")
        other = read_words("other.txt")
        self.adjectives = other["adjectives"]
        self.adverbs = other["adverbs"]
        self.verbs = other["verbs"]
        self.verb_forms = other["verb forms"]
        self.posture = other["posture"]
        self.carrying = other["carrying"]
        self.closed = {
            kind: frozenset(self.table["words"][section])
            for kind, section in (
                ("det", "determiners"),
                ("conj", "conjunctions"),
                ("prep", "prepositions"),
                ("pron", "pronouns"),
                ("aux", "auxiliaries"),
            )
        }
        attributes = self.table["attributes"]
        self._animals = frozenset(self.table["animals"]["labels"])
        self.colours = frozenset(attributes["colours"])
        self.modifiers = frozenset(attributes["modifiers"])
        self.materials = frozenset(attributes["materials"])
        self.sizes = frozenset(attributes["sizes"])
        self.patterns = frozenset(attributes["patterns"])
        self.attributes = self.colours | self.materials | self.sizes | self.patterns
        self.attribute_names = frozenset(attributes["names"])
        self.own_names = PhraseTable((name, "noun") for name in attributes["names"])
        self.numbers: dict[str, int] = self.table["numbers"]
        self.number_words = frozenset(self.numbers)
        self.units = frozenset(self.table["counting"]["units"])

    def in_class(self, noun: str, *classes: str) -> bool:
        """Whether a singular noun, or the last word of a compound, is of one of the classes."""
        last = noun.rpartition(" ")[2]
        known = self.nouns.classes
        for name in (noun, last) if noun not in self.nouns.nouns else (noun,):
            if any(name in known[section] for section in classes):
                return True
        return False

    def is_noun(self, word: str) -> bool:
        """Whether a list knows it as a noun, singular or plural."""
        nouns = self.nouns.nouns
        if word in nouns or self.plurals.is_only_plural(word):
            return True
        return self.plurals.singular(word) in nouns

    @lru_cache(maxsize=4096)  # noqa: B019
    def is_compound(self, phrase: str) -> bool:
        """Whether words make one noun: "lamp post", but not "red apple" or "kitchen table"."""
        singular = self.plurals.singular(phrase)
        if singular in self.attribute_names or phrase in self.attribute_names:
            return True
        if singular in self.nouns.plain_compounds or phrase.partition(" ")[0] in self.attributes:
            return False
        return singular in self.nouns.nouns or phrase in self.nouns.nouns

    def is_person(self, noun: str) -> bool:
        return self.nouns.canonical(noun) == "person"

    def is_animate(self, noun: str) -> bool:
        """A person or an animal."""
        kind = self.nouns.canonical(noun)
        return kind == "person" or kind in self._animals or self.in_class(noun, "animal")

    @lru_cache(maxsize=4096)  # noqa: B019 - one object in a process's life
    def verb_base(self, word: str) -> str:
        """The base of a verb's form that a rule makes, or ""."""
        if word in self.verbs:
            return word
        for ending, added in _VERB_ENDINGS:
            if word.endswith(ending):
                stem = word[: -len(ending)]
                for base in (stem + added, stem, stem + "e", stem[:-1]):
                    doubled = base == stem[:-1] and stem[-1:] != stem[-2:-1]
                    if base in self.verbs and not doubled:
                        return base
        return ""

    def is_verb(self, word: str) -> bool:
        return word in self.verb_forms or bool(self.verb_base(word))

    def is_participle(self, word: str) -> bool:
        """running, parked, broken: may stand before a noun, or after it as a verb."""
        if word in self.verb_forms:
            return True
        return word.endswith(("ing", "ed")) and (bool(self.verb_base(word)) or len(word) > 5)

    @lru_cache(maxsize=16384)  # noqa: B019
    def is_known(self, word: str) -> bool:
        """Whether any list knows the word, in any form."""
        if word in self._function_words or word in self.adjectives or word in self.adverbs:
            return True
        if self.is_noun(word) or self.is_verb(word) or word in self.attributes:
            return True
        if word.endswith("ly") and len(word) > 4:
            return True
        if word.endswith(("er", "est", "ier", "iest")) and self._graded(word):
            return True
        if word.endswith(("less", "ful", "ness")) and len(word) > 6:
            return True
        return "-" in word or not word.isalpha() or word in self._compound_parts

    def _graded(self, word: str) -> bool:
        for ending, added in (("iest", "y"), ("ier", "y"), ("est", ""), ("er", ""), ("er", "e")):
            if word.endswith(ending):
                stem = word[: -len(ending)] + added
                if stem in self.adjectives or stem[:-1] in self.adjectives:
                    return True
        return False

    @lru_cache(maxsize=4096)  # noqa: B019
    def corrected(self, word: str) -> str:
        """The known word one edit away from an unknown one, or the word itself."""
        if len(word) > _MAX_TYPO or self.is_known(word) or not word.isascii():
            return word
        if len(word) < _MIN_TYPO:
            near = {word + letter for letter in _LETTERS} & (self.colours | set(self.numbers))
            near = near or ({word[0] + word[:0:-1]} & self._label_forms)  # dgo, cra
            return min(near) if len(word) == _MIN_TYPO - 1 and near else word
        if word.endswith(("ing", "ed")) and len(word) > 5:
            return word  # a verb that the list lacks
        found = [
            near
            for near in _one_edit_away(word)
            if near[:2] in (word[:2], word[1::-1]) or (near[0] == word[0] and near[-1] == word[-1])
        ]
        for targets in (
            self.number_words,
            self._function_words,
            self.attributes,
            self._label_forms,
            self._noun_forms,
        ):
            shortest = _MIN_TYPO - 1 if targets is self.number_words else _MIN_TYPO
            best = [near for near in found if near in targets and len(near) >= shortest]
            if best:
                return min(best, key=lambda near: (near[0] != word[0], -len(near), near))
        return word

    def is_function(self, word: str) -> bool:
        """Whether the word carries grammar or a number and no picture."""
        is_plain = self.is_noun(word) or word in self.names["known capitals"]
        return (word in self._function_words and not is_plain) or word.isdecimal()

    @cached_property
    def _function_words(self) -> frozenset[str]:
        """Words that carry the grammar, which a typo must not hide."""
        table = self.table
        phrases: list[str] = [
            *self.numbers,
            *table["number_units"],
            *table["pairs"],
            *table["relations"],
            *table["comparatives"],
            *table["negation"]["before"],
            *table["negation"]["negatives"],
            *table["text_in_image"]["verbs"],
            *table["request"]["prefixes"],
            *table["request"]["pictures"],
            *table["counting"]["single"],
            *table["counting"]["groups"],
            *table["counting"]["units"],
            *table["attributes"]["modifiers"],
        ]
        single = {word for phrase in phrases for word in phrase.split()}
        return frozenset(single.union(*self.closed.values(), self.names["known capitals"]))

    @cached_property
    def _compound_parts(self) -> frozenset[str]:
        return frozenset(part for noun in self.nouns.nouns if " " in noun for part in noun.split())

    @cached_property
    def _label_forms(self) -> frozenset[str]:
        return _with_plurals(self.nouns.label_words)

    @cached_property
    def _noun_forms(self) -> frozenset[str]:
        return _with_plurals(noun for noun in self.nouns.nouns if " " not in noun)


_VERB_ENDINGS = (
    ("ies", "y"),
    ("ied", "y"),
    ("ying", "ie"),
    ("ing", ""),
    ("ed", ""),
    ("es", ""),
    ("s", ""),
)


def _with_plurals(nouns: Iterable[str]) -> frozenset[str]:
    forms = set()
    for noun in nouns:
        ends_hard = noun.endswith(("s", "x", "z", "ch", "sh"))
        forms |= {noun, noun + ("es" if ends_hard else "s")}
        if noun.endswith("y") and noun[-2:-1] not in "aeiou":
            forms.add(f"{noun[:-1]}ies")
    return frozenset(forms)


def _one_edit_away(word: str) -> set[str]:
    splits = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    deleted = {left + right[1:] for left, right in splits if right}
    swapped = {left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1}
    changed = {left + c + right[1:] for left, right in splits if right for c in _LETTERS}
    added = {left + c + right for left, right in splits for c in _LETTERS}
    return deleted | swapped | changed | added


@cache
def words() -> Words:
    """The words, read once in a process's life."""
    return Words(vocabulary())


def matches_any(patterns: Iterable[str], word: str) -> bool:
    return any(re.fullmatch(pattern, word) for pattern in patterns)
