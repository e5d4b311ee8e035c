"""What the words of a query mean to a detector. All words lie in `config/`, none here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from searchengine.plurals import Plurals
from searchengine.word_lists import read_table, read_words


class Vocabulary:
    """Nouns: their singulars, their classes, and the detector's labels they stand for."""

    def __init__(self) -> None:
        synonyms = read_table("synonyms.txt")[""]
        self._labels = {word: label for label, words in synonyms.items() for word in words}
        self._labels.update((label, label) for label in synonyms)
        self._kinds = read_table("kinds.txt")[""]
        self.classes = read_words("nouns.txt")
        unlike = read_words("unlike.txt")
        self._unlike = unlike["no kind of their last word"]
        self._only_alone = unlike["only alone"]
        self.plain_compounds = unlike["just their last word"]
        self.label_words = frozenset(self._labels)
        self.nouns = self.label_words.union(self._kinds, self._unlike, *self.classes.values())
        self.plurals = Plurals(self.nouns)

    def detector_labels(self, noun: str, labels: Sequence[str]) -> tuple[str, ...]:
        """Those of a detector's labels that a user's noun stands for, in the detector's order.

        A label itself, its plural, a synonym ("telly"), a kind of it ("puppy") or what covers
        several ("animal"). Of a compound the whole is tried, then its last words: a hot dog is
        no dog, a kitchen table is a table. () for what the detector does not know.
        """
        by_name = {_written_apart(label): label for label in labels}
        words = _written_apart(noun).split()
        for start in range(len(words)):
            name = " ".join(words[start:])
            singular = self.plurals.singular(name)
            if start and singular in self._only_alone:
                return ()
            found = self._matching(name, by_name) or self._matching(singular, by_name)
            if found or singular in self._unlike:
                return tuple(label for label in labels if label in found)
        return ()

    def canonical(self, noun: str) -> str:
        """The word that synonyms share: "sofa" and "settee" are both "couch"."""
        singular = self.plurals.singular(noun.lower())
        return self._labels.get(singular, singular)

    def singular_tail(self, noun: str) -> str:
        """The last word of a compound, singular: "box" of "cardboard box"."""
        return self.plurals.singular(noun.rpartition(" ")[2])

    def coco_labels(self, noun: str) -> tuple[str, ...]:
        """Those of COCO's 80 labels, which nearly every detector has, that a noun stands for."""
        return self.detector_labels(noun, sorted(set(self._labels.values())))

    def detects(self, noun: str) -> bool:
        """Whether a detector with COCO's labels knows the noun."""
        return self.plurals.singular(noun) in self._labels

    def is_breed(self, noun: str) -> bool:
        """Whether the noun is one of many breeds or species of a thing: "beagle", "rook"."""
        singular = self.plurals.singular(noun.lower())
        return singular != self.canonical(noun) and self.canonical(noun) in ("dog", "cat", "bird")

    def _matching(self, name: str, by_name: dict[str, str]) -> set[str]:
        """The labels that a singular stands for, compared by what COCO calls them."""
        if name in by_name:
            return {by_name[name]}
        wanted = set(self._kinds.get(name, ()))
        if name in self._labels:
            wanted.add(self._labels[name])
        return {
            label for known, label in by_name.items() if self._labels.get(known, known) in wanted
        }


# how the detectors trained on PASCAL VOC write them
_RUN_TOGETHER = {"tvmonitor": "tv", "pottedplant": "potted plant", "diningtable": "dining table"}


def _written_apart(name: str) -> str:
    """A noun or label in lower case, its words apart."""
    name = " ".join(name.lower().replace("_", " ").split())
    return _RUN_TOGETHER.get(name, name)


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary, read once in a process's life."""
    return Vocabulary()
