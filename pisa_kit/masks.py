"""Who is where: follows one object through a clip of a still camera by its difference from the background.

No neural network: it needs a background that holds still, and returns "lost" instead of a guess.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pisa_kit.camera_drift import camera_drift, shift
from pisa_kit.files import InputError

SMALLEST_DIFFERENCE = 14.0  # grey levels: what still counts as background in a noise-free clip
NOISE_FACTOR = 5.0  # threshold in standard deviations of the clip's own noise
SHADOW_DARKEST = 0.4  # a cast shadow keeps at least this share of the background's light
MEDIAN_FRAMES = 25  # frames that enter a median over time
DRIFT_TOLERANCE = 2  # pixels by which the background of a drifting camera may be off after alignment
SIZE_RANGE = (0.3, 2.0)  # plausible area from one frame to the next, as a ratio
GROWN_TOLERANCE = 32.0  # grey levels of chroma (a third of it for brightness) within an object of one colour


@dataclass(frozen=True)
class Track:
    """One object through a clip.

    Args:
        masks: (T, H, W) bool.
        lost: (T,) bool, frames in which it was not found; their mask is empty.
    """

    masks: np.ndarray
    lost: np.ndarray


@dataclass(frozen=True)
class _Background:
    """What a clip shows without the object, in the coordinates of frame 0.

    Args:
        plate: (H, W, 3) float32 in [0, 255].
        never_seen: (H, W) bool, pixels of the object that it covers through the whole clip.
        threshold: grey levels above which a difference is foreground.
        tolerance: pixels by which the plate may be off.
        dark_object, bright_object: the object itself looks like a shadow, or like the spot a shadow has left.
    """

    plate: np.ndarray
    never_seen: np.ndarray
    threshold: float
    tolerance: int
    dark_object: bool = False
    bright_object: bool = False


def track_background(frames: np.ndarray, start: np.ndarray | tuple[float, float]) -> Track:
    """Follows the object that `start` shows in frame 0, by background difference.

    Args:
        frames: (T, H, W, 3) uint8. The camera stands still or drifts slowly.
        start: the object's mask in frame 0, (H, W) bool, or a point (x, y) on it in pixels.

    Raises:
        InputError: frames or start of the wrong kind, or there is no object at the point.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        problem = f"has shape {frames.shape} and dtype {frames.dtype}"
        raise InputError("track_background", "frames", problem, "Give (T, H, W, 3) uint8.")
    start = np.asarray(start)
    if start.shape == (2,):
        return _track_point(frames, float(start[0]), float(start[1]))
    if start.shape != frames.shape[1:3] or start.dtype != bool or not start.any():
        problem = f"has shape {start.shape}, dtype {start.dtype} and {np.count_nonzero(start)} pixels"
        raise InputError("track_background", "start", problem, "Give a non-empty (H, W) bool mask or a point (x, y).")
    return _track_mask(frames, start, camera_drift(frames, start))


def _track_point(frames: np.ndarray, x: float, y: float) -> Track:
    """Of the readings of a click, the track that the later frames confirm best."""
    height, width = frames.shape[1:3]
    if not (0 <= x < width and 0 <= y < height):
        problem = f"is ({x:g}, {y:g}), outside the {width}x{height} frame"
        raise InputError("track_background", "start", problem, "Give a pixel (x, y) of the object in frame 0.")
    pixel = int(y), int(x)
    grown = _grow_colour(frames[0], pixel)
    drift = camera_drift(frames, grown)
    changing = _changing_component(frames, drift, pixel)
    readings = [grown] if changing is None else [changing, _largest(changing & grown)]
    readings = [mask for mask in readings if 4 <= mask.sum() <= mask.size / 4]
    if not readings:
        problem = f"shows no object at ({x:g}, {y:g}): nothing moves there, and the colour there fills the picture"
        raise InputError("track_background", "start", problem, "Click the object in frame 0, or give its mask.")
    tracks = [_track_mask(frames, mask, drift) for mask in readings]
    return min(tracks, key=_inconsistency)


def _inconsistency(track: Track) -> float:
    """Share of lost frames, plus how far frame 0's area is from the later ones' (logarithm of the ratio)."""
    areas = track.masks.sum(axis=(1, 2))
    later = areas[1:][~track.lost[1:]]
    mismatch = abs(np.log(areas[0] / np.median(later))) if len(later) else 0.0
    return float(track.lost.mean() + 0.5 * mismatch)


def _grow_colour(frame: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the connected region around `pixel` that has its colour."""
    image = frame.astype(np.float32)
    row, column = pixel
    seed = np.median(image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].reshape(-1, 3), axis=0)
    brightness = image.mean(-1) - seed.mean()
    chroma = np.abs(image - seed - brightness[..., None]).max(-1)
    alike = np.maximum(chroma, np.abs(brightness) / 3) <= GROWN_TOLERANCE
    alike[pixel] = True
    labels, _ = ndimage.label(alike)
    return ndimage.binary_fill_holes(labels == labels[pixel])


def _changing_component(frames: np.ndarray, drift: np.ndarray, pixel: tuple[int, int]) -> np.ndarray | None:
    """What differs at `pixel` between frame 0 and the median over time; None if nothing does."""
    background = _Background(
        _median(frames, drift), np.zeros(frames.shape[1:3], bool), _threshold(frames, drift), _tolerance(drift)
    )
    labels, _ = ndimage.label(_foreground(frames[0], background, frames[0]))
    return _fill(labels == labels[pixel]) if labels[pixel] else None


def _track_mask(frames: np.ndarray, start: np.ndarray, drift: np.ndarray) -> Track:
    """Follows from a frame-0 mask: per frame the plausible component, or lost."""
    background = _background(frames, start, drift)
    palette = _Palette(frames[0], start)
    masks = np.zeros(frames.shape[:3], bool)
    masks[0] = start
    follower = _Follower(start)
    for index in range(1, len(frames)):
        foreground = _foreground(frames[index], _moved(background, drift[index]), shift(frames[0], drift[index]))
        found = follower.choose(foreground)
        if found is None or (follower.frames_lost and palette.share(frames[index], found) < 0.5):
            found = follower.choose(foreground & palette.contains(frames[index]))
        follower.update(found)
        if found is not None:
            masks[index] = found
    return Track(masks, ~masks.any(axis=(1, 2)))


def _tolerance(drift: np.ndarray) -> int:
    return DRIFT_TOLERANCE if drift.any() else 0


def _sample(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MEDIAN_FRAMES)).astype(int))


def _aligned(frames: np.ndarray, drift: np.ndarray, indices) -> np.ndarray:
    """The frames at `indices` in the coordinates of frame 0."""
    if not drift.any():
        return frames[indices]
    return np.stack([shift(frames[index], -drift[index]) for index in indices])


def _median(frames: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: the middle value over time."""
    ordered = np.sort(_aligned(frames, drift, _sample(len(frames))), axis=0)
    return ordered[len(ordered) // 2].astype(np.float32)


def _threshold(frames: np.ndarray, drift: np.ndarray) -> float:
    """Difference in grey levels above which a pixel is foreground, from the noise between successive frames."""
    pairs = [(index - 1, index) for index in _sample(len(frames)) if index > 0][:: max(1, len(frames) // 8)]
    noise = [np.median(np.abs(frames[b, ::2, ::2].astype(np.int16) - frames[a, ::2, ::2])) for a, b in pairs] or [0.0]
    return max(SMALLEST_DIFFERENCE, NOISE_FACTOR * float(np.median(noise)) * 1.05)


def _background(frames: np.ndarray, start: np.ndarray, drift: np.ndarray) -> _Background:
    """Frame 0 outside the object's mask (steadied by the median), what appears once the object is gone inside it."""
    first, threshold = frames[0].astype(np.float32), _threshold(frames, drift)
    plate = _median(frames, drift)
    plate = np.where(np.abs(plate - first).max(-1, keepdims=True) <= threshold, plate, first)
    margin = 2 + _tolerance(drift)
    around = ndimage.binary_dilation(start, iterations=margin)
    rows, columns = (slice(hits[0], hits[-1] + 1) for hits in (np.flatnonzero(around.any(axis)) for axis in (1, 0)))
    inside = _aligned(frames, drift, _sample(len(frames)))[:, rows, columns].astype(np.int16)
    changed = (np.abs(inside - inside[0]).max(-1) > threshold) & around[rows, columns]
    count = changed.sum(0)
    ordered = np.sort(np.where(changed[..., None], inside, 1000), axis=0)
    middle = np.maximum(count - 1, 0)[None, ..., None] // 2
    revealed = np.take_along_axis(ordered, np.broadcast_to(middle, (1, *inside.shape[1:])), 0)[0]
    plate[rows, columns] = np.where((count > 0)[..., None], revealed, first[rows, columns])
    never_seen = start.copy()
    never_seen[rows, columns] &= count == 0
    seen = start & ~never_seen
    background = _Background(plate, never_seen, threshold, _tolerance(drift))
    if not seen.any():
        return background
    darker, brighter = _shadows(first[seen], plate[seen], threshold)
    return _Background(plate, never_seen, threshold, background.tolerance, darker.mean() > 0.3, brighter.mean() > 0.3)


def _moved(background: _Background, offset: np.ndarray) -> _Background:
    """The background as the camera of a later frame sees it."""
    if not offset.any():
        return background
    return _Background(
        shift(background.plate, offset),
        shift(background.never_seen, offset),
        background.threshold,
        background.tolerance,
        background.dark_object,
        background.bright_object,
    )


def _shadows(image: np.ndarray, plate: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (..., 3) that are the plate in less light, and in more (where a shadow was): same colour, other brightness."""
    gain = (image * plate).sum(-1) / np.maximum((plate * plate).sum(-1), 1.0)
    alike = np.abs(image - gain[..., None] * plate).max(-1) <= 0.6 * threshold
    return alike & (gain >= SHADOW_DARKEST) & (gain < 1), alike & (gain >= 1) & (gain <= 1 / SHADOW_DARKEST)


def _foreground(frame: np.ndarray, background: _Background, first: np.ndarray) -> np.ndarray:
    """(H, W) bool: what is not background, shadows left out; `first` is frame 0 seen from the same camera position."""
    image, plate, threshold = frame.astype(np.float32), background.plate, background.threshold
    low = high = plate
    if background.tolerance:
        size = (2 * background.tolerance + 1,) * 2 + (1,)
        low, high = ndimage.minimum_filter(plate, size), ndimage.maximum_filter(plate, size)
    foreground = np.maximum(image - high, low - image).max(-1) > threshold
    darker, brighter = _shadows(image[foreground], plate[foreground], threshold)
    foreground[foreground] = ~((darker & (not background.dark_object)) | (brighter & (not background.bright_object)))
    if background.never_seen.any():
        foreground |= background.never_seen & (np.abs(image - first).max(-1) <= threshold)
    return foreground


def _fill(mask: np.ndarray) -> np.ndarray:
    """The mask with its gaps of a pixel or two closed and its holes filled."""
    closed = ndimage.binary_closing(np.pad(mask, 1), iterations=1)[1:-1, 1:-1] | mask
    return ndimage.binary_fill_holes(closed)


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel(), minlength=2)[1:]) if count else mask


class _Palette:
    """The colours of the object in frame 0, 16 levels per channel, each with its neighbours."""

    def __init__(self, frame: np.ndarray, mask: np.ndarray):
        table = np.zeros((16, 16, 16), bool)
        table[tuple((frame[mask] >> 4).T)] = True
        self.table = ndimage.binary_dilation(table, np.ones((3, 3, 3)))

    def contains(self, frame: np.ndarray) -> np.ndarray:
        """(...) bool for pixels (..., 3) uint8."""
        return self.table[tuple(np.moveaxis(frame >> 4, -1, 0))]

    def share(self, frame: np.ndarray, mask: np.ndarray) -> float:
        """Share of the mask's pixels that have one of the colours."""
        return float(self.contains(frame[mask]).mean())


class _Follower:
    """Position, velocity and area of the object so far, and which component of the next frame continues them."""

    def __init__(self, mask: np.ndarray):
        self.position = np.array(ndimage.center_of_mass(mask))
        self.velocity = np.zeros(2)
        self.area = float(mask.sum())
        self.frames_lost = 0

    def choose(self, foreground: np.ndarray) -> np.ndarray | None:
        """(H, W) bool: the component that lies where the object should be and has its size; None if there is none."""
        labels, count = ndimage.label(foreground, np.ones((3, 3)))
        if not count:
            return None
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        ratio = areas / self.area
        sized = 1 + np.flatnonzero((ratio >= SIZE_RANGE[0]) & (ratio <= SIZE_RANGE[1]))
        if not len(sized):
            return None
        centers = np.array(ndimage.center_of_mass(foreground, labels, sized))
        steps = 1 + self.frames_lost
        distance = np.linalg.norm(centers - self.position - self.velocity * steps, axis=1)
        reach = np.sqrt(self.area) * (1 + 0.5 * self.frames_lost) + 1.2 * np.linalg.norm(self.velocity)
        cost = distance / reach + 0.5 * np.abs(np.log(ratio[sized - 1]))
        best = int(np.where(distance <= reach, cost, np.inf).argmin())
        return _fill(labels == sized[best]) if distance[best] <= reach else None

    def update(self, found: np.ndarray | None) -> None:
        """Takes the object's new mask, or that there is none."""
        if found is None:
            self.frames_lost += 1
            return
        position = np.array(ndimage.center_of_mass(found))
        self.velocity = (position - self.position) / (1 + self.frames_lost)
        self.position, self.frames_lost = position, 0
        self.area = 0.7 * self.area + 0.3 * float(found.sum())
