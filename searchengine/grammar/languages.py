"""Tells sentences that are not English, which the grammar must leave alone."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from searchengine.grammar.tokens import Token
from searchengine.grammar.words import Words


def other_language(tokens: Sequence[Token], words: Words) -> str:
    """The language's code ("de"), "other" for another script, or "" for English and for nothing.

    Told by words that English does not use: at least two and a third of the sentence, or words in
    a script that English is not written in.
    """
    written = [token.lower for token in tokens if token.kind == "word"]
    if not written:
        return ""
    letters = [char for word in written for char in word if char.isalpha()]
    foreign = sum(not unicodedata.name(char, "LATIN").startswith("LATIN") for char in letters)
    if foreign * 2 > len(letters):
        return "other"
    best, language = 0, ""
    known = sum(words.is_known(word) for word in written)
    for code, members in words.table["languages"].items():
        hits = sum(word in members for word in written)
        if hits > best:
            best, language = hits, code
    unknown = len(written) - known
    if best >= 2 and best * 3 >= len(written) and best + unknown > known - best:
        return language
    return ""
