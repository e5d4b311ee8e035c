"""Match levels: `--fit` fits their constants, without it they are measured (docs/match-levels.md).

Pictures that the starter encoder has never seen: Flickr8k's test split (the first 1,000 by sha256
of the file name), in turn for fitting and for measuring, and likewise every other class of
Caltech-101. COCO, VOC and stamps are only measured. What counts are the first 10 hits, as a user
sees them. "Absent" queries have no true picture in the library they are put to.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from common import RESULTS, _commit, _processor, report

from indexer import encoders
from indexer.config_files import config_path
from indexer.decode import content_hash, decode
from indexer.encoder import Encoder
from indexer.records import Decoded
from indexer.settings import load_settings
from searchengine.match import Background, Fit, load_fit
from searchengine.prompts import unrelated_prompts

TOP = 10
KEPT_AT_FAIR = 0.85  # of the true pictures among the first 10
CUT_AT_STRONG = 0.90  # of the wrong ones
Half = Literal["fit", "measure"]


@dataclass(frozen=True)
class Case:
    """One query put to one library: the hits' standard scores, and which of them are true."""

    group: str
    scores: np.ndarray  # [K, 2]
    is_true: np.ndarray  # [K] bool
    query: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--fit", action="store_true", help="write config/match_levels.toml")
    parser.add_argument(
        "--half",
        choices=("first", "second"),
        help="measure with half of starter's embedding, an encoder of its own: what carries over?",
    )
    options = parser.parse_args()
    settings = load_settings(encoder=options.encoder)
    spec = encoders.resolve(options.encoder, cache_dir=settings.cache_dir)
    encoder = encoders.build_encoder(
        spec, encoders.EncoderOptions(cache_dir=settings.cache_dir), announce=print
    )
    world = World(options.data, encoder, half=options.half)
    commit = _commit()  # before the files that --fit writes make it dirty
    if options.fit and not options.half:
        text, picture = fit(list(world.text_cases("fit"))), fit(list(world.picture_cases("fit")))
        write(text, picture, encoder.id)
    rows = [
        *measure(world.text_cases("measure"), load_fit("text")),
        *measure(world.picture_cases("measure"), load_fit("picture")),
    ]
    report(f"match_levels_{options.half}_half" if options.half else "match_levels", 0, rows)
    if options.fit and not options.half:
        write_table(rows, encoder.id, commit)


# -- what is measured


def measure(cases: Iterable[Case], chosen: Fit) -> Iterator[dict[str, Any]]:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    for group, members in groups.items():
        scores = np.concatenate([case.scores for case in members])
        p = 1 / (1 + np.exp(-(scores @ np.array(chosen.weights) + chosen.bias)))  # [hits]
        is_true = np.concatenate([case.is_true for case in members])
        query = np.concatenate([np.full(len(case.scores), case.query) for case in members])
        row: dict[str, Any] = {
            "queries": group,
            "n": len(np.unique(query)),
            "true": int(is_true.sum()),
        }
        for name, least in (("fair", chosen.fair), ("strong", chosen.strong)):
            row[f"true kept at {name} %"] = _percent(p[is_true] >= least)
            row[f"wrong cut at {name} %"] = _percent(p[~is_true] < least)
            silent = [not (p[query == number] >= least).any() for number in np.unique(query)]
            row[f"nothing at {name} %"] = _percent(np.array(silent))
        yield row


def _percent(values: np.ndarray) -> float | str:
    return round(100 * float(values.mean()), 1) if len(values) else ""


class World:
    """Libraries and queries, as embeddings that are computed once.

    `half` takes one half of starter's, which is two side by side: trained on captions, and made
    of class names.
    """

    def __init__(self, data: Path, encoder: Encoder, *, half: str | None = None) -> None:
        self.data, self.encoder = data, encoder
        middle = encoder.dimension // 2
        self.columns = {"first": slice(0, middle), "second": slice(middle, None)}.get(half or "")
        # the weights as well: two revisions may bear one id while they are being made
        probe = encoder.encode_texts(["probe"]).tobytes()
        digest = hashlib.sha256(encoder.id.encode() + probe).hexdigest()[:12]
        self.cache = RESULTS / f"match_levels-{digest}"
        self.cache.mkdir(parents=True, exist_ok=True)
        self.prompts = self.texts(unrelated_prompts())

    def text_cases(self, half: Half) -> Iterator[Case]:
        pictures, captions = self.flickr(half)
        objects, classes = self.caltech(half)
        names = sorted(set(classes))
        texts = self.texts([text for name in names for text in (f"a photo of a {name}", name)])
        library, other = self.background(pictures), self.background(objects)
        for number in range(len(pictures)):
            own = np.arange(len(pictures)) == number
            for query, caption in enumerate(captions[number][::2], start=3 * number):
                yield from _own("captions, Flickr8k", query, caption, pictures, library, own)
                yield _hits("absent: captions in Caltech", query, caption, objects, other)
        for size in (1, 5, 50):
            yield from self.small(size, pictures, captions)
        for query, text in enumerate(texts):
            is_true = classes == names[query // 2]
            yield _hits("class names, Caltech", query, text, objects, other, is_true)
            rest = objects[~is_true]
            group = "absent: class names, Caltech without"
            yield _hits(group, query, text, rest, self.background(rest))
            yield _hits("absent: class names in Flickr8k", query, text, pictures, library)
        if half == "measure":
            yield from self.foreign()

    def small(self, size: int, pictures: np.ndarray, captions: np.ndarray) -> Iterator[Case]:
        random = np.random.default_rng(size)
        for number in range(0, len(pictures), 2):
            drawn = [other for other in random.permutation(len(pictures)) if other != number]
            for members, group in (
                ([number, *drawn[: size - 1]], f"captions, library of {size}"),
                (drawn[:size], f"absent: captions, library of {size}"),
            ):
                few, caption = pictures[members], captions[number][1]
                own = np.array(members) == number
                if own.any():
                    yield from _own(group, number, caption, few, self.background(few), own)
                else:
                    yield _hits(group, number, caption, few, self.background(few))

    def foreign(self) -> Iterator[Case]:
        """Sets that no constant was fitted on."""
        for name in ("coco", "stamps"):
            rows = table(self.data / name / "captions.tsv")
            files = sorted({row["file"] for row in rows})
            pictures = self.pictures(name, files)
            library = self.background(pictures)
            texts = self.texts([row["caption"] for row in rows])
            for number, row in enumerate(rows):
                own = np.array(files) == row["file"]
                yield from _own(f"captions, {name}", number, texts[number], pictures, library, own)
        boxes = [row for row in table(self.data / "voc/boxes.tsv") if row["score"] == "1.000"]
        files = sorted({row["file"] for row in boxes})
        pictures = self.pictures("voc", files)
        library = self.background(pictures)
        for number, label in enumerate(("car", "person", "cat", "train", "bus")):
            shown = {row["file"] for row in boxes if row["label"] == label}
            is_true = np.array([file in shown for file in files])
            text = self.texts([f"a photo of a {label}"])[0]
            yield _hits("class names, VOC", number, text, pictures, library, is_true)
            rest = pictures[~is_true]
            group = "absent: class names, VOC without"
            yield _hits(group, number, text, rest, self.background(rest))

    def picture_cases(self, half: Half) -> Iterator[Case]:
        objects, classes = self.caltech(half)
        for number in range(0, len(objects), 3):
            same = classes == classes[number]
            others = np.arange(len(objects)) != number
            for kept, group in ((others, "similar, Caltech"), (~same, "absent: similar, Caltech")):
                rest = objects[kept]
                library = Background(rest, rest)
                yield _hits(group, number, objects[number], rest, library, same[kept])

    def flickr(self, half: Half) -> tuple[np.ndarray, np.ndarray]:
        captions: dict[str, list[str]] = {}
        for row in table(self.data / "flickr8k/captions.tsv"):
            captions.setdefault(row["file"], []).append(row["caption"])
        test = sorted(captions, key=lambda f: hashlib.sha256(f.encode()).hexdigest())[:1000]
        files = test[half == "measure" :: 2]
        flat = self.texts([caption for file in files for caption in captions[file][:5]])
        return self.pictures("flickr8k", files), flat.reshape(len(files), 5, -1)

    def caltech(self, half: Half) -> tuple[np.ndarray, np.ndarray]:
        rows = [row for row in table(self.data / "caltech101/labels.tsv") if row["class"]]
        names = sorted({row["class"] for row in rows})[half == "measure" :: 2]
        chosen = [row for row in rows[::3] if row["class"] in names]
        pictures = self.pictures("caltech101", [row["file"] for row in chosen])
        return pictures, np.array([row["class"] for row in chosen])

    def background(self, pictures: np.ndarray) -> Background:
        return Background(pictures, self.prompts)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._kept(
            "\n".join(texts), lambda: self.encoder.encode_texts([t.strip() for t in texts])
        )

    def pictures(self, folder: str, files: Sequence[str]) -> np.ndarray:
        paths = [self.data / folder / "images" / file for file in files]

        def encode() -> np.ndarray:
            parts = [
                self.encoder.encode_images([self._open(path) for path in paths[start : start + 32]])
                for start in range(0, len(paths), 32)
            ]
            return np.concatenate(parts)

        return self._kept("\n".join(map(str, paths)), encode)

    def _open(self, path: Path) -> Any:
        data = path.read_bytes()
        decoded = decode(
            str(path),
            data,
            sha256=content_hash(data),
            target_px=self.encoder.image_size_px,
            max_megapixels=200,
        )
        assert isinstance(decoded, Decoded), decoded
        return decoded.image

    def _kept(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        path = self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
        if not path.exists():
            np.save(path, make())
        kept: np.ndarray = np.load(path)
        if self.columns is None:
            return kept
        part = kept[..., self.columns]
        return part / np.linalg.norm(part, axis=-1, keepdims=True)


def _hits(
    group: str,
    query: int,
    vector: np.ndarray,
    pictures: np.ndarray,
    library: Background,
    is_true: np.ndarray | None = None,
) -> Case:
    """The first hits; without `is_true` all of them are wrong."""
    top = np.argsort(-(pictures @ vector))[:TOP]
    truth = np.zeros(len(pictures), bool) if is_true is None else is_true
    return Case(group, library.standard_scores(vector, pictures[top]), truth[top], query)


def _own(
    group: str,
    query: int,
    vector: np.ndarray,
    pictures: np.ndarray,
    library: Background,
    own: np.ndarray,
) -> Iterator[Case]:
    """The caption's own picture if it is found; of the other hits nobody knows what they are."""
    case = _hits(group, query, vector, pictures, library, own)
    if case.is_true.any():
        yield Case(group, case.scores[case.is_true], case.is_true[case.is_true], query)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


# -- fitting


def fit(cases: Sequence[Case]) -> Fit:
    """A logistic by Newton's method; all true hits weigh as much as all wrong ones, and each
    group as much as another. A score that would count against a match is left out.
    """
    scores = np.concatenate([case.scores for case in cases]).astype(np.float64)  # [H, 2]
    is_true = np.concatenate([case.is_true for case in cases])
    groups = np.concatenate([np.full(len(case.scores), case.group) for case in cases])
    share = np.zeros(len(scores))
    for truth in (True, False):
        present = [
            group for group in np.unique(groups) if (is_true[groups == group] == truth).any()
        ]
        for group in present:
            chosen = (groups == group) & (is_true == truth)
            share[chosen] = 0.5 / len(present) / chosen.sum()
    columns = [0, 1]
    while True:
        solution = _newton(scores[:, columns], is_true, share)
        against = [column for column, w in zip(columns, solution, strict=False) if w < 0]
        if not against:
            break
        columns = [column for column in columns if column not in against]
    weights = np.zeros(2)
    weights[columns] = solution[:-1]
    p = 1 / (1 + np.exp(-(scores @ weights + solution[-1])))
    fair = _quantile(p[is_true], share[is_true], 1 - KEPT_AT_FAIR)
    strong = max(fair, _quantile(p[~is_true], share[~is_true], CUT_AT_STRONG))
    a, b = (round(float(weight), 4) for weight in weights)
    return Fit((a, b), round(float(solution[-1]), 4), round(fair, 4), round(strong, 4))


def _newton(scores: np.ndarray, is_true: np.ndarray, share: np.ndarray) -> np.ndarray:
    inputs = np.hstack([scores, np.ones((len(scores), 1))])  # [H, F + 1]
    solution = np.zeros(inputs.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(inputs @ solution)))
        gradient = inputs.T @ (share * (p - is_true)) + 1e-5 * solution
        curvature = (inputs * (share * p * (1 - p))[:, None]).T @ inputs
        solution -= np.linalg.solve(curvature + 1e-5 * np.eye(len(solution)), gradient)
    return solution


def _quantile(values: np.ndarray, share: np.ndarray, level: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(share[order]) / share.sum()
    return float(values[order][np.searchsorted(reached, level)])


def write(text: Fit, picture: Fit, encoder: str) -> None:
    lines = [
        "# What docs/match-levels.md describes: a logistic over two standard scores (above the",
        "# query's mean over the library, above the picture's over the unrelated prompts) and the",
        "# probabilities from which a hit is fair and strong.",
        "# Written by: python benchmarks/match_levels.py --fit",
        f"# {date.today()}, encoder {encoder}, commit {_commit()}",
    ]
    for kind, chosen in (("text", text), ("picture", picture)):
        lines += [
            "",
            f"[{kind}]",
            f"weights = {list(chosen.weights)}",
            f"bias = {chosen.bias}",
            f"fair = {chosen.fair}",
            f"strong = {chosen.strong}",
        ]
    config_path("match_levels.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_table(rows: Sequence[dict[str, Any]], encoder: str, commit: str) -> None:
    """Puts the figures into docs/match-levels.md, between its marks."""
    document = Path(__file__).parent.parent / "docs" / "match-levels.md"
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- measured -->\n")
    _, _, after = rest.partition("<!-- end -->")
    columns = [
        f"{what} {level} %"
        for what in ("true kept at", "wrong cut at", "nothing at")
        for level in ("fair", "strong")
    ]
    lines = [
        f"| queries | n | true | {' | '.join(column.removesuffix(' %') for column in columns)} |",
        "|---|" + "---|" * (len(columns) + 2),
        *(
            f"| {row['queries']} | {row['n']} | {row['true'] or ''} | "
            f"{' | '.join(str(row[column]) for column in columns)} |"
            for row in rows
        ),
        "",
        f"In percent. {encoder}, {date.today()}, commit {commit}, {_processor()};",
        "`python benchmarks/match_levels.py --fit`.",
    ]
    table = "\n".join(lines)
    document.write_text(f"{before}<!-- measured -->\n{table}\n<!-- end -->{after}", "utf-8")


if __name__ == "__main__":
    main()
