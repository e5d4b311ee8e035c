"""What a query demands of a picture beyond what one embedding holds. Records, hardly any logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Operator = Literal["==", ">=", "<=", ">", "<", "?"]  # "?": the user asks for the number
RelationName = Literal[
    "left_of",
    "right_of",
    "above",
    "below",
    "on",
    "under",
    "next_to",
    "in_front_of",
    "behind",
    "inside",
    "between",
]


_SPOKEN = {
    "==": "exactly", ">=": "at least", "<=": "at most", ">": "more than", "<": "fewer than"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing the query names: a singular noun in the user's own word, and its attribute or ""."""

    noun: str
    attribute: str = ""

    def __str__(self) -> str:
        return f"{self.attribute} {self.noun}" if self.attribute else self.noun


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a thing there must be; `n` is None where the user asks for the number."""

    thing: Thing
    op: Operator
    n: int | None

    def __str__(self) -> str:
        if self.n is None:
            return f"how many × {self.thing}"
        return f"{_SPOKEN[self.op]} {self.n} × {self.thing}"


@dataclass(frozen=True, slots=True)
class Relation:
    """Where one thing must be, as seen from the camera. "between" two kinds makes two of these."""

    subject: Thing
    relation: RelationName
    object: Thing


@dataclass(frozen=True, slots=True)
class Conditions:
    """All demands of one query; all of them must hold together.

    `attributes` holds the things of a binding query, each with its own attribute. `positive` is
    the user's sentence without its negated part ("" if nothing is negated), `content` what is to
    be embedded: the positive part without request words ("show me") and without number words.
    """

    content: str
    counts: tuple[Count, ...] = ()
    relations: tuple[Relation, ...] = ()
    attributes: tuple[Thing, ...] = ()
    excluded: tuple[Thing, ...] = ()
    positive: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.counts or self.relations or self.attributes or self.excluded)

    @property
    def things(self) -> tuple[Thing, ...]:
        """Every thing the conditions name, each once."""
        things = [count.thing for count in self.counts]
        for wanted in self.relations:
            things += [wanted.subject, wanted.object]
        return tuple(dict.fromkeys((*things, *self.attributes, *self.excluded)))

    @property
    def is_absence_alone(self) -> bool:
        """ "No people": there is nothing to search for, only something to leave out."""
        return bool(self.excluded) and not (self.positive or self.counts or self.relations)

    def as_json(self) -> dict[str, Any]:
        """The parse as JSON: only the keys that hold something."""
        parse: dict[str, Any] = {}
        if self.counts:
            parse["counts"] = [
                {"noun": count.thing.noun, "op": count.op, "n": count.n} for count in self.counts
            ]
        if self.relations:
            parse["relations"] = [
                {
                    "subject": relation.subject.noun,
                    "relation": relation.relation,
                    "object": relation.object.noun,
                }
                for relation in self.relations
            ]
        if self.attributes:
            parse["attributes"] = [
                {"noun": thing.noun, "attribute": thing.attribute} for thing in self.attributes
            ]
        if self.excluded:
            parse["excluded"] = [str(thing) for thing in self.excluded]
            parse["positive"] = self.positive
        return parse


def limits(operator: Operator, n: int | None) -> tuple[int, int | None]:
    """The least and the greatest number that meet the condition; None: no greatest."""
    if operator == "?" or n is None:
        return 1, None
    return {
        "==": (n, n),
        ">=": (n, None),
        "<=": (0, n),
        ">": (n + 1, None),
        "<": (0, n - 1),
    }[operator]
