"""What a clip of a still camera shows without the object, and what in a frame differs from that."""

from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
from scipy import fft, ndimage

SMALLEST_DIFFERENCE = 14.0  # grey levels: what still counts as background in a noise-free clip
NOISE_FACTOR = 5.0  # threshold in standard deviations of the clip's own noise
SHADOW_DARKEST = 0.4  # a cast shadow keeps at least this share of the background's light
SHADOW_LEFT = 1.7  # where a shadow was, the background becomes brighter by at most this factor
MEDIAN_FRAMES = 25  # frames that enter a median over time
DRIFT_TOLERANCE = 2  # pixels by which the background of a drifting camera may be off after alignment
LARGEST_DRIFT = 0.04  # share of the longer side; more than that is no tripod
LARGEST_STEP = 2  # pixels per frame; a camera drifts smoothly
JUMPS = 0.05  # share of the frames that may break that rule
MOVED_SHARE = 0.3  # of the background's edges must change before a drift is looked for
EDGE = 15.0  # grey levels per pixel
_WHOLE = (slice(None), slice(None))


@dataclass(frozen=True)
class Background:
    """The picture behind the object, in the coordinates of frame 0.

    Args:
        first: (H, W, 3) uint8, frame 0.
        plate: (H, W, 3) float32 in [0, 255].
        never_seen: (H, W) bool, pixels that the object covers through the whole clip.
        threshold: grey levels above which a difference is foreground.
        tolerance: pixels by which the plate may be off.
        dark_object, bright_object: the object itself looks like a shadow, or like the spot a shadow has left.
    """

    first: np.ndarray
    plate: np.ndarray
    never_seen: np.ndarray
    threshold: float
    tolerance: int
    dark_object: bool
    bright_object: bool

    def foreground(self, frame: np.ndarray, offset, window=_WHOLE) -> tuple[np.ndarray, np.ndarray]:
        """What is neither background nor its shadow, (h, w) bool, in `window` of a frame, and the plate there.

        Args:
            frame: (H, W, 3) uint8.
            offset: (rows, columns) by which the camera has moved since frame 0.
        """
        image = frame[window].astype(np.float32)
        first, plate, never_seen = (shift(array, offset, window) for array in (self.first, self.plate, self.never_seen))
        smooth_image, smooth_plate = (ndimage.uniform_filter(array, (3, 3, 1)) for array in (image, plate))
        difference = largest_channel(np.abs(image - plate))
        result = difference > self.threshold
        if self.tolerance:
            steps = product(range(-self.tolerance, self.tolerance + 1), repeat=2)
            nearest = reduce(np.minimum, (largest_channel(np.abs(image - shift(plate, step))) for step in steps))
            result &= nearest > self.threshold
        elif self.threshold > SMALLEST_DIFFERENCE:  # a noisy clip: averages show what single pixels hide
            clear = largest_channel(np.abs(smooth_image - smooth_plate)) > max(SMALLEST_DIFFERENCE, self.threshold / 2)
            result |= clear & (difference > self.threshold / 3)
        darker, brighter = shadows(smooth_image[result], smooth_plate[result], self.threshold)
        result[result] = ~((darker & (not self.dark_object)) | (brighter & (not self.bright_object)))
        return result | never_seen & (largest_channel(np.abs(image - first)) <= self.threshold), plate


def median_background(frames: np.ndarray, drift: np.ndarray) -> Background:
    """The background as the median over time: right for everything that rests in less than half of the frames.

    It takes nothing for a shadow: in frame 0 the object hangs in midair, away from its own.
    """
    tolerance = DRIFT_TOLERANCE if drift.any() else 0
    nowhere = np.zeros(frames.shape[1:3], bool)
    return Background(frames[0], _median(frames, drift), nowhere, noise_threshold(frames), tolerance, True, True)


def masked_background(frames: np.ndarray, drift: np.ndarray, start: np.ndarray) -> Background:
    """The background, given where the object is in frame 0.

    Outside the mask it is frame 0 (steadied by the median over time), inside it what appears once the object is gone.
    Just outside it, where the mask may be too tight, frame 0 holds unless most later frames agree that it does not.

    Args:
        frames: (T, H, W, 3) uint8.
        drift: (T, 2) int, see `camera_drift`.
        start: (H, W) bool.
    """
    first, threshold = frames[0].astype(np.float32), noise_threshold(frames)
    plate, tolerance = _median(frames, drift), DRIFT_TOLERANCE if drift.any() else 0
    plate = np.where(np.abs(plate - first).max(-1, keepdims=True) <= threshold, plate, first)
    around = ndimage.binary_dilation(start, iterations=2 + tolerance)
    window = ndimage.find_objects(around.astype(int))[0]
    revealed, changes = _revealed(_aligned(frames, drift, window), threshold)
    mostly = 0.5 * min(len(frames), MEDIAN_FRAMES)
    uncovered = np.where(start[window], changes > 0, around[window] & (changes > mostly))
    plate[window] = np.where(uncovered[..., None], revealed, plate[window])
    never_seen = start.copy()
    never_seen[window] &= changes == 0
    smooth = [ndimage.uniform_filter(array, (3, 3, 1))[start & ~never_seen] for array in (first, plate)]
    dark, bright = (alike.sum() > 0.3 * len(alike) for alike in shadows(*smooth, threshold))
    return Background(frames[0], plate, never_seen, threshold, tolerance, bool(dark), bool(bright))


def largest_channel(pixels: np.ndarray) -> np.ndarray:
    """(...) from (..., 3); several times faster than a maximum over so short an axis."""
    return np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...) from two (..., 3): their scalar product."""
    return np.einsum("...i,...i", a, b)


def shadows(image: np.ndarray, plate: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels (..., 3) are the plate in less light (a shadow), and in more (the spot a shadow has left)."""
    gain = dot(image, plate) / np.maximum(dot(plate, plate), 1.0)
    alike = largest_channel(np.abs(image - gain[..., None] * plate)) <= max(0.6 * SMALLEST_DIFFERENCE, 0.3 * threshold)
    return alike & (gain >= SHADOW_DARKEST) & (gain < 1), alike & (gain >= 1) & (gain <= SHADOW_LEFT)


def noise_threshold(frames: np.ndarray) -> float:
    """Difference in grey levels above which a pixel is foreground, from the noise between successive frames."""
    if len(frames) < 2:
        return SMALLEST_DIFFERENCE
    later = np.unique(np.linspace(1, len(frames) - 1, min(len(frames) - 1, 9)).astype(int))
    steps = np.abs(frames[later, ::2, ::2].astype(np.int16) - frames[later - 1, ::2, ::2])
    deviation = 1.05 * float(np.median(steps.reshape(len(later), -1).mean(1)))
    return max(SMALLEST_DIFFERENCE, NOISE_FACTOR * deviation)


def _aligned(frames: np.ndarray, drift: np.ndarray, window=_WHOLE) -> np.ndarray:
    """`window` of frames spread over the clip, frame 0 first, in the coordinates of frame 0."""
    sample = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MEDIAN_FRAMES)).astype(int))
    if not drift.any():
        return frames[(sample, *window)]
    return np.stack([shift(frames[index], -drift[index], window) for index in sample])


def _median(frames: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: the middle value over time."""
    return np.quantile(_aligned(frames, drift), 0.5, axis=0, method="higher").astype(np.float32)


def _revealed(frames: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Middle value (H, W, 3) of the frames that differ from frame 0, pixel by pixel, and their number (H, W)."""
    frames = frames.astype(np.int16)
    changed = largest_channel(np.abs(frames - frames[0])) > threshold
    changes = changed.sum(0)
    ordered = np.sort(np.where(changed[..., None], frames, 1000), axis=0)
    middle = np.maximum(changes - 1, 0)[None, ..., None] // 2
    return np.take_along_axis(ordered, np.broadcast_to(middle, (1, *frames.shape[1:])), 0)[0], changes


def shift(image: np.ndarray, offset, window=_WHOLE) -> np.ndarray:
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
    changes = np.abs(frames[probes][:, edges].mean(-1, dtype=np.float32) - first[edges]) > EDGE
    if not (changes.mean(1) > MOVED_SHARE).any():
        return drift
    reference = _spectrum(first).conj()
    for index in range(1, len(frames)):
        drift[index] = _peak(_spectrum(frames[index].mean(-1, dtype=np.float32)) * reference)
    jumps = np.abs(np.diff(drift, axis=0)).max(1) > LARGEST_STEP
    if np.abs(drift).max() > LARGEST_DRIFT * max(first.shape) or jumps.mean() > JUMPS:
        return np.zeros_like(drift)
    return drift


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
