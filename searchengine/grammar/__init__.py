"""A query's grammar: a sentence -> the conditions a picture must meet. No model, no network.

read = tokenize -> names and asked-for text -> mend typos -> units -> phrases -> negations,
relations, counts, attributes. All its words lie in `config/vocabulary.toml` and `config/words/`.
"""

from __future__ import annotations

from searchengine.conditions import Conditions
from searchengine.grammar.reading import Reading, grammar

__all__ = ["Reading", "analyse", "read"]


def read(text: str) -> Conditions:
    """What a picture must show for this query, beyond what one embedding holds.

    Never raises; a text that is no English sentence has no conditions.
    """
    return grammar().read(text).conditions


def analyse(text: str) -> Reading:
    """The conditions together with the words that say them."""
    return grammar().read(text)
