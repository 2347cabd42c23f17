"""Follows one object through a clip of a still camera by its difference from the background.

No neural network: it needs a background that holds still, and returns "lost" instead of a guess.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pisa_kit.clips.clip import Clip
from pisa_kit.core.errors import InputError
from pisa_kit.perception.background import Background, camera_drift, dot, masked_background, median_background

SIZE_RANGE = (0.3, 2.0)  # plausible area from one frame to the next, as a ratio
CUT_PENALTY = 0.15  # by how much better a component cut down to the object's colours must fit than a whole one
MIXED_COSINE = 0.8  # of the angle between a pixel's change and the way from background to object
COLOUR_WEIGHT = 0.5  # what a component without any of the object's colours costs
GROWN_TOLERANCES = ((32, 96), (32, 48), (16, 24))  # grey levels of chroma and brightness within one colour


@dataclass(frozen=True)
class Track:
    """One object through a clip.

    Args:
        masks: (T, H, W) bool.
        lost: (T,) bool, frames in which it was not found; their mask is empty.
    """

    masks: np.ndarray
    lost: np.ndarray


def track_background(frames: np.ndarray, start: np.ndarray | tuple[float, float]) -> Track:
    """Follows the object that `start` shows in frame 0, by background difference.

    Args:
        frames: (T, H, W, 3) uint8. The camera stands still or drifts slowly.
        start: the object's mask in frame 0, (H, W) bool, or a point (x, y) on it in pixels.

    Raises:
        InputError: frames or start of the wrong kind, or there is no object at the point.
    """
    Clip(frames, 1.0, name="track_background")  # refuses frames of another kind
    start = np.asarray(start)
    if start.shape == (2,):
        check_point(start, frames, "track_background", "start")
        return _track_point(frames, (int(start[1]), int(start[0])))
    check_start(start, frames, "track_background")
    return _track_mask(frames, start, camera_drift(frames, start))


def check_start(start: np.ndarray, frames: np.ndarray, file) -> None:
    """InputError unless `start` is the mask of an object in frame 0."""
    if start.shape != frames.shape[1:3] or start.dtype != bool or not start.any():
        problem = f"has shape {start.shape}, dtype {start.dtype} and {np.count_nonzero(start)} pixels"
        raise InputError(file, "start", problem, "Give a non-empty (H, W) bool mask, or, to find one, a point (x, y).")


def check_point(point, frames: np.ndarray, file, field: str = "point") -> None:
    """InputError unless `point` (x, y) lies in the frames (T, H, W, 3)."""
    height, width = frames.shape[1:3]
    if len(point) != 2 or not (0 <= point[0] < width and 0 <= point[1] < height):
        problem = f"is {tuple(map(float, point))}, outside the {width}x{height} frame"
        raise InputError(file, field, problem, "Give a pixel (x, y) of the object in the first frame, rotated and cut.")


def _track_point(frames: np.ndarray, pixel: tuple[int, int]) -> Track:
    """Of the readings of a click, the track that the later frames confirm best."""
    grown = _grow_colour(frames[0], pixel)
    drift, readings = camera_drift(frames, grown), [grown]
    changing, _ = median_background(frames, drift).foreground(frames[0], (0, 0))
    if changing[pixel]:
        changing = _fill(_component(changing, pixel))
        readings = [changing, _component(changing & grown, pixel)]
    readings = [mask for mask in readings if 4 <= mask.sum() <= mask.size / 4]
    if not readings:
        problem = f"shows no object at {pixel[::-1]}: nothing moves there, and the colour there fills the picture"
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
    """(H, W) bool: the connected region around `pixel` of one colour, bounded by the strongest edges."""
    image = frame.astype(np.float32)
    row, column = pixel
    seed = np.median(image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].reshape(-1, 3), axis=0)
    brightness = image.mean(-1) - seed.mean()
    chroma = np.abs(image - seed - brightness[..., None]).max(-1)
    edges = np.hypot(*np.gradient(image.mean(-1))) + np.hypot(*np.gradient(chroma))
    best, best_edge = np.zeros(chroma.shape, bool), -1.0
    for chroma_tolerance, brightness_tolerance in GROWN_TOLERANCES:
        alike = (chroma <= chroma_tolerance) & (np.abs(brightness) <= brightness_tolerance)
        alike[pixel] = True
        region = ndimage.binary_fill_holes(_component(alike, pixel))
        edge = float(edges[region & ~ndimage.binary_erosion(region)].mean())
        if 4 <= region.sum() <= region.size / 4 and edge > best_edge:
            best, best_edge = region, edge
    return best


def _component(mask: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """The connected part of a mask that holds `pixel`; empty if the mask does not."""
    labels, _ = ndimage.label(mask)
    return (labels == labels[pixel]) & mask


def _fill(mask: np.ndarray) -> np.ndarray:
    """The mask with its gaps of a pixel or two closed and its holes filled."""
    closed = ndimage.binary_closing(np.pad(mask, 1))[1:-1, 1:-1] | mask
    return ndimage.binary_fill_holes(closed)


def _track_mask(frames: np.ndarray, start: np.ndarray, drift: np.ndarray) -> Track:
    """Follows from a frame-0 mask: per frame the plausible component, or lost."""
    background = masked_background(frames, drift, start)
    masks = np.zeros(frames.shape[:3], bool)
    masks[0] = start
    follower = _Follower(frames[0], start)
    for index in range(1, len(frames)):
        window = follower.window()
        masks[index][window] = follower.follow(frames[index], background, drift[index], window)
    return Track(masks, ~masks.any(axis=(1, 2)))


def _palette(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(16, 16, 16) bool: the colours, 16 levels per channel, that are more frequent in the object than around it."""
    size = int(np.sqrt(mask.sum())) + 1
    row, column = (part.start for part in ndimage.find_objects(mask.astype(int))[0])
    near = np.s_[max(row - size, 0) : row + 3 * size, max(column - size, 0) : column + 3 * size]
    inside = ndimage.binary_erosion(mask) if mask.sum() > 50 else mask
    outside = ~ndimage.binary_dilation(mask[near], iterations=2)
    shares = []
    for pixels in (frame[inside], frame[near][outside]):
        counts, _ = np.histogramdd(pixels, 16, [(0, 256)] * 3)
        shares.append(ndimage.uniform_filter(counts / max(len(pixels), 1), 3, mode="constant"))
    return shares[0] > np.maximum(shares[1], 1e-4)


class _Follower:
    """Position, velocity, area and colours of the object so far, and which component continues them."""

    def __init__(self, frame: np.ndarray, mask: np.ndarray):
        self.shape = mask.shape
        self.position = np.array(ndimage.center_of_mass(mask))
        self.velocity = np.zeros(2)
        self.area = float(mask.sum())
        self.frames_lost = 0
        self.palette = _palette(frame, mask)
        self.color = frame[mask].mean(0, dtype=np.float32)

    @property
    def predicted(self) -> np.ndarray:
        """(row, column) where the object should be in the next frame."""
        return self.position + self.velocity * (1 + self.frames_lost)

    @property
    def reach(self) -> float:
        """Pixels by which the prediction may be off."""
        return float(np.sqrt(self.area) * (1 + 0.5 * self.frames_lost) + 1.2 * np.linalg.norm(self.velocity))

    def window(self) -> tuple[slice, slice]:
        """The part of the picture in which the object can be."""
        margin = self.reach + 3 * np.sqrt(self.area) + 4
        low = np.clip(self.predicted - margin, 0, np.array(self.shape) - 1).astype(int)
        high = np.clip(self.predicted + margin + 1, low + 1, self.shape).astype(int)
        return slice(low[0], high[0]), slice(low[1], high[1])

    def follow(self, frame: np.ndarray, background: Background, offset, window) -> np.ndarray:
        """(h, w) bool: the object in the `window` of a new frame, or nothing; remembers it for the next one.

        What the difference shows is tried as it is and, for an object that touches something else that moves,
        cut down to the colours of the object.
        """
        image, corner = frame[window], np.array([part.start for part in window])
        foreground, plate = background.foreground(frame, offset, window)
        coloured = self.palette[tuple(np.moveaxis(image >> 4, -1, 0))]
        change, towards = image - plate, self.color - plate  # a blurred object lies between background and its colour
        mixed = dot(change, towards) > MIXED_COSINE * np.sqrt(dot(change, change) * dot(towards, towards))
        cost, found = self._choose(foreground, coloured, mixed, corner)
        cut_cost, cut = self._choose(foreground & coloured, coloured, mixed, corner)
        if cut_cost + CUT_PENALTY < cost:
            cost, found = cut_cost, ndimage.binary_dilation(cut) & foreground
        if not np.isfinite(cost):
            self.frames_lost += 1
            return np.zeros_like(foreground)
        found = _fill(found)
        position = np.array(ndimage.center_of_mass(found)) + corner
        self.velocity = (position - self.position) / (1 + self.frames_lost)
        self.position, self.frames_lost = position, 0
        self.area = 0.7 * self.area + 0.3 * float(found.sum())
        return found

    def _choose(self, foreground, coloured, mixed, corner) -> tuple[float, np.ndarray]:
        """Cost and mask of the component that best has place, size and colours; infinite if none is plausible.

        It must show the object's colours or be mostly a mixture of its mean colour and the background; after the
        object was lost, half of it must have the object's colours.
        """
        labels, count = ndimage.label(foreground, np.ones((3, 3)))
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        sized = 1 + np.flatnonzero((areas >= SIZE_RANGE[0] * self.area) & (areas <= SIZE_RANGE[1] * self.area))
        if not len(sized):
            return np.inf, foreground
        ratio = areas[sized - 1] / self.area
        share, blurred = (ndimage.mean(pixels, labels, sized) for pixels in (coloured, mixed))
        centers = np.array(ndimage.center_of_mass(foreground, labels, sized)) + corner
        distance = np.linalg.norm(centers - self.predicted, axis=1)
        cost = distance / self.reach + np.abs(np.log(ratio)) + COLOUR_WEIGHT * (1 - share)
        alike = share >= 0.5 if self.frames_lost else (share >= 0.1) | (blurred >= 0.5)
        plausible = (distance <= self.reach) & alike
        cost = np.where(plausible, cost, np.inf)
        best = int(cost.argmin())
        return float(cost[best]), labels == sized[best]
