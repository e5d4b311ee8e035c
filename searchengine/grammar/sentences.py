"""How a sentence is written: its tokens, and what its capitals tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from searchengine.grammar.tokens import Token


class Sentence:
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


@dataclass(frozen=True, slots=True)
class Name:
    """Tokens [first, last) that name something; `what` is person, band, model, species, or
    "place" for what the encoders know by name, which is no trouble.
    """

    first: int
    last: int
    what: str
