"""How well queries are understood: the verdicts, the parse and the time, against labelled queries.

The labels and the table's columns are those of ../shared/data/README.md. Nouns of counts,
relations and exclusions are compared through the vocabulary's synonyms ("sofa" is "couch"), and
the operators, numbers and relations exactly; all of a query's must agree. Attributes are compared
the same way and reported apart.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import report

from searchengine.applicability import VERDICTS, check
from searchengine.conditions import Conditions
from searchengine.vocabulary import vocabulary

DEV = Path(__file__).parent.parent.parent / "shared" / "data" / "queries" / "dev.tsv"


@dataclass(frozen=True)
class Labelled:
    """A query with what a person says of it."""

    text: str
    labels: frozenset[str]
    parse: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the product says of the same query, and how long it took."""

    query: Labelled
    labels: frozenset[str]
    conditions: Conditions
    took_ms: float

    @property
    def labels_right(self) -> bool:
        return self.labels == self.query.labels

    @property
    def parse_right(self) -> bool:
        return _conditions(self.query.parse) == _conditions(self.conditions.as_json())

    @property
    def attributes_right(self) -> bool:
        return _attributes(self.query.parse) == _attributes(self.conditions.as_json())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=Path, default=DEV, help=f"a table like dev.tsv ({DEV})")
    parser.add_argument("--errors", action="store_true", help="list what is wrong, too")
    options = parser.parse_args()
    check("a tabel")  # reads the words and those that typos are compared with, once
    answers = [answer(query) for query in read_queries(options.queries)]
    if options.errors:
        list_errors(answers)
    empty = {"recall": "", "F1": "", "queries": ""}
    rows = [_verdict_row(name, answers) for name in VERDICTS]
    rows += [{"": name, "precision": value, **empty} for name, value in summary(answers).items()]
    report("query_understanding", 0, rows)


def read_queries(path: Path) -> list[Labelled]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Labelled(row["query"], frozenset(row["labels"].split(",")), json.loads(row["parse"]))
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def answer(query: Labelled) -> Answer:
    started = time.perf_counter()
    assessment = check(query.text)
    took_ms = (time.perf_counter() - started) * 1000
    return Answer(query, frozenset(assessment.labels), assessment.conditions, took_ms)


def scores(name: str, answers: Sequence[Answer]) -> tuple[float, float, float]:
    """Precision, recall and F1 of one verdict; 1 where there is nothing to find or to miss."""
    right = sum(name in one.labels and name in one.query.labels for one in answers)
    said = sum(name in one.labels for one in answers)
    true = sum(name in one.query.labels for one in answers)
    precision = right / said if said else 1.0
    recall = right / true if true else 1.0
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def summary(answers: Sequence[Answer]) -> dict[str, float]:
    """The figures that have floors, and those beside them."""
    parsed = [one for one in answers if _has_conditions(one.query.parse)]
    bound = [one for one in answers if "attributes" in one.query.parse]
    times = sorted(one.took_ms for one in answers)
    present = [name for name in VERDICTS if any(name in one.query.labels for one in answers)]
    return {
        "macro F1": sum(scores(name, answers)[2] for name in present) / len(present),
        "label set exact": _share([one.labels_right for one in answers]),
        "parse exact": _share([one.parse_right for one in parsed]),
        "attributes exact": _share([one.attributes_right for one in bound]),
        "time median ms": times[len(times) // 2],
        "time p99 ms": times[int(len(times) * 0.99)],
    }


def list_errors(answers: Sequence[Answer]) -> None:
    for one in answers:
        wrong = [
            name
            for name, right in (
                ("labels", one.labels_right),
                ("parse", one.parse_right or not _has_conditions(one.query.parse)),
                ("attributes", one.attributes_right or "attributes" not in one.query.parse),
            )
            if not right
        ]
        if wrong:
            print(f"{one.query.text}\n  wrong: {', '.join(wrong)}")
            print(f"  labelled {','.join(sorted(one.query.labels))} {json.dumps(one.query.parse)}")
            found = json.dumps(one.conditions.as_json(), ensure_ascii=False)
            print(f"  answered {','.join(sorted(one.labels))} {found}")
    print()


def _verdict_row(name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    precision, recall, f1 = scores(name, answers)
    count = sum(name in one.query.labels for one in answers)
    return {"": name, "precision": precision, "recall": recall, "F1": f1, "queries": count}


def _has_conditions(parse: dict[str, Any]) -> bool:
    return any(key in parse for key in ("counts", "relations", "excluded"))


def _conditions(parse: dict[str, Any]) -> tuple[list[Any], ...]:
    same = vocabulary().canonical
    return (
        sorted((same(one["noun"]), one["op"], str(one["n"])) for one in parse.get("counts", [])),
        sorted(
            (same(one["subject"]), one["relation"], same(one["object"]))
            for one in parse.get("relations", [])
        ),
        sorted(same(noun) for noun in parse.get("excluded", [])),
    )


def _attributes(parse: dict[str, Any]) -> list[tuple[str, str]]:
    same = vocabulary().canonical
    return sorted((same(one["noun"]), one["attribute"]) for one in parse.get("attributes", []))


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 1.0


if __name__ == "__main__":
    main()
