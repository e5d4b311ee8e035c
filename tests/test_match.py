"""Match levels: what a cosine is worth in one library, with fakes and small numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import FakeLibrary, RunCommand, make_picture
from fakes import COLOURS, ColourEncoder
from photographs import copy_photographs

from indexer.encoder import LazyEncoder
from indexer.errors import UsageError
from indexer.records import Filter
from indexer.vectors import FlatIndex
from searchengine import open_library
from searchengine.commands.output import first_of_weak_tail
from searchengine.match import Background, Fit, load_fit, probabilities, reaches, sample_of
from searchengine.prompts import prompt_embeddings, unrelated_prompts
from searchengine.query import Query, Term, parse_similar
from searchengine.result import Hit

EVEN = Fit((1.0, 1.0), -4.0, fair=0.3, strong=0.7)


def unit(*numbers: float) -> np.ndarray:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def random_units(rows: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hits(library: FakeLibrary, query: Query, **options: object) -> list[Hit]:
    return library.engine.search(query, top_k=100, which=Filter(), **options).hits  # type: ignore[arg-type]


def level_of(found: list[Hit], name: str) -> str | None:
    return next(hit.match for hit in found if os.path.basename(hit.path) == name)


def test_what_stands_out_is_strong_and_what_points_away_is_weak(library: FakeLibrary) -> None:
    for colour in COLOURS:
        make_picture(library.root / f"{colour}.png", colour)
    library.index()
    found = hits(library, Query("red", (Term("red"),)))
    assert level_of(found, "red.png") == "strong"
    assert level_of(found, "cyan.png") == "weak"


def test_in_a_library_of_one_picture_the_prompts_decide(library: FakeLibrary) -> None:
    make_picture(library.root / "red.png", "red")
    library.index()
    assert level_of(hits(library, Query("red", (Term("red"),))), "red.png") == "strong"
    assert level_of(hits(library, Query("cyan", (Term("cyan"),))), "red.png") == "weak"


def test_min_match_leaves_out_what_is_below(library: FakeLibrary) -> None:
    for colour in COLOURS:
        make_picture(library.root / f"{colour}.png", colour)
    library.index()
    red = Query("red", (Term("red"),))
    levels = [hit.match for hit in hits(library, red)]
    assert len(hits(library, red, min_match="strong")) == levels.count("strong") < 8
    at_fair = hits(library, red, min_match="fair")
    assert len(at_fair) == 8 - levels.count("weak") < 8
    assert [hit.rank for hit in at_fair] == list(range(1, len(at_fair) + 1))


def test_a_query_by_picture_has_no_level_among_few_pictures_and_is_never_cut(
    library: FakeLibrary,
) -> None:
    for colour in COLOURS:
        make_picture(library.root / f"{colour}.png", colour)
    library.index()
    found = hits(library, parse_similar(library.root / "red.png"), min_match="strong")
    assert [hit.match for hit in found] == [None] * 7


def test_a_query_by_picture_is_compared_with_the_librarys_own_pictures(
    library: FakeLibrary,
) -> None:
    for number in range(25):
        make_picture(library.root / f"{number}.png", f"#{10 * number:02x}80{255 - number:02x}")
    make_picture(library.root / "red.png", "red")
    make_picture(library.root / "far.png", "cyan")
    library.index()
    found = hits(library, parse_similar(library.root / "red.png"))
    assert len(found) == 26 and None not in [hit.match for hit in found]
    assert level_of(found, "far.png") == "weak"
    pictures = random_units(200)
    twin, stranger = unit(*(pictures[0] + 0.02)), random_units(1, seed=9)[0]
    fit, background = load_fit("picture"), Background(pictures, pictures)
    p = probabilities(background, fit, pictures[0], np.stack([twin, stranger]))
    assert [fit.level(float(value)) for value in p] == ["strong", "weak"]


def test_a_picture_near_to_every_prompt_needs_more_to_match() -> None:
    prompts = np.stack([unit(1, x / 100, -x / 50) for x in range(40)])
    hub, plain = unit(1, 0, 0), unit(0, 1, 0)
    query = unit(1, 1, 0)  # its cosine with both is the same
    background = Background(random_units(100, dimension=3), prompts)
    of_hub, of_plain = probabilities(background, EVEN, query, np.stack([hub, plain]))
    assert of_hub < of_plain


def test_a_higher_cosine_of_the_same_picture_is_never_less_likely() -> None:
    background = Background(random_units(50), random_units(40, seed=1))
    picture = random_units(1, seed=5)
    queries = random_units(30, seed=6)
    prior = [
        (float(picture[0] @ query), float(background.standard_scores(query, picture)[0, 1]))
        for query in queries
    ]
    assert [score for _, score in sorted(prior)] == sorted(score for _, score in prior)


def test_identical_prompts_and_pictures_give_numbers_all_the_same() -> None:
    same = np.repeat(unit(1, 1, 1, 1)[None], 30, axis=0)
    p = probabilities(Background(same, same), EVEN, unit(1, 0, 0, 0), same[:2])
    assert np.isfinite(p).all()


def test_the_sample_is_the_same_each_time_and_spread_over_the_library() -> None:
    index = FlatIndex(4)
    index.add(np.arange(0, 10_000, 2), random_units(5000, dimension=4))
    first, again = sample_of(index), sample_of(index)
    assert np.array_equal(first, again)
    assert 1000 < len(first) <= 2000
    assert np.array_equal(first[-1], index.vectors_of(index.ids[-2:-1])[0])  # each third


def test_an_id_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        FlatIndex(4).vectors_of(np.array([3]))


def test_levels_are_ordered() -> None:
    for kind in ("text", "picture"):
        fit = load_fit(kind)
        assert 0 < fit.fair < fit.strong < 1
        assert all(weight >= 0 for weight in fit.weights)
    assert [EVEN.level(p) for p in (0.29, 0.3, 0.69, 0.7)] == ["weak", "fair", "fair", "strong"]
    assert [reaches(level, "fair") for level in ("strong", "fair", "weak", None)] == [
        *(True, True, False, True)
    ]


def test_prompts_are_embedded_once_for_each_encoder(tmp_path: Path) -> None:
    built: list[str] = []

    def lazy(key: str) -> LazyEncoder:
        def build() -> ColourEncoder:
            built.append(key)
            return ColourEncoder()

        return LazyEncoder(key, {}, build)

    first = prompt_embeddings(lazy("a/1"), tmp_path)
    assert np.array_equal(prompt_embeddings(lazy("a/1"), tmp_path), first)
    assert built == ["a/1"]
    prompt_embeddings(lazy("a-1"), tmp_path)  # the same file name but for its digest
    assert built == ["a/1", "a-1"]
    assert len(first) == len(unrelated_prompts()) == len(set(unrelated_prompts())) >= 100


def test_a_damaged_prompt_file_is_made_anew_and_a_folder_that_takes_none_is_no_error(
    tmp_path: Path,
) -> None:
    lazy = LazyEncoder("a/1", {}, ColourEncoder)
    whole = prompt_embeddings(lazy, tmp_path)
    (file,) = (tmp_path / "prompts").iterdir()
    for rubbish in (b"", b"rubbish", file.read_bytes()[:300]):
        file.write_bytes(rubbish)
        assert np.array_equal(prompt_embeddings(lazy, tmp_path), whole)
    (tmp_path / "file").touch()
    assert np.array_equal(prompt_embeddings(lazy, tmp_path / "file"), whole)


def test_the_line_stands_where_only_weak_hits_follow() -> None:
    assert first_of_weak_tail(["strong", "weak", "fair", "weak", "weak"]) == 3
    assert first_of_weak_tail(["weak", "weak"]) == 0
    assert first_of_weak_tail(["weak", "fair"]) is None
    assert first_of_weak_tail([None, None]) is None
    assert first_of_weak_tail([]) is None


def test_levels_on_the_command_line(run_command: RunCommand, tmp_path: Path) -> None:
    run_command("index", copy_photographs(tmp_path / "pictures"))
    table = run_command("search", "a cat").stdout.splitlines()
    assert "chelsea.png" in table[0] and "  weak  " not in table[0]
    line = next(number for number, text in enumerate(table) if text.startswith("---"))
    assert all("  weak  " in text for text in table[line + 1 :])
    only = run_command("search", "a cat", "--min-match", "fair", "--json")
    found = json.loads(only.stdout)["hits"]
    assert os.path.basename(found[0]["path"]) == "chelsea.png"
    assert {hit["match"] for hit in found} <= {"strong", "fair"}
    assert len(found) < 9
    with open_library(tmp_path / "library", cache_dir=tmp_path / "cache") as library:
        assert library.search("a tractor ploughing a field", min_match="strong").hits == []
        with pytest.raises(UsageError, match="--min-match is 'good'"):
            library.search("a cat", min_match="good")  # type: ignore[arg-type]
