"""First step of reading: a sentence -> tokens that know where they stand in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from searchengine.grammar.words import Words

MAX_TOKENS = 160  # the encoders read some 60 words; what follows is not looked at

_TOKEN = re.compile(
    r"""
    "[^"]{1,200}" | “[^”]{1,200}” | «[^»]{1,200}»       # quoted
    | (?<![^\W_])'[^'\s][^']{0,100}'(?![^\W_]) | (?<![^\W_])‘[^’]{1,100}’
    | w/o\b | w/(?=\s|$)
    | [£$€]\s?\d[\d.,]*                                # an amount
    | \d+[-–]\d+(?![^\W_])                             # a range, or an aeroplane
    | \d+(?:[.,:]\d+)*\+?(?![^\W_])                    # a number
    | [^\W_]+(?:['’.\-–/&][^\W_]+)*['’]?               # a word, with its hyphens and apostrophes
    | [<>=]=                                           # "at least", as a program has it
    | \S
    """,
    re.VERBOSE,
)
_QUOTES = "\"“«'‘"
# a possessive, or "is" run together with its noun
_APOSTROPHE_S = re.compile(r"(.+)(?:'s|s')$")


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, mark or quotation, as written and as understood."""

    text: str
    lower: str  # in lower case, typos mended, without a possessive's 's
    start: int
    end: int
    kind: str = "word"  # word, number, mark, quoted
    is_possessive: bool = False

    @property
    def is_capital(self) -> bool:
        return self.text[:1].isupper()


def tokenize(text: str, words: Words) -> list[Token]:
    """The tokens of a sentence, at most MAX_TOKENS, typos not mended yet."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        if len(tokens) == MAX_TOKENS:
            break
        tokens += _tokens_of(match[0], match.start(), words)
    return tokens


def _tokens_of(written: str, start: int, words: Words) -> list[Token]:
    end = start + len(written)
    if written[0] in _QUOTES and len(written) > 2:
        return [Token(written, written.lower(), start, end, "quoted")]
    if written[0] in "£$€" and len(written) > 1:
        return [Token(written, written.lower(), start, end, "quoted")]
    if written[0].isdigit() and re.fullmatch(r"\d+(?:[.,:]\d+)*\+?", written):
        return [Token(written, written.lower(), start, end, "number")]
    if not (written[0].isalnum() or written.startswith("w/")):
        return [Token(written, written, start, end, "mark")]
    lower = written.lower().replace("’", "'").replace("–", "-")
    if lower in words.closed["pron"] or lower in words.table["negation"]["negatives"]:
        return [Token(written, lower, start, end)]
    possessive = _APOSTROPHE_S.match(lower)
    if possessive and not words.is_noun(lower):
        base = possessive[1] + ("s" if lower.endswith("s'") else "")
        return [Token(written, base, start, end, is_possessive=True)]
    lower = lower.rstrip("'")
    if "/" in lower and lower not in ("w/o", "w/", "ac/dc", "24/7"):  # cat/dog
        return _split(written, start)
    if re.fullmatch(r"[^\W\d_]+\.[^\W\d_]+", lower) and lower not in ("a.m", "p.m", "e.g", "i.e"):
        return _split(written, start)  # a full stop without its space
    return [Token(written, lower, start, end)]


def _split(written: str, start: int) -> list[Token]:
    tokens: list[Token] = []
    for part in re.finditer(r"[^/.]+|[/.]", written):
        kind = "mark" if part[0] in "/." else ("number" if part[0].isdigit() else "word")
        at = start + part.start()
        tokens.append(Token(part[0], part[0].lower(), at, at + len(part[0]), kind))
    return tokens


def mend_typos(tokens: list[Token], words: Words, spared: set[int]) -> list[Token]:
    """The tokens with each unknown word replaced by a known one a single edit away.

    `spared` are the positions of names and quoted text.
    """
    mended = []
    for at, token in enumerate(tokens):
        is_name = token.is_capital and at > 0 and not token.text.isupper()
        if token.kind == "word" and at not in spared and not is_name:
            token = replace(token, lower=words.corrected(token.lower))
        mended.append(token)
    return mended
