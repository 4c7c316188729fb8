"""Which scan to outline next: the one that brings most of the others near an outlined one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray


def distances(features: NDArray[Any]) -> NDArray[np.float32]:
    """Euclidean distances between scans, each feature divided by its standard deviation over the scans.

    A feature that is the same in all scans tells nothing and is left out.

    >>> distances(np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]])).round(2)
    array([[0.  , 1.22, 2.45],
           [1.22, 0.  , 1.22],
           [2.45, 1.22, 0.  ]], dtype=float32)

    Args:
        features: `(scans, features)`.

    Returns:
        `(scans, scans)`, zero on the diagonal.
    """
    centred = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0)
    spread = centred.std(axis=0)
    scaled = centred[:, spread > 1e-9] / spread[spread > 1e-9]
    squares = (scaled**2).sum(axis=1)
    between = np.maximum(squares[:, None] + squares - 2 * scaled @ scaled.T, 0)
    np.fill_diagonal(between, 0)
    found: NDArray[np.float32] = np.sqrt(between).astype(np.float32)
    return found


def gains(
    between: NDArray[np.float32], outlined: Collection[int], weights: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    """By how much each scan, once outlined, shortens the way from the other scans to the nearest outlined one.

    The first choice is the most typical scan, and later ones lie where many scans are far from any outlined
    one. Choosing the scan farthest from all outlined ones instead (k-center) covers as well, but begins with
    the oddest scans, which teach little while there are few. So would counting a scan's own way in full: in many
    dimensions all scans are about equally far from each other, and the longest way is that of the oddest. Its own way
    counts an n-th, as if it were that of one among n scans that are to come.

    >>> between = np.array([[0, 1, 4, 4], [1, 0, 3, 4], [4, 3, 0, 4], [4, 4, 4, 0]], dtype=np.float32)
    >>> gains(between, [])  # all are 4 from anything outlined: the second brings the first to 1, the third to 3
    array([4., 5., 2., 1.], dtype=float32)
    >>> gains(between, [0])  # the second brings the third from 4 to 3; a quarter of its own way counts
    array([0.  , 1.25, 1.  , 1.  ], dtype=float32)
    >>> gains(between, [0], np.array([1, 1, 6, 1]))  # the third is doubted six times as much
    array([0.  , 6.25, 6.  , 1.  ], dtype=float32)

    Args:
        between: Distances `(scans, scans)`.
        outlined: Indices of the scans that are outlined or about to be.
        weights: How much each scan counts, at least 0; all alike by default.

    Returns:
        `(scans,)`; 0 for the outlined ones.

    Source:
        The greedy step of the facility location problem, Wei, Iyer and Bilmes 2015, "Submodularity in data
        subset selection and active learning"; there a scan's own way counts in full.
    """
    done = list(outlined)
    reach = between[:, done].min(axis=1) if done else np.full(len(between), between.max(initial=0))
    count = np.ones(len(between)) if weights is None else np.asarray(weights)
    nearer = np.maximum(reach[:, None] - between, 0)
    np.fill_diagonal(nearer, reach / len(between))
    every = count.astype(np.float32)[:, None] * nearer
    # Rounded after the sum, so that scans that are equally good are so on every processor.
    total: NDArray[np.float32] = every.sum(axis=0, dtype=np.float64).astype(np.float32)
    total[done] = 0
    return total


def choose(
    between: NDArray[np.float32],
    outlined: Collection[int],
    count: int,
    weights: NDArray[Any] | None = None,
) -> list[int]:
    """Several scans to outline, best first, each chosen as if those before it were outlined already.

    >>> line = np.abs(np.arange(9.0)[:, None] - np.arange(9.0)).astype(np.float32)
    >>> choose(line, [], 3)
    [4, 1, 7]

    Args:
        between: Distances `(scans, scans)`.
        outlined: Indices of the scans that are outlined already.
        count: How many are wanted; all others if there are fewer.
        weights: How much each scan counts; all alike by default.
    """
    done = list(outlined)
    chosen: list[int] = []
    for _ in range(min(count, len(between) - len(set(done)))):
        gain = gains(between, done, weights)
        gain[done] = -1
        chosen.append(int(gain.argmax()))
        done.append(chosen[-1])
    return chosen
