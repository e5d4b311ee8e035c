"""Match levels: what a cosine is worth, in this library and by this encoder.

A raw cosine means nothing across queries and encoders. Each hit's is measured against two
distributions of cosines that are (nearly) all of no match: the query's over the library, and the
picture's over unrelated prompts. The two standard scores go through a logistic that was fitted on
captions: docs/match-levels.md, benchmarks/match_levels.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from indexer.config_files import config_path
from indexer.vectors import FlatIndex

Floats = npt.NDArray[np.float32]
Level = Literal["strong", "fair", "weak"]
Kind = Literal["text", "picture"]
LEVELS: tuple[Level, ...] = ("strong", "fair", "weak")

SAMPLE = 2000  # pictures of the library that stand for all of it
_GRAND_SAMPLE = 256  # of these, the ones the references are compared with
PRIOR_WEIGHT = 20  # pictures: a smaller library's own distribution counts less than the prompts'
CONDITION_HOLDS = 0.5  # below it, a hit that a detector checked is at most fair
CONDITION_MAY_HOLD = 0.1  # below it, weak
FEWEST_PICTURES = 20  # a query by picture has nothing else to be compared with
_SAME_PICTURE = 0.999
_MOST = 20.0  # standard scores beyond say nothing more; a spread of nearly 0 makes any number


@dataclass(frozen=True, slots=True)
class Fit:
    """A logistic over the two standard scores, and where its levels begin."""

    weights: tuple[float, float]
    bias: float
    fair: float  # the probability from which a hit is fair
    strong: float

    def level(self, probability: float) -> Level:
        if probability >= self.strong:
            return "strong"
        return "fair" if probability >= self.fair else "weak"


def load_fit(kind: Kind) -> Fit:
    """The constants that `benchmarks/match_levels.py --fit` wrote."""
    text = config_path("match_levels.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)[kind]
    return Fit(tuple(values["weights"]), values["bias"], values["fair"], values["strong"])


class Background:
    """What no match looks like in one library: `sample` of its pictures, and `references`.

    The references are the unrelated prompts for queries in words. For queries by picture they are
    the sample itself, since cosines between pictures are of another size than those with words.
    """

    def __init__(self, sample: Floats, references: Floats) -> None:
        self.sample = sample  # [N, D]
        self.references = references  # [R, D]
        step = -(-len(sample) // _GRAND_SAMPLE) or 1
        grand = _without_itself(sample[::step] @ references.T)
        self._mean, self._spread = _moments(grand.reshape(1, -1))

    def standard_scores(self, query: Floats, pictures: Floats) -> Floats:
        """Of each picture's cosine with the query, (K, 2): how far it stands above the query's
        mean over the library, and above the picture's mean over the references.

        The first is counted in spreads of all references over the library: a query's own spread
        is wide where much matches, and would hide it.
        """
        cosines = pictures @ query  # [K]
        mean, spread = _moments(_without_itself(pictures @ self.references.T))
        scores = np.stack(
            [(cosines - self._mean_of(query)) / self._spread, (cosines - mean) / spread], axis=1
        )  # [K, 2]
        clipped: Floats = np.clip(scores, -_MOST, _MOST)
        return clipped

    def _mean_of(self, query: Floats) -> Floats:
        """Over the library; that of few pictures is drawn towards what the references say."""
        mean, _ = _moments(_without_itself((self.sample @ query)[None]))  # [1]
        share = len(self.sample) / (len(self.sample) + PRIOR_WEIGHT)
        return share * mean + (1 - share) * self._mean


def sample_of(index: FlatIndex) -> Floats:
    """At most `SAMPLE` embeddings, evenly over the library: the same ones each time. (N, D)."""
    step = -(-len(index) // SAMPLE) or 1
    return index.vectors_of(index.ids[::step])


def probabilities(background: Background, fit: Fit, query: Floats, pictures: Floats) -> Floats:
    """How likely each of (K, D) pictures matches, were matches and others equally many. (K,)."""
    logits = background.standard_scores(query, pictures) @ np.array(fit.weights) + fit.bias  # [K]
    result: Floats = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return result


def probabilities_alone(fit: Fit, cosines: Floats, references: Floats) -> Floats:
    """How likely each of K pictures matches each of L texts, (K, L), by the pictures alone.

    As in a library of that one picture, where both standard scores are the same: `cosines`
    (K, L) measured by the mean and spread of the `references` (K, R), the unrelated prompts'.
    """
    mean, spread = _moments(references)
    scores = np.clip((cosines - mean[:, None]) / spread[:, None], -_MOST, _MOST)  # [K, L]
    result: Floats = (1 / (1 + np.exp(-(scores * sum(fit.weights) + fit.bias)))).astype(np.float32)
    return result


class Matcher:
    """The match levels of one library by one encoder; made anew for each state of the library."""

    def __init__(self, prompts: Callable[[], Floats]) -> None:
        self._prompts = prompts
        self._index: FlatIndex | None = None
        self._sample: Floats | None = None
        self._backgrounds: dict[Kind, Background] = {}
        self._fits: dict[Kind, Fit] = {}

    def background(self, index: FlatIndex, kind: Kind) -> Background | None:
        """None where there is nothing to compare with. Raises EncoderError."""
        if index is not self._index or self._sample is None:
            self._index, self._sample, self._backgrounds = index, sample_of(index), {}
        if len(self._sample) < (FEWEST_PICTURES if kind == "picture" else 1):
            return None
        if kind not in self._backgrounds:
            references = self._prompts() if kind == "text" else self._sample
            self._backgrounds[kind] = Background(self._sample, references)
        return self._backgrounds[kind]

    def levels(
        self, index: FlatIndex, kind: Kind, query: Floats, content_ids: Sequence[int]
    ) -> list[Level | None]:
        """The level of each content of the index for this query. Raises EncoderError."""
        pictures = index.vectors_of(np.array(content_ids, np.int64))
        return [level for level, _ in self._judge(index, kind, query, pictures)]

    def judge(
        self, index: FlatIndex, kind: Kind, query: Floats, picture: Floats
    ) -> tuple[Level | None, float | None]:
        """The level and the probability of one picture that need not be in the index."""
        return self._judge(index, kind, query, picture[None])[0]

    def _judge(
        self, index: FlatIndex, kind: Kind, query: Floats, pictures: Floats
    ) -> list[tuple[Level | None, float | None]]:
        background = self.background(index, kind) if len(pictures) else None
        if background is None:
            return [(None, None)] * len(pictures)
        if kind not in self._fits:
            self._fits[kind] = load_fit(kind)
        fit = self._fits[kind]
        likely = probabilities(background, fit, query, pictures).tolist()
        return [(fit.level(probability), probability) for probability in likely]


def reaches(level: Level | None, least: Level) -> bool:
    """Whether a hit's level is `least` or better. What has no level is never left out."""
    return level is None or LEVELS.index(level) <= LEVELS.index(least)


def checked(
    level: Level | None, condition: float | None, *, was_seen: bool = False
) -> Level | None:
    """The level of a hit whose conditions (a number, a place, ...) hold with this probability.

    `was_seen`: the things asked for were seen, and not only what must be absent was not; then a
    hit whose conditions hold is fair at least, whatever its embedding says.
    """
    if level is None or condition is None:
        return level
    if condition >= CONDITION_HOLDS:
        return "fair" if was_seen and level == "weak" else level
    most: Level = "fair" if condition >= CONDITION_MAY_HOLD else "weak"
    return most if LEVELS.index(most) > LEVELS.index(level) else level


def _without_itself(cosines: Floats) -> Floats:
    """A picture is no reference for itself: such cosines are no numbers in the result."""
    return np.where(cosines > _SAME_PICTURE, np.float32(np.nan), cosines)


def _moments(cosines: Floats) -> tuple[Floats, Floats]:
    """Mean and spread of each row of (K, R), both (K,)."""
    known = np.isfinite(cosines)
    number = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, cosines, 0).sum(axis=1) / number
    variance = np.where(known, (cosines - mean[:, None]) ** 2, 0).sum(axis=1) / number
    return mean.astype(np.float32), np.sqrt(variance + 1e-12).astype(np.float32)
