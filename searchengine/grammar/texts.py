"""Text that a picture is asked to show: "a sign that says STOP", a number plate, a quotation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from searchengine.grammar.phrase_table import PhraseTable
from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words

_FLIGHT = re.compile(r"[A-Z]{2}\d{2,4}")


class TextReader:
    """Finds the parts of a sentence that ask for text."""

    def __init__(self, words: Words) -> None:
        table = words.table["text_in_image"]
        self._carriers = PhraseTable((carrier, True) for carrier in table["carriers"])
        self._verbs = PhraseTable((verb, True) for verb in table["verbs"])
        self._phrases = PhraseTable((phrase, True) for phrase in table["phrases"])
        self._directed = PhraseTable((carrier, True) for carrier in table["directed"])
        self._idioms = PhraseTable((idiom, True) for idiom in table["idioms"])
        self._number_words = frozenset(table["number_words"])
        self._capitals = words.names["known capitals"]
        self._links = frozenset(table["links"])
        self._small = frozenset(table["small"])
        self._before_content = frozenset(table["before_content"])
        self._after_content = frozenset(table["after_content"])
        self._unsure = frozenset(table["unsure"])
        self._showing = frozenset(table["showing"])
        self._lettered = frozenset(table["lettered"])
        self._numbered = frozenset(table["numbered_carriers"])

    def read(self, tokens: Sequence[Token], *, is_model: bool) -> list[tuple[int, int]]:
        """Spans [first, last) of tokens, of what asks for text and of the text itself.

        `is_model`: the sentence names a model, whose nickname may stand in quotation marks.
        """
        lowers = [token.lower for token in tokens]
        spans: list[tuple[int, int]] = []
        has_carrier = any(self._carrier(tokens, lowers, at) for at in range(len(tokens)))
        at = 0
        while at < len(tokens):
            end = self._at(tokens, lowers, at, is_model and not has_carrier)
            if end > at:
                spans.append((self._begin(tokens, at, spans), end))
                at = end
            else:
                at += 1
        return spans

    def _begin(self, tokens: Sequence[Token], at: int, spans: Sequence[tuple[int, int]]) -> int:
        """with CONGRATULATIONS written across it: the text stands before its verb"""
        if tokens[at].lower in self._lettered:
            earliest = spans[-1][1] if spans else 1
            while at > max(earliest, 1) and tokens[at - 1].is_capital:
                at -= 1
        return at

    def _at(self, tokens: Sequence[Token], lowers: Sequence[str], at: int, is_model: bool) -> int:
        """Where the text that begins at `at` ends; `at` itself where none begins."""
        if tokens[at].kind == "quoted" and not is_model and tokens[at].text[0] not in "£$€":
            return at + 1
        idiom = self._idioms.longest(lowers, at)
        phrase = self._phrases.longest(lowers, at)
        directed = self._directed.longest(lowers, at)
        if phrase and not (idiom and idiom[0] >= phrase[0]) and not directed:
            return self._content_end(tokens, lowers, at + phrase[0], is_open=False)
        if idiom:
            return at
        if directed:
            end = at + directed[0]
            if end + 2 < len(tokens) and lowers[end].endswith("ing"):
                end += 1  # a sign pointing to London
            is_directed = lowers[end : end + 1] in (["to"], ["for"], ["from"])
            if is_directed and self._is_name_or_number(tokens, end + 1):
                return self._content_end(tokens, lowers, end + 1, is_open=False)
            if phrase:
                return self._content_end(tokens, lowers, at + phrase[0], is_open=False)
        carrier = self._carrier(tokens, lowers, at)
        if carrier:
            return self._after_carrier(tokens, lowers, at, at + carrier)
        if (
            lowers[at] in ("flight", "train")
            and at + 1 < len(tokens)
            and _FLIGHT.fullmatch(tokens[at + 1].text)
        ):
            return at + 2
        return at

    def _carrier(self, tokens: Sequence[Token], lowers: Sequence[str], at: int) -> int:
        found = self._carriers.longest(lowers, at)
        return found[0] if found and not tokens[at].is_possessive else 0

    def _after_carrier(
        self, tokens: Sequence[Token], lowers: Sequence[str], at: int, after: int
    ) -> int:
        """a sign THAT SAYS ..., a bus NUMBER 42, a receipt SHOWING £5"""
        position = after
        while position < len(tokens) and position < after + 2 and lowers[position] in self._links:
            position += 1
        if position >= len(tokens):
            return at
        verb = self._verbs.longest(lowers, position)
        if verb:
            end = position + verb[0]
            if end >= len(tokens):
                return at
            sure = lowers[position] not in self._unsure or self._is_name_or_number(tokens, end)
            return self._content_end(tokens, lowers, end, is_open=True) if sure else at
        if " ".join(lowers[at:after]) in self._numbered:
            if lowers[after] in self._showing and self._holds_number(tokens, after + 1):
                number = self._number_at(tokens, after + 1)
                return self._content_end(tokens, lowers, number, is_open=False)
            if re.fullmatch(r"\d{2,}|#\d+", tokens[after].text):
                return after + 1
        if lowers[position - 1] == "with" and tokens[position].is_capital:
            end = position  # a cake with HAPPY BIRTHDAY TOM on it
            while end < len(tokens) and (
                tokens[end].is_capital or (lowers[end] in self._small and lowers[end] != "on")
            ):
                end += 1
            if lowers[end : end + 1] == ["on"]:
                return self._content_end(tokens, lowers, position, is_open=False)
        following = tokens[position + 1] if position + 1 < len(tokens) else None
        if lowers[position] in self._number_words and following and following.kind == "number":
            return self._content_end(tokens, lowers, position + 1, is_open=False)
        capitals = tokens[position].text
        is_text = (
            len(capitals) > 2 and capitals.isupper() and lowers[position] not in self._capitals
        )
        if position > after and is_text:
            return self._content_end(tokens, lowers, position, is_open=False)
        return at

    def _holds_number(self, tokens: Sequence[Token], at: int) -> bool:
        return any(
            token.text[:1] in "£$€" or (token.text[:1].isdigit()) for token in tokens[at : at + 4]
        )

    def _number_at(self, tokens: Sequence[Token], at: int) -> int:
        """Where the number stands that `_holds_number` saw."""
        while tokens[at].text[:1] not in "£$€" and not tokens[at].text[:1].isdigit():
            at += 1
        return at

    def _is_name_or_number(self, tokens: Sequence[Token], at: int) -> bool:
        """Whether something that can be a text stands there: a capital, a code, a number."""
        for token in tokens[at : at + 3]:
            if (
                token.kind == "quoted"
                or token.kind == "number"
                or any(c.isdigit() for c in token.text)
            ):
                return True
            if token.is_capital:
                return True
            if token.lower not in self._small:
                return False
        return False

    def _content_end(
        self, tokens: Sequence[Token], lowers: Sequence[str], at: int, *, is_open: bool
    ) -> int:
        """Where the text ends: capitals and numbers, or with `is_open` the rest of the clause."""
        end = at
        while end < len(tokens) and lowers[end] in self._before_content:
            end += 1
        if end >= len(tokens):
            return len(tokens) if end > at else at
        if tokens[end].kind == "quoted":
            return end + 1
        if self._is_name_or_number(tokens, end):
            while end < len(tokens):
                token = tokens[end]
                is_text = (
                    token.is_capital
                    or token.kind == "number"
                    or any(c.isdigit() for c in token.text)
                )
                follows = end + 1 < len(tokens) and (
                    tokens[end + 1].is_capital or tokens[end + 1].kind == "number"
                )
                if (
                    not is_text
                    and not (token.lower in self._small and follows)
                    and token.text not in ("!", "&", "'")
                ):
                    break
                end += 1
            while end < len(tokens) and lowers[end] in self._after_content:
                end += 1
            return end
        if is_open:
            while end < len(tokens) and tokens[end].text not in (",", ";", "(", ")", "."):
                end += 1
            return end
        return at
