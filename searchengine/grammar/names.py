"""What only a specialised model can tell: people and bands by name, models, species."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words, matches_any

_PLACE_PREPOSITIONS = (
    "in",
    "at",
    "from",
    "to",
    "near",
    "around",
    "round",
    "through",
    "outside",
    "across",
    "off",
    "along",
    "over",
    "above",
    "overlooking",
    "towards",
    "leaving",
    "via",
    "visiting",
    "into",
    "up",
    "down",
    "climbing",
    "on",
)
_MODEL = re.compile(
    r"(?=.*\d)(?=.*[a-z])[a-z0-9]+(?:[-/.][a-z0-9]+)*|\d{3}-\d{1,3}[a-z]*", re.IGNORECASE
)
_MARK = re.compile(r"mk\.?(\d+|[ivx]+)?|mark")
_ROMAN = re.compile(r"[IVX]+")
_GENUS = re.compile(r"[a-z]{3,}(?:us|a|um|is|es|on|ea|ia|ix|ax|ex|yx|os|as|er|o)")
_EPITHET = re.compile(
    r"[a-z]{2,}(?:us|a|um|is|ii|ae|ensis|oides|aris|alis|icus|ica|icum|anus|ana|ens|ans|ata|atus|atum|ella|ellus|ipes|ea|eus|or|ur|ior|ix|x|i|os|on|e)"
)
_PLACE_ENDINGS = (
    "land",
    "shire",
    "ford",
    "bury",
    "burgh",
    "borough",
    "stan",
    "ville",
    "mouth",
    "chester",
    "cester",
    "dale",
    "ton",
    "ham",
    "wick",
    "by",
    "pool",
    "haven",
    "bridge",
    "gate",
    "minster",
    "stead",
    "field",
    "worth",
    "town",
    "berg",
    "burg",
    "heim",
    "stadt",
    "grad",
    "ia",
    "esia",
    "polis",
)
_PEOPLES = ("ese", "ish", "ian", "ean", "can", "man", "ic", "i")


@dataclass(frozen=True, slots=True)
class Name:
    """Tokens [first, last) that name something; `what` is person, band, model, species, or
    "place" for what the encoders know by name, which is no trouble.
    """

    first: int
    last: int
    what: str


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
        self._makers = names["makers"]
        self._genera = names["genera"]
        self._species = names["species"]
        self._species_marks = names["species marks"]
        self._not_models: list[str] = table["not_models"]
        self._gigs = frozenset(table["gigs"])
        self._people = PhraseTable((name, "person") for name in names["known by one name"])
        self._bands = PhraseTable((name, "band") for name in names["bands"])
        self._models = PhraseTable((name, "model") for name in names["models"])
        self._named_species = PhraseTable((name, "species") for name in names["species names"])
        self._maker_table = PhraseTable((name, "maker") for name in self._makers)
        self._known = PhraseTable(
            [(name, "place") for name in names["places"]]
            + [(name, "place") for name in names["artists and works"]]
            + [(name, "place") for name in names["number names"]]
        )
        self._known_capitals = PhraseTable(
            (name, "place") for name in self._capitals if " " in name
        )
        self._questions = PhraseTable((phrase, True) for phrase in table["questions"])
        self._asking = PhraseTable((phrase, True) for phrase in table["asking"])
        self._versus = frozenset(table["versus"])
        self._sexes = frozenset(table["sexes"])

    def read(self, tokens: Sequence[Token]) -> list[Name]:
        """The names, in the order of the sentence."""
        sentence = _Sentence(tokens)
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

    def _at(self, sentence: _Sentence, at: int) -> Name | None:
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
        maker = self._maker_table.longest(lowers, at)
        if self._known_noun(sentence, at) and not (maker and maker[0] > 1):
            return None
        for check in (self._model, self._latin, self._of_species, self._person):
            name = check(sentence, at)
            if name is not None:
                return name
        return None

    def _known_noun(self, sentence: _Sentence, at: int) -> int:
        """A compound that a list knows: Jack Russell terrier, Christmas tree."""
        for size in (4, 3, 2):
            phrase = sentence.lowers[at : at + size]
            if len(phrase) == size and self._words.is_noun(" ".join(phrase)):
                return size
        return 0

    def _model(self, sentence: _Sentence, at: int) -> Name | None:
        """BMW M3, Ford Focus, 1967 Shelby, GT500, Mk II, Class 37"""
        tokens, lowers = sentence.tokens, sentence.lowers
        token = tokens[at]
        model = self._models.longest(lowers, at)
        if model and (model[0] > 1 or token.is_capital or any(c.isdigit() for c in token.lower)):
            return Name(at, at + model[0], "model")
        if self._is_year(token) and at + 1 < len(tokens):
            following = tokens[at + 1]
            if following.is_capital and (
                following.lower in self._makers or self._models.longest(lowers, at + 1)
            ):
                return Name(at, self._model_end(sentence, at + 2), "model")
        maker = self._maker_table.longest(lowers, at)
        if maker:
            end = at + maker[0]
            is_word = maker[0] == 1 and self._is_word(token.lower)
            if (
                not is_word
                or token.is_capital
                or (end < len(tokens) and self._has_digit(tokens[end]))
            ):
                last = self._model_end(sentence, end)
                coded = any(self._has_digit(token) for token in tokens[end:last])
                is_sure = coded or not (is_word and sentence.is_initial(at))
                if last > end and (is_sure or not self._words.is_known(tokens[end].lower)):
                    return Name(at, last, "model")
            if self._is_set_number(tokens, end):
                return Name(at, end + 2, "model")
        if at and _MARK.fullmatch(token.lower) and self._is_numbered_mark(tokens, at):
            return Name(at, min(at + 2, len(tokens)), "model")
        if (
            token.lower == "class"
            and token.is_capital
            and at + 1 < len(tokens)
            and tokens[at + 1].kind == "number"
        ):
            return Name(at, at + 2, "model")
        if self._is_model_number(token, sentence, at):
            return Name(at, at + 1, "model")
        return None

    def _is_numbered_mark(self, tokens: Sequence[Token], at: int) -> bool:
        """Mk2, Mk IX, Mark 4; but not "mark" alone"""
        if any(char.isdigit() for char in tokens[at].lower):
            return True
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        return following is not None and (
            following.kind == "number" or bool(_ROMAN.fullmatch(following.text))
        )

    def _is_set_number(self, tokens: Sequence[Token], at: int) -> bool:
        """Lego SET 75192"""
        return (
            at + 1 < len(tokens)
            and tokens[at].kind == "word"
            and bool(re.fullmatch(r"\d{3,6}", tokens[at + 1].text))
            and not self._is_year(tokens[at + 1])
        )

    def _is_word(self, lower: str) -> bool:
        words = self._words
        return words.is_noun(lower) or lower in words.adjectives or words.is_verb(lower)

    def _is_year(self, token: Token) -> bool:
        return token.kind == "number" and bool(re.fullmatch(r"1[89]\d\d|20[0-4]\d", token.text))

    def _has_digit(self, token: Token) -> bool:
        return any(c.isdigit() for c in token.text)

    def _model_end(self, sentence: _Sentence, at: int) -> int:
        """Where the model's name ends that follows a maker at `at`."""
        tokens = sentence.tokens
        end = at
        while end < len(tokens) and end < at + 4:
            token = tokens[end]
            is_code = self._has_digit(token) and (
                token.kind == "number" or bool(_MODEL.fullmatch(token.text))
            )
            is_name = (
                token.is_capital
                and not sentence.is_title
                and token.lower not in self._capitals
                and not (token.text.isupper() and len(token.text) > 5)
            )
            if token.kind == "mark" or not (is_code or is_name):
                break
            if is_code and self._is_year(token) and end == at:
                break
            if token.lower in self._landmarks and not is_code:
                break
            end += 1
        return end

    def _is_model_number(self, token: Token, sentence: _Sentence, at: int) -> bool:
        text = token.text
        if token.kind == "number" or not _MODEL.fullmatch(text) or "'" in text:
            return False
        if matches_any(self._not_models, text.lower()):
            return False
        letters = "".join(c for c in text if c.isalpha())
        if re.fullmatch(r"\d+-[a-z-]+", text.lower()) or (
            re.fullmatch(r"[a-z-]+-\d+", text.lower()) and letters.islower()
        ):
            return False
        return letters.isupper() or (len(letters) <= 3 and not letters.islower())

    def _latin(self, sentence: _Sentence, at: int) -> Name | None:
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
            looks_latin and lowers[at] not in self._first and not self._known.longest(lowers, at)
        ):
            return Name(at, at + 2, "species")
        return None

    def _of_species(self, sentence: _Sentence, at: int) -> Name | None:
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

    def _person(self, sentence: _Sentence, at: int) -> Name | None:
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
                and previous not in _PLACE_PREPOSITIONS
            )
            if not is_person:
                return Name(at, self._place_end(sentence, end), "place")
        if token.is_capital and self._known_capitals.longest(lowers, at):
            return Name(at, at + self._known_capitals.longest(lowers, at)[0], "place")  # type: ignore[index]
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
                word in self._words.table["words"]["feminine_and_masculine"]
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

    def _by_capitals(self, sentence: _Sentence, at: int) -> Name | None:
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
                if previous not in _PLACE_PREPOSITIONS:
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
        if previous in _PLACE_PREPOSITIONS:
            return Name(at, self._capitals_end(sentence, at), "place")
        if self._surname(sentence, at + 1) and unknown and not lowers[at].endswith(_PEOPLES):
            return Name(at, self._name_end(sentence, at), "person")
        if not unknown or sentence.is_initial(at):
            return None
        if lowers[at].endswith((*_PLACE_ENDINGS, *_PEOPLES)):
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

    def _is_gig(self, sentence: _Sentence, at: int) -> bool:
        lowers = sentence.lowers
        return (
            at + 1 < len(lowers)
            and lowers[at + 1] in self._gigs
            and not self._words.is_known(lowers[at])
            and lowers[at] not in self._capitals
        )

    def _is_owned_after(self, sentence: _Sentence, at: int) -> bool:
        """Bella OUR LABRADOR"""
        lowers = sentence.lowers
        token = sentence.tokens[at]
        after = at + 1
        if after < len(lowers) and lowers[after] == ",":
            after += 1
        if not token.is_capital or sentence.is_title or after + 1 >= len(lowers):
            return False
        if lowers[after] not in ("our", "my", "the", "his", "her", "their"):
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

    def _surname(self, sentence: _Sentence, at: int) -> bool:
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

    def _name_end(self, sentence: _Sentence, at: int) -> int:
        """Where a person's name ends that begins at `at`."""
        end = at + 1
        while end < len(sentence.tokens) and end < at + 4:
            if sentence.tokens[end - 1].is_possessive:
                break
            if not (
                self._surname(sentence, end)
                or sentence.lowers[end] in ("de", "van", "von", "da", "di", "la", "bin", "al")
            ):
                break
            end += 1
        while (
            sentence.lowers[end - 1] in ("de", "van", "von", "da", "di", "la", "bin", "al")
            and end > at + 1
        ):
            end -= 1
        return end

    def _place_end(self, sentence: _Sentence, at: int) -> int:
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

    def _capitals_end(self, sentence: _Sentence, at: int) -> int:
        end = at
        while (
            end < len(sentence.tokens)
            and sentence.tokens[end].is_capital
            and sentence.tokens[end].kind == "word"
        ):
            end += 1
        return max(end, at + 1)


class _Sentence:
    """The tokens, their lower case, and how capitals are used."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.lowers = [token.lower for token in tokens]
        written = [token for token in tokens if token.kind == "word"]
        capitals = sum(token.is_capital for token in written)
        small = [t for t in written if not t.is_capital and len(t.text) > 3]
        self.is_title = len(written) > 3 and capitals >= 0.75 * len(written) and not small
        letters = [token.text for token in written if token.text.isalpha()]
        is_shouted = len(letters) > 1 and all(text.isupper() for text in letters)
        self.is_title = self.is_title or is_shouted

    def is_initial(self, at: int) -> bool:
        """Whether a capital at `at` says nothing, since a sentence begins there."""
        return at == 0 or self.tokens[at - 1].text in (".", "!", "?", ":")
