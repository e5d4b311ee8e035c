"""From boxes with probabilities to the probability of a number: the Poisson binomial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from searchengine.boxes import Floats
from searchengine.conditions import Operator, limits


def number_distributions(probabilities: Sequence[Floats]) -> Floats:
    """P(exactly k of a picture's boxes are there) for k = 0..N, each there on its own account.

    `probabilities` holds (N_i,) for each of P pictures, N the most of them. Returns (P, N + 1).
    Source: the recursion of Barlow and Heidtmann 1984, for all pictures at once.
    """
    most = max((len(some) for some in probabilities), default=0)
    of_box = np.zeros((most, len(probabilities)))  # a box that is not there is never there
    for at, some in enumerate(probabilities):
        of_box[: len(some), at] = some
    distributions = np.zeros((most + 1, len(probabilities)))
    distributions[0] = 1
    for there in of_box:
        distributions[1:] = distributions[1:] * (1 - there) + distributions[:-1] * there
        distributions[0] *= 1 - there
    return distributions.T


def holds(distributions: Floats, operator: Operator, n: int | None) -> Floats:
    """The probability that the number of things stands in this relation to `n`. Returns (P,).

    `distributions` are `number_distributions`, (P, N + 1). "?" asks for the number and is met by
    any but none.
    """
    least, most = limits(operator, n)
    end = None if most is None else max(most + 1, 0)
    probabilities: Floats = distributions[:, max(least, 0) : end].sum(axis=1)
    return np.minimum(probabilities, 1.0)


def likeliest(distributions: Floats) -> npt.NDArray[np.intp]:
    """The number that is most likely the right one. Returns (P,).

    `distributions` are `number_distributions`, (P, N + 1).
    """
    numbers: npt.NDArray[np.intp] = distributions.argmax(axis=1)
    return numbers
