"""From boxes with probabilities to the probability of a number: the Poisson binomial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchengine.boxes import Floats
from searchengine.conditions import Operator


def number_distribution(probabilities: Sequence[float]) -> Floats:
    """P(exactly k of the boxes are there) for k = 0..N, each there on its own account.

    Returns (N + 1,). Source: the recursion of Barlow and Heidtmann 1984.
    """
    distribution = np.ones(1)
    for probability in probabilities:
        distribution = np.convolve(distribution, [1 - probability, probability])
    return distribution


def holds(distribution: Floats, operator: Operator, n: int | None) -> float:
    """The probability that the number of things stands in this relation to `n`.

    `distribution` is `number_distribution`'s. "?" asks for the number and is met by any but none.
    """
    if operator == "?" or n is None:
        return float(1 - distribution[0])
    least, most = limits(operator, n)
    end = None if most is None else max(most + 1, 0)
    return float(min(1.0, distribution[max(least, 0) : end].sum()))


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
