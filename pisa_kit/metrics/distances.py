"""Exact Euclidean distances from pixels to the nearest pixel of a set, for many small windows at once."""

from math import isqrt

import numpy as np

SHIFTS_AT_ONCE = 4  # sideways shifts between two checks of which rows are finished


def distance_sums(seeds: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(K,) float64: per window, the sum over its wanted pixels of the distance to the nearest seed, pixels.

    Args:
        seeds: (K, height, width) bool, at least one seed in every window.
        wanted: (K, height, width) bool.
    """
    count, height, width = seeds.shape
    rows = np.flatnonzero(wanted.any(2))
    # Squares are kept as integers: the square root is then the only rounding.
    far = isqrt(height**2 + width**2) + 1
    kind = np.uint16 if far**2 + width**2 < 2**16 else np.uint32
    distances, wanted = (array.reshape(-1, width)[rows].T for array in (_column_distances(seeds, far, kind), wanted))
    return np.bincount(rows // height, _row_sums(np.ascontiguousarray(distances), wanted), minlength=count)


def _column_distances(seeds: np.ndarray, far: int, kind: type) -> np.ndarray:
    """Distance to the nearest seed in the same column (axis 1), `far` where it has none, in steps of 1, 2, 4, ..."""
    distances = np.where(seeds, kind(0), kind(far))
    further = np.empty_like(distances)
    step = 1
    while step < distances.shape[1]:
        np.add(distances, kind(step), out=further)
        np.minimum(distances[:, step:], further[:, :-step], out=distances[:, step:])
        np.minimum(distances[:, :-step], further[:, step:], out=distances[:, :-step])
        step *= 2
    return distances


def _row_sums(column_distances: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(R,) sums of distances over the wanted pixels of R rows, given as (width, R) so that shifts are contiguous.

    The squared distance is the minimum over d of `column_distance(x + d)^2 + d^2` (Felzenszwalb and Huttenlocher
    2012). A row is finished once d^2 alone exceeds what any of its pixels could gain.
    """
    squares = column_distances * column_distances
    best, lowest = squares * wanted, squares.min(0)
    sums, rows = np.zeros(len(lowest)), np.arange(len(lowest))
    first, kind = 1, squares.dtype.type
    while len(rows):
        last = min(first + SHIFTS_AT_ONCE, len(squares)) - 1
        for d in range(first, last + 1):
            shifted = squares + kind(d * d)
            np.minimum(best[:-d], shifted[d:], out=best[:-d])
            np.minimum(best[d:], shifted[:-d], out=best[d:])
        unfinished = (best > lowest + kind(last * last)).any(0) & (last < len(squares) - 1)
        if 2 * np.count_nonzero(unfinished) <= len(rows):
            finished = ~unfinished
            sums[rows[finished]] = np.sqrt(best[:, finished], dtype=np.float64).sum(0)
            rows, lowest = rows[unfinished], lowest[unfinished]
            squares, best = squares[:, unfinished], best[:, unfinished]
        first = last + 1
    return sums
