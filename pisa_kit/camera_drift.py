"""How far a camera that should stand still has drifted, by phase correlation."""

import numpy as np
from scipy import ndimage

LARGEST_DRIFT = 0.04  # share of the longer side; more than that is no tripod
MOVED_SHARE = 0.3  # of the background's edges must change before a drift is looked for


def shift(image: np.ndarray, offset, window: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
    """`image` (H, W, ...) moved by whole pixels `offset` (rows, columns), its border repeated; `window` of the result."""
    rows, columns = (
        np.clip(np.arange(size)[part] - int(step), 0, size - 1)
        for size, step, part in zip(image.shape, offset, window, strict=False)
    )
    return image[rows[:, None], columns]


def camera_drift(frames: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """(T, 2) int: by how many pixels (rows, columns) the background of each frame has moved since frame 0.

    A still camera changes the background's edges only where something passes in front of them, so a drift is looked
    for only if most of them change, and believed only if it explains the change.

    Args:
        frames: (T, H, W, 3) uint8.
        moving: (H, W) bool, where the object is in frame 0; its edges do not count.
    """
    drift = np.zeros((len(frames), 2), int)
    first = frames[0].mean(-1, dtype=np.float32)
    edges = _edges(first, ndimage.binary_dilation(moving, iterations=3))
    if edges.sum() < 50:
        return drift
    probes = np.unique(np.linspace(0, len(frames) - 1, 6).astype(int))[1:]
    if not any(_changed(frames[index], first, edges) > MOVED_SHARE for index in probes):
        return drift
    reference = _spectrum(first)
    limit = LARGEST_DRIFT * max(first.shape)
    for index in range(1, len(frames)):
        offset = _peak(_spectrum(frames[index].mean(-1, dtype=np.float32)) * reference.conj())
        before, after = (_changed(frames[index], shift(first, step), shift(edges, step)) for step in ((0, 0), offset))
        believed = np.abs(offset).max() <= limit and after <= before
        drift[index] = offset if believed else drift[index - 1]
    return drift


def _edges(image: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """(H, W) bool: where the picture changes by more than 15 grey levels per pixel, outside `excluded`."""
    steps = np.gradient(image)
    return (np.hypot(*steps) > 15) & ~excluded


def _changed(frame: np.ndarray, first: np.ndarray, edges: np.ndarray) -> float:
    """Share of the edges at which `frame` is not `first`."""
    return float((np.abs(frame[edges].mean(-1, dtype=np.float32) - first[edges]) > 15).mean())


def _spectrum(image: np.ndarray) -> np.ndarray:
    down, right = np.gradient(image)
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    return np.fft.fft2((down + 1j * right) * window)


def _peak(product: np.ndarray) -> np.ndarray:
    """(2,) int: the offset at which two pictures match best, from the product of their spectra."""
    magnitude = np.abs(product)
    match = np.abs(np.fft.ifft2(product / (magnitude + 1e-3 * magnitude.max())))
    best = np.unravel_index(match.argmax(), match.shape)
    return np.array([(k + n // 2) % n - n // 2 for k, n in zip(best, match.shape, strict=True)])
