"""Plurals to singulars: `config/words/plurals.txt` first, then the rules of English spelling."""

from __future__ import annotations

from collections.abc import Collection

from searchengine.word_lists import read_table, read_words


class Plurals:
    """Tells singulars from plurals, with the help of the nouns it is told of."""

    def __init__(self, known: Collection[str]) -> None:
        lists = read_words("plurals.txt")
        self._irregular = {
            plural: words[0] for plural, words in read_table("plurals.txt")["irregular"].items()
        }
        self._same = lists["same"]
        self._only_plural = lists["only plural"]
        self._known = known

    def singular(self, noun: str) -> str:
        """The singular of a noun in lower case, or the noun itself. A compound's last word counts.

        What exists only as a pair ("jeans", "glasses") is its own singular.
        """
        if noun in self._only_plural or noun in self._same:
            return noun
        if noun in self._irregular:
            return self._irregular[noun]
        head, space, last = noun.rpartition(" ")
        if space:
            if last in self._only_plural and last in self._irregular:  # wine glasses
                return f"{head} {self._irregular[last]}"
            return f"{head} {self.singular(last)}"
        return self._by_rule(noun)

    def is_plural(self, noun: str) -> bool:
        """Whether a noun may stand after "two"."""
        last = noun.rpartition(" ")[2]
        return last in self._same or last in self._only_plural or self.singular(last) != last

    def is_only_plural(self, noun: str) -> bool:
        """Whether the noun names one thing by a plural: jeans, scissors."""
        return noun in self._only_plural or noun.rpartition(" ")[2] in self._only_plural

    def is_uncountable(self, noun: str) -> bool:
        """Whether one cannot tell by the word if it is one or many: sheep, aircraft."""
        return noun in self._same

    def one_of(self, noun: str) -> str:
        """The singular of a noun that is counted: four glasses are made of drinking glasses."""
        if noun in self._irregular:
            return self._irregular[noun]
        return self._by_rule(noun) if noun in self._only_plural else self.singular(noun)

    def _by_rule(self, noun: str) -> str:
        if noun.endswith("children"):
            return f"{noun[:-8]}child"
        if noun.endswith("men") and f"{noun[:-3]}man" in self._known:
            return f"{noun[:-3]}man"
        if not noun.endswith("s") or noun.endswith(("ss", "'s")) or len(noun) < 3:
            return noun
        stem = noun[:-1]
        if stem in self._known:
            return stem
        candidates = []
        if noun.endswith("ies"):
            candidates = [f"{noun[:-3]}y"]
        elif noun.endswith("ves"):
            candidates = [f"{noun[:-3]}f", f"{noun[:-3]}fe"]
        elif noun.endswith("es"):
            candidates = [noun[:-2]]
        for candidate in candidates:
            if candidate in self._known:
                return candidate
        if noun in self._known:  # a singular that ends in s
            return noun
        if noun.endswith("ies") and len(noun) > 4:
            return f"{noun[:-3]}y"
        if noun.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")):
            return noun[:-2]
        if noun.endswith(("us", "is")):
            return noun
        return stem
