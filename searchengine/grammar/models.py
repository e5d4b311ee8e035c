"""Models of cars, cameras, aeroplanes: a maker with a name or number, or a number alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.sentences import Name, Sentence
from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words, matches_any

_MODEL = re.compile(
    r"(?=.*\d)(?=.*[a-z])[a-z0-9]+(?:[-/.][a-z0-9]+)*|\d{3}-\d{1,3}[a-z]*", re.IGNORECASE
)
_MARK = re.compile(r"mk\.?(\d+|[ivx]+)?|mark")
_ROMAN = re.compile(r"[IVX]+")


class ModelReader:
    """Finds the model that is named at a position of a sentence."""

    def __init__(self, words: Words) -> None:
        self._words = words
        names = words.names
        self._landmarks = names["landmarks"]
        self._capitals = names["known capitals"]
        self._makers = names["makers"]
        self._not_models: list[str] = words.table["fine_grained"]["not_models"]
        self._models = PhraseTable((name, "model") for name in names["models"])
        self._maker_table = PhraseTable((name, "maker") for name in self._makers)

    def has_long_maker(self, sentence: Sentence, at: int) -> bool:
        """Whether a maker of several words begins here: Land Rover, which is a noun too."""
        maker = self._maker_table.longest(sentence.lowers, at)
        return maker is not None and maker[0] > 1

    def read(self, sentence: Sentence, at: int) -> Name | None:
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
        number = tokens[at + 1] if at + 1 < len(tokens) else None
        if token.lower == "class" and token.is_capital and number and self._has_digit(number):
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

    def _model_end(self, sentence: Sentence, at: int) -> int:
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

    def _is_model_number(self, token: Token, sentence: Sentence, at: int) -> bool:
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
