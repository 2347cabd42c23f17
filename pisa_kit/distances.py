"""Exact Euclidean distances from pixels to the nearest pixel of a set, for many small windows at once."""

from math import isqrt

import numpy as np


def nearest_squared(seeds: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance from every wanted pixel to the nearest seed of its own window, exact, 0 elsewhere.

    The distance transform taken apart by axes (Felzenszwalb and Huttenlocher 2012): first along columns, then
    `min over d of column_distance(x + d)^2 + d^2`. The second search ends once d^2 alone exceeds what could be gained.

    Args:
        seeds: (height, ..., width) bool, at least one seed in every window (first and last axis).
        wanted: the same shape, bool.
    """
    shape = seeds.shape
    seeds, wanted = (array.reshape(shape[0], -1, shape[-1]) for array in (seeds, wanted))
    height, count, width = seeds.shape
    far = isqrt(height**2 + width**2) + 1
    kind = np.uint16 if far**2 + width**2 < 2**16 else np.uint32
    squares = _column_distances(seeds, far, kind) ** 2
    lowest = squares.min(2, keepdims=True)
    sideways = (np.arange(width, dtype=np.int32) - squares.argmin(2)[..., None].astype(np.int32)).astype(kind)
    best = np.minimum(squares * wanted, sideways**2 + lowest)
    reach = isqrt(int((best - np.minimum(best, lowest)).max()))
    # Columns of padding between windows let a shift by d run over all windows as one flat array.
    padded = np.full((height, count, width + reach), far**2, kind)
    padded[..., :width] = squares
    result = np.zeros_like(padded)
    result[..., :width] = best
    _search_sideways(padded.ravel(), result, lowest, reach)
    return result[..., :width].reshape(shape)


def _column_distances(seeds: np.ndarray, far: int, kind: type) -> np.ndarray:
    """Distance to the nearest seed in the same column (axis 0), pixels, `far` where it has none; steps 1, 2, 4, ..."""
    distances = np.where(seeds, kind(0), kind(far))
    step = 1
    while step < len(distances):
        further = distances + kind(step)
        np.minimum(distances[step:], further[:-step], out=distances[step:])
        np.minimum(distances[:-step], further[step:], out=distances[:-step])
        step *= 2
    return distances


def _search_sideways(squares: np.ndarray, best: np.ndarray, lowest: np.ndarray, reach: int) -> None:
    """Lowers `best` (height, count, columns) in place to the minimum over d = 1 ... reach, to both sides."""
    flat, shifted = best.reshape(-1), np.empty_like(squares)
    for d in range(1, reach + 1):
        np.add(squares, squares.dtype.type(d * d), out=shifted)
        np.minimum(flat[:-d], shifted[d:], out=flat[:-d])
        np.minimum(flat[d:], shifted[:-d], out=flat[d:])
        if d % 4 == 0 and not (best > lowest + squares.dtype.type(d * d)).any():
            break
