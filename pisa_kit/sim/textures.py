"""Procedural pictures for objects, floors and walls; the unseen ones never appear in training scenes."""

import numpy as np

SEEN = ("plain", "checker", "stripes", "speckle")
UNSEEN = ("dots", "bricks", "marble", "zigzag")


def texture(kind: str, rgb, contrast: float, seed: int, size: int = 64) -> np.ndarray:
    """A tileable picture around one colour.

    Args:
        kind: a name in `SEEN` or `UNSEEN`.
        rgb: base colour, three numbers in [0, 1].
        contrast: how far the pattern darkens the base colour, in [0, 1].
        seed: fixes the pattern's details.
        size: side, pixels.

    Returns:
        (size, size, 3) uint8.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    pattern = _PATTERNS[kind](x, y, rng)
    grain = 1 + 0.04 * rng.standard_normal((size, size, 1))
    shade = 1 - contrast * np.clip(pattern, 0, 1)[..., None]
    return (255 * np.clip(np.asarray(rgb) * shade * grain, 0, 1)).astype(np.uint8)


def _speckle(x, y, rng):
    return (_waves(x, y, rng, 12, 9) > 0.62).astype(float)


def _marble(x, y, rng):
    return np.abs(np.sin(2 * np.pi * (x + y + 0.4 * _waves(x, y, rng, 8, 4))))


def _waves(x, y, rng, count, highest):
    """A sum of random tileable waves, rescaled to [0, 1]."""
    total = np.zeros_like(x)
    for _ in range(count):
        fx, fy = rng.integers(-highest, highest + 1, 2)
        total += np.cos(2 * np.pi * (fx * x + fy * y + rng.random()))
    return (total - total.min()) / max(float(np.ptp(total)), 1e-9)


def _bricks(x, y, rng):
    row = np.floor(y * 6)
    along = (x * 3 + 0.5 * (row % 2)) % 1
    return ((y * 6 % 1 < 0.14) | (along < 0.07)).astype(float)


_PATTERNS = {
    "plain": lambda x, y, rng: np.zeros_like(x),
    "checker": lambda x, y, rng: (np.floor(x * 4) + np.floor(y * 4)) % 2,
    "stripes": lambda x, y, rng: (x * 4 % 1 < 0.5).astype(float),
    "speckle": _speckle,
    "dots": lambda x, y, rng: (((x * 4 % 1) - 0.5) ** 2 + ((y * 4 % 1) - 0.5) ** 2 < 0.09).astype(float),
    "bricks": _bricks,
    "marble": _marble,
    "zigzag": lambda x, y, rng: ((y * 5 + np.abs(x * 4 % 2 - 1)) % 1 < 0.5).astype(float),
}
