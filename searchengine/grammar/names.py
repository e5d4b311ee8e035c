"""What only a specialised model can tell: people and bands by name, models, species."""

from __future__ import annotations

from collections.abc import Sequence

from searchengine.grammar.models import ModelReader
from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.sentences import Name, Sentence
from searchengine.grammar.species import SpeciesReader
from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words


class NameReader:
    """Finds names in a sentence, before typos are mended."""

    def __init__(self, words: Words) -> None:
        self._words = words
        names = words.names
        table = words.table["fine_grained"]
        self._first = names["first names"]
        self._word_names = names["first names that are words"]
        self._titles = names["titles"]
        self._kin = names["kin and pets"]
        self._landmarks = names["landmarks"]
        self._capitals = names["known capitals"]
        self._gigs = frozenset(table["gigs"])
        self._people = PhraseTable((name, "person") for name in names["known by one name"])
        self._bands = PhraseTable((name, "band") for name in names["bands"])
        self._named_species = PhraseTable((name, "species") for name in names["species names"])
        self._known = PhraseTable(
            [(name, "place") for name in names["places"]]
            + [(name, "place") for name in names["artists and works"]]
            + [(name, "place") for name in names["number names"]]
        )
        self._known_capitals = PhraseTable(
            (name, "place") for name in self._capitals if " " in name
        )
        self._place_prepositions = frozenset(table["place_prepositions"])
        self._place_endings = tuple(table["place_endings"])
        self._people_endings = tuple(table["people_endings"])
        self._particles = frozenset(table["particles"])
        self._owners = frozenset(table["owners"])
        self._models = ModelReader(words)
        self._species = SpeciesReader(words)

    def question(self, tokens: Sequence[Token]) -> tuple[int, int] | None:
        """The tokens that ask which one of a kind it is, or None."""
        return self._species.question(tokens)

    def read(self, tokens: Sequence[Token]) -> list[Name]:
        """The names, in the order of the sentence."""
        sentence = Sentence(tokens)
        found: list[Name] = []
        at = 0
        while at < len(tokens):
            name = self._at(sentence, at)
            if name is None:
                at += max(1, self._known_noun(sentence, at))
            else:
                found.append(name)
                at = name.last
        return found

    def _at(self, sentence: Sentence, at: int) -> Name | None:
        tokens, lowers = sentence.tokens, sentence.lowers
        token = tokens[at]
        if token.kind == "mark" or token.kind == "quoted":
            return None
        for table in (self._people, self._bands, self._named_species):
            found = table.longest(lowers, at)
            if found and (
                found[0] > 1
                or (token.is_capital and not sentence.is_initial(at))
                or (found[0] == 1 and not self._words.is_noun(token.lower))
            ):
                if found[1] == "band" and found[0] == 1 and not token.is_capital:
                    continue
                return Name(at, at + found[0], found[1])
        if self._known_noun(sentence, at) and not self._models.has_long_maker(sentence, at):
            return None
        for check in (self._models.read, self._species.read, self._person):
            name = check(sentence, at)
            if name is not None:
                return name
        return None

    def _known_noun(self, sentence: Sentence, at: int) -> int:
        """A compound that a list knows: Jack Russell terrier, Christmas tree."""
        for size in (4, 3, 2):
            phrase = sentence.lowers[at : at + size]
            if len(phrase) == size and self._words.is_noun(" ".join(phrase)):
                return size
        return 0

    def _person(self, sentence: Sentence, at: int) -> Name | None:
        tokens, lowers = sentence.tokens, sentence.lowers
        token = tokens[at]
        if token.kind != "word":
            return None
        previous = lowers[at - 1] if at else ""
        known = self._known.longest(lowers, at)
        if known and (token.is_capital or known[0] > 1):
            end = at + known[0]
            is_person = (
                lowers[at] in self._first
                and self._surname(sentence, end)
                and previous not in self._place_prepositions
            )
            if not is_person:
                return Name(at, self._place_end(sentence, end), "place")
        if token.is_capital and (capitals := self._known_capitals.longest(lowers, at)):
            return Name(at, at + capitals[0], "place")
        if self._place_end(sentence, at) > at + 1:
            return Name(at, self._place_end(sentence, at), "place")
        if lowers[at] in self._titles and at + 1 < len(tokens):
            following = tokens[at + 1]
            is_name = lowers[at + 1] in self._first or (
                following.is_capital and not sentence.is_title and not self._is_plain(following)
            )
            if is_name and following.kind == "word":
                return Name(at, self._name_end(sentence, at + 1), "person")
        if (
            previous in self._kin or self._words.plurals.singular(previous) in self._kin
        ) and at > 1:
            possessed = any(
                word in self._words.table["words"]["possessives"]
                for word in lowers[max(0, at - 4) : at - 1]
            )
            if (
                possessed
                and token.is_capital
                and lowers[at] not in self._capitals
                and not sentence.is_title
            ):
                return Name(at, self._name_end(sentence, at), "person")
        if self._is_owned_after(sentence, at):
            return Name(at, self._name_end(sentence, at), "person")
        if lowers[at] in self._first and (token.is_capital or not self._words.is_noun(lowers[at])):
            return Name(at, self._name_end(sentence, at), "person")
        if not token.is_capital or sentence.is_title or lowers[at] in self._capitals:
            return None
        return self._by_capitals(sentence, at)

    def _by_capitals(self, sentence: Sentence, at: int) -> Name | None:
        """Names that no list holds: two capitals on end, or one after "with"."""
        tokens, lowers = sentence.tokens, sentence.lowers
        token = tokens[at]
        previous = lowers[at - 1] if at else ""
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        if self._is_gig(sentence, at):
            return Name(at, at + 1, "band")
        if lowers[at] in self._word_names:
            joined = following is not None and (
                following.lower in ("and", "&")
                and at + 2 < len(tokens)
                and tokens[at + 2].is_capital
            )
            surname = self._surname(sentence, at + 1)
            if not sentence.is_initial(at) or token.is_possessive or joined or surname:
                if previous not in self._place_prepositions:
                    return Name(at, self._name_end(sentence, at), "person")
            elif (
                following is not None
                and following.lower.endswith("ing")
                and not self._words.is_noun(lowers[at])
                and lowers[at] not in self._words.attributes
            ):
                return Name(at, at + 1, "person")
        if self._is_plain(token) and sentence.is_initial(at):
            return None
        unknown = not self._words.is_known(lowers[at])
        if previous in self._place_prepositions:
            return Name(at, self._capitals_end(sentence, at), "place")
        if (
            self._surname(sentence, at + 1)
            and unknown
            and not lowers[at].endswith(self._people_endings)
        ):
            return Name(at, self._name_end(sentence, at), "person")
        if not unknown or sentence.is_initial(at):
            return None
        if lowers[at].endswith((*self._place_endings, *self._people_endings)):
            return None
        if (
            following is not None
            and following.kind == "word"
            and following.lower.endswith("ing")
            and not self._words.is_noun(following.lower)
        ):
            return Name(at, at + 1, "person")
        if previous in ("with", "and", "by", "for") or token.is_possessive:
            return Name(at, at + 1, "person")
        return None

    def _is_gig(self, sentence: Sentence, at: int) -> bool:
        lowers = sentence.lowers
        return (
            at + 1 < len(lowers)
            and lowers[at + 1] in self._gigs
            and not self._words.is_known(lowers[at])
            and lowers[at] not in self._capitals
        )

    def _is_owned_after(self, sentence: Sentence, at: int) -> bool:
        """Bella OUR LABRADOR"""
        lowers = sentence.lowers
        token = sentence.tokens[at]
        after = at + 1
        if after < len(lowers) and lowers[after] == ",":
            after += 1
        if not token.is_capital or sentence.is_title or after + 1 >= len(lowers):
            return False
        if lowers[after] not in self._owners:
            return False
        is_kin = any(
            self._words.plurals.singular(word) in self._kin
            for word in lowers[after + 1 : after + 3]
        )
        if not is_kin or lowers[at] in self._capitals:
            return False
        return (
            lowers[after] != "the"
            or lowers[at] in self._first | self._word_names
            or not self._words.is_known(lowers[at])
        )

    def _is_plain(self, token: Token) -> bool:
        """A word of the language, whatever its capital."""
        return self._words.is_known(token.lower) or token.lower in self._capitals

    def _surname(self, sentence: Sentence, at: int) -> bool:
        """Whether a surname may stand at `at`."""
        if at >= len(sentence.tokens) or sentence.is_title:
            return False
        token = sentence.tokens[at]
        return (
            token.kind == "word"
            and token.is_capital
            and token.lower not in self._capitals
            and token.lower not in self._landmarks
            and not self._known_noun(sentence, at)
        )

    def _name_end(self, sentence: Sentence, at: int) -> int:
        """Where a person's name ends that begins at `at`."""
        end = at + 1
        while end < len(sentence.tokens) and end < at + 4:
            if sentence.tokens[end - 1].is_possessive:
                break
            if not (self._surname(sentence, end) or sentence.lowers[end] in self._particles):
                break
            end += 1
        while sentence.lowers[end - 1] in self._particles and end > at + 1:
            end -= 1
        return end

    def _place_end(self, sentence: Sentence, at: int) -> int:
        """Where the place's name ends whose first words end at `at`: ... Tower, ... Bridge."""
        end = at
        while end < len(sentence.tokens) and end < at + 4:
            token = sentence.tokens[end]
            if not token.is_capital or token.kind != "word":
                break
            end += 1
        for last in range(end, at, -1):
            if sentence.lowers[last - 1] in self._landmarks and (
                last - at > 1 or (at and sentence.tokens[at - 1].is_capital)
            ):
                return last
        return at

    def _capitals_end(self, sentence: Sentence, at: int) -> int:
        end = at
        while (
            end < len(sentence.tokens)
            and sentence.tokens[end].is_capital
            and sentence.tokens[end].kind == "word"
        ):
            end += 1
        return max(end, at + 1)
