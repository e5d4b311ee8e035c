"""Second stage of a query's way: what of it embeddings can answer, and what they can't.

An embedding folds a picture into one vector. It does not count, has no left and right, mixes up
which thing is red, and passes over "without" (Yuksekgonul et al. 2023; Kamath et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any, Literal

from searchengine import grammar
from searchengine.conditions import Conditions, Thing, limits
from searchengine.grammar import Reading
from searchengine.vocabulary import vocabulary

Route = Literal["embeddings", "detector"]

VERDICTS = (
    "semantic",
    "counting",
    "spatial",
    "binding",
    "negation",
    "fine-grained",
    "text-in-image",
)
_DETECTED = ("counting", "spatial", "binding", "negation")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that is true of a query, the user's words that say so, and what follows."""

    name: str
    triggers: tuple[str, ...]
    why: str
    action: str
    better: str | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a query asks for, by whom it will be answered, and what the user should know."""

    query: str
    verdicts: tuple[Verdict, ...]
    conditions: Conditions
    route: Route
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the verdicts."""
        return tuple(verdict.name for verdict in self.verdicts)

    @property
    def unknown(self) -> tuple[Thing, ...]:
        """Things of the conditions that a detector with COCO's 80 labels has no word for."""
        things = self.conditions.things
        return tuple(thing for thing in things if not vocabulary().coco_labels(thing.noun))

    def as_json(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "parse": self.conditions.as_json(),
            "content": self.conditions.content,
            "route": self.route,
            "unknown": [str(thing) for thing in self.unknown],
            "notes": list(self.notes),
        }


def check(text: str) -> Assessment:
    """What embeddings can and cannot do with this query. Never raises, whatever the text is."""
    reading = grammar.analyse(text)
    names = [name for name in VERDICTS if name in reading.triggers] or ["semantic"]
    verdicts = tuple(_verdict(name, reading) for name in names)
    return Assessment(
        query=text,
        verdicts=verdicts,
        conditions=reading.conditions,
        route="detector" if any(name in _DETECTED for name in names) else "embeddings",
        notes=tuple(_notes(reading)),
    )


def check_labels(labels: Sequence[str]) -> tuple[Verdict, ...]:
    """Warnings about classification labels that an encoder can't tell apart.

    One verdict at most: "fine-grained", with the labels that are named people, models or species
    (two breeds side by side too). () for labels that it can be trusted with.
    """
    fine = [label for label in labels if "fine-grained" in grammar.analyse(label).triggers]
    breeds = [label for label in labels if vocabulary().is_breed(label)]
    if len(breeds) > 1:
        fine += [label for label in breeds if label not in fine]
    if not fine:
        return ()
    return (_fine_grained(tuple(label for label in labels if label in fine)),)


def _verdict(name: str, reading: Reading) -> Verdict:
    triggers = reading.triggers.get(name, ())
    conditions = reading.conditions
    if name == "counting":
        asks = any(count.op == "?" for count in conditions.counts)
        return Verdict(
            name,
            triggers,
            "An embedding knows that there are several, not how many.",
            "A detector counts the boxes and says the number of each picture."
            if asks
            else "A detector counts the boxes: " + _counts(conditions) + ".",
        )
    if name == "spatial":
        return Verdict(
            name,
            triggers,
            "An embedding knows what is in the picture, not how the things lie to each other.",
            "A detector compares the boxes: " + _relations(conditions) + ".",
        )
    if name == "binding":
        things = " and ".join(f"[{thing}]" for thing in conditions.attributes)
        return Verdict(
            name,
            triggers,
            "An embedding mixes up which thing has which colour, material or size.",
            f"A detector cuts the things out, and each cut-out is compared with its own: {things}.",
        )
    if name == "negation":
        things = ", ".join(map(str, conditions.excluded))
        looked_for = f'"{conditions.positive}"' if conditions.positive else "any picture"
        return Verdict(
            name,
            triggers,
            'An embedding passes over "no" and "without", and finds what should not be there.',
            f"Embeddings look for {looked_for}; a detector takes out pictures with: {things}.",
        )
    if name == "fine-grained":
        return _fine_grained(triggers)
    if name == "text-in-image":
        return Verdict(
            name,
            triggers,
            "An embedding reads at most a few large letters.",
            "Answered by embeddings; whether the text is there is not checked.",
            "Text recognition (OCR) over the pictures, then a search for the words.",
        )
    return Verdict(
        name,
        triggers,
        "Left to the embeddings." if reading.language else "This is what embeddings are good at.",
        "Answered by embeddings alone.",
    )


def _fine_grained(triggers: tuple[str, ...]) -> Verdict:
    return Verdict(
        "fine-grained",
        triggers,
        "Named people, exact models and species look alike to a general encoder.",
        "Answered by embeddings; take the order of the hits with care.",
        "For people, a face model of the ArcFace type; for models, breeds and species, a "
        "classifier trained on just those.",
    )


def _counts(conditions: Conditions) -> str:
    return ", ".join(str(count) for count in conditions.counts if count.op != "?")


def _relations(conditions: Conditions) -> str:
    return ", ".join(
        f"[{relation.subject}] {relation.relation.replace('_', ' ')} [{relation.object}]"
        for relation in conditions.relations
    )


def _notes(reading: Reading) -> list[str]:
    notes = []
    if reading.language:
        notes.append(
            "This does not look like English. It is answered by embeddings, unchecked; the starter "
            "and most CLIP encoders know English best (for other languages: --encoder "
            "ViT-B-16-SigLIP2)."
        )
    if reading.is_cut:
        notes.append(
            "The query is very long. Encoders read about its first 60 words, and conditions are "
            "looked for in its beginning only. Say the most important thing first."
        )
    notes += _contradictions(reading)
    notes += [
        f'"{one} or {other}" is held against pictures as if it said "and". Search for each alone.'
        for one, other in permutations(_checked_words(reading), 2)
        if f"{one} or {other}".lower() in " ".join(reading.text.lower().split())
    ]
    notes += [
        f"The number {number} counts nothing here. To count, name the thing: {number} dogs."
        for number in reading.bare_numbers
    ]
    notes += [
        f'"{side}": where in the picture a thing is, neither embeddings nor anything here can '
        "tell; only how two things lie to each other (a dog left of a car)."
        for side in reading.sides
    ]
    if not any(char.isalnum() for char in reading.text) and reading.text.strip():
        notes.append("There is no word in this query. Say what the picture shows: a dog on a beach")
    return notes


def _checked_words(reading: Reading) -> list[str]:
    """The user's words for each condition that a picture must meet."""
    verdicts = ("counting", "spatial", "binding")
    found = [words for verdict in verdicts for words in reading.triggers.get(verdict, ())]
    return [" ".join(words.split()) for words in found]


def _contradictions(reading: Reading) -> list[str]:
    """What can't hold together: "two dogs but no dogs", "more than three and fewer than two"."""
    conditions = reading.conditions
    clashes = _wanted_and_excluded(reading)
    notes = [f"it asks for {noun!r} and for none" for noun in clashes]
    for thing in dict.fromkeys(count.thing for count in conditions.counts):
        if thing.noun not in clashes and not _some_number(conditions, thing):
            notes.append(f"no number of {thing.noun!r} meets all it asks")
    return [
        f"The query contradicts itself: {what}. No picture can meet that; those that come nearest "
        "stand first. Leave one of the two out."
        for what in notes
    ]


def _wanted_and_excluded(reading: Reading) -> list[str]:
    """Excluded nouns that the query asks for by the same name, or by a narrower one."""
    conditions = reading.conditions
    excluded = {thing.noun for thing in conditions.excluded if not thing.attribute}
    wanted = [count.thing for count in conditions.counts if limits(count.op, count.n)[0] > 0]
    for relation in conditions.relations:
        wanted += [relation.subject, relation.object]
    wanted += [*conditions.attributes, *reading.named]
    broader = vocabulary().canonical
    clashes = [{thing.noun, broader(thing.noun)} & excluded for thing in wanted]
    return list(dict.fromkeys(noun for clash in clashes for noun in sorted(clash)))


def _some_number(conditions: Conditions, thing: Thing) -> bool:
    """Whether there is a number that meets every count of the thing."""
    ranges = [limits(each.op, each.n) for each in conditions.counts if each.thing == thing]
    most = min((high for _, high in ranges if high is not None), default=None)
    return most is None or max(low for low, _ in ranges) <= most
