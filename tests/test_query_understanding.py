"""Queries are understood: our own labelled ones one by one, the shared ones by their floors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from searchengine.applicability import VERDICTS, check
from searchengine.vocabulary import vocabulary

OWN = Path(__file__).parent / "queries.tsv"
DEV = Path(__file__).parent.parent.parent / "shared" / "data" / "queries" / "dev.tsv"


def read_queries(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def comparable(parse: dict[str, Any]) -> dict[str, Any]:
    """A parse with each noun as its synonyms share it, in an order that does not matter."""
    same = vocabulary().canonical
    return {
        "counts": sorted((same(c["noun"]), c["op"], str(c["n"])) for c in parse.get("counts", [])),
        "relations": sorted(
            (same(r["subject"]), r["relation"], same(r["object"]))
            for r in parse.get("relations", [])
        ),
        "excluded": sorted(same(noun) for noun in parse.get("excluded", [])),
        "attributes": sorted(
            (same(a["noun"]), a["attribute"]) for a in parse.get("attributes", [])
        ),
    }


@pytest.mark.parametrize("verdict", VERDICTS)
def test_queries_get_their_verdicts_and_their_parse(verdict: str) -> None:
    rows = [row for row in read_queries(OWN) if verdict in row["labels"].split(",")]
    wrong = []
    for row in rows:
        assessment = check(row["query"])
        said = (set(assessment.labels), comparable(assessment.conditions.as_json()))
        if said != (set(row["labels"].split(",")), comparable(json.loads(row["parse"]))):
            wrong.append((row["query"], said))
    assert len(rows) > 50
    assert wrong == []


@pytest.mark.data
def test_shared_queries_are_understood_above_the_floors() -> None:
    if not DEV.exists():
        pytest.skip(f"{DEV} is absent")
    rows = read_queries(DEV)
    answers = [check(row["query"]) for row in rows]
    wanted = [set(row["labels"].split(",")) for row in rows]
    said = [set(answer.labels) for answer in answers]
    f1 = []
    for name in VERDICTS:
        right = sum(name in one and name in other for one, other in zip(said, wanted, strict=True))
        f1.append(2 * right / (sum(name in s for s in said) + sum(name in w for w in wanted)))
    assert sum(f1) / len(f1) >= 0.97
    assert sum(s == w for s, w in zip(said, wanted, strict=True)) >= 0.95 * len(rows)
    parsed = [
        (comparable(answer.conditions.as_json()), comparable(json.loads(row["parse"])))
        for row, answer in zip(rows, answers, strict=True)
        if row["parse"] != "{}"
    ]
    assert sum(one == other for one, other in parsed) >= 0.92 * len(parsed)
