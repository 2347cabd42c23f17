"""How far a camera that should stand still has drifted, by phase correlation."""

import numpy as np
from scipy import fft, ndimage

LARGEST_DRIFT = 0.04  # share of the longer side; more than that is no tripod
LARGEST_STEP = 2  # pixels per frame; a camera drifts smoothly
JUMPS = 0.05  # share of the frames that may break that rule
MOVED_SHARE = 0.3  # of the background's edges must change before a drift is looked for
EDGE = 15.0  # grey levels per pixel


def shift(image: np.ndarray, offset, window: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
    """`window` of `image` (H, W, ...) moved by whole pixels `offset` (rows, columns), its border repeated."""
    rows, columns = (
        np.clip(np.arange(size)[part] - int(step), 0, size - 1)
        for size, step, part in zip(image.shape, offset, window, strict=False)
    )
    return image[rows[:, None], columns]


def camera_drift(frames: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """(T, 2) int: by how many pixels (rows, columns) the background of each frame has moved since frame 0.

    A still camera changes the background's edges only where something passes in front of them, so a drift is looked
    for only if many of them change. It is believed only if it is small and smooth: before a plain wall the match
    follows the object instead, and that falls. Then, and for small pictures with little in them, the answer is 0.

    Args:
        frames: (T, H, W, 3) uint8.
        moving: (H, W) bool, where the object is in frame 0; its edges do not count.
    """
    drift = np.zeros((len(frames), 2), int)
    first = frames[0].mean(-1, dtype=np.float32)
    edges = (np.hypot(*np.gradient(first)) > EDGE) & ~ndimage.binary_dilation(moving, iterations=3)
    if edges.sum() < 50:
        return drift
    probes = np.unique(np.linspace(0, len(frames) - 1, 6).astype(int))[1:]
    if not any(_changed(frames[index], first, edges) > MOVED_SHARE for index in probes):
        return drift
    reference = _spectrum(first).conj()
    for index in range(1, len(frames)):
        drift[index] = _peak(_spectrum(frames[index].mean(-1, dtype=np.float32)) * reference)
    jumps = np.abs(np.diff(drift, axis=0)).max(1) > LARGEST_STEP
    if np.abs(drift).max() > LARGEST_DRIFT * max(first.shape) or jumps.mean() > JUMPS:
        return np.zeros_like(drift)
    return drift


def _changed(frame: np.ndarray, first: np.ndarray, edges: np.ndarray) -> float:
    """Share of the edges at which `frame` is not `first`."""
    return float((np.abs(frame[edges].mean(-1, dtype=np.float32) - first[edges]) > EDGE).mean())


def _spectrum(image: np.ndarray) -> np.ndarray:
    down, right = np.gradient(image)
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    return fft.fft2(((down + 1j * right) * window).astype(np.complex64))


def _peak(product: np.ndarray) -> np.ndarray:
    """(2,) int: the offset at which two pictures match best, from the product of their spectra."""
    magnitude = np.abs(product)
    match = np.abs(fft.ifft2(product / (magnitude + 1e-3 * magnitude.max() + 1e-12)))
    best = np.unravel_index(match.argmax(), match.shape)
    return np.array([(k + n // 2) % n - n // 2 for k, n in zip(best, match.shape, strict=True)])
