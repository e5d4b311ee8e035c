"""A noun phrase, finished and while it is being read."""

from __future__ import annotations

from dataclasses import dataclass

from searchengine.conditions import Thing
from searchengine.grammar.quantities import Quantity
from searchengine.grammar.units import Unit


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase: "at least two of the little white dogs" is (dog, little white, >= 2)."""

    noun: str  # singular; "" where only an attribute stands ("in red")
    start: int
    end: int
    attribute: str = ""
    adjectives: tuple[str, ...] = ()  # that are no attributes: old, wet
    quantity: Quantity | None = None
    determiner: str = ""
    is_plural: bool = False
    is_name: bool = False
    is_owned: bool = False  # "her dad's shoulders"
    is_group: bool = False  # "a group of"

    @property
    def thing(self) -> Thing:
        return Thing(self.noun, self.attribute)


Item = Phrase | Unit


class Gathered:
    """A phrase while it is being read."""

    def __init__(self) -> None:
        self.determiner = ""
        self.quantity: Quantity | None = None
        self.attributes: list[str] = []
        self.adjectives: list[str] = []
        self.nouns: list[Unit] = []
        self.is_owned = False
        self.is_part = False  # "two of ..."
        self.has_determiner = False  # "two of the"
        self.verbs = 0  # units behind the phrase that are its verb, though they may be nouns
        self.is_closed = False  # no further noun belongs to it
