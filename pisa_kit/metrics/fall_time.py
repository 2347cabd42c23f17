"""When a tracked object lands: contact, fall time, bounce (PISA; arXiv 2512.02016)."""

import numpy as np

from pisa_kit.metrics.l2_chamfer_iou import centroids

LEAST_FRAMES = 4  # of free fall before a contact
LEAST_FALL = 2.5  # pixels; a shorter fall cannot be told from noise without geometry
NOISE = 0.3  # pixels: standard deviation of a tracked centroid that a fall may have around its parabola
SLACK = 0.02  # more of it, as a share of the fall: objects turn, and shadows move with them
MARGIN = 3.0  # squared misfits, in units of NOISE^2, by which a contact must explain a track better than a smooth move
REBOUNDS = (-0.25, -0.1, 0.0, 0.15, 0.3, 0.45, 0.6, 0.75)  # speed after a contact over the speed before


def track(masks: np.ndarray, whole: bool = False) -> np.ndarray:
    """Centroids of masks (T, H, W) as image points (T, 2) in pixels, pixel centres at + 0.5; NaN where empty.

    Args:
        whole: NaN also where the mask touches the lower edge: what leaves the picture seems to slow down there.
    """
    points = centroids(masks) + 0.5
    return np.where(masks[:, -1:].any(2), np.nan, points) if whole else points


def contact_time(y: np.ndarray) -> float | None:
    """When a track that falls from rest at frame 0 is stopped, in frames; None where nothing stops it.

    Three explanations of the frames so far are compared by least squares: free fall until a contact, then a rebound
    (or a body that tips over); a smooth move from one place to another, as of a hand; a cubic. A contact is believed at
    the first frame at which the first one fits within `NOISE` and clearly better than the others. So something that
    falls on through the floor, hovers, or brakes smoothly has none (tests state how often that goes wrong).

    Args:
        y: (T,) image height, pixels, y down; NaN where lost.
    """
    t, seen = np.arange(len(y), dtype=float), np.isfinite(y)
    for end in range(LEAST_FRAMES, len(y) - 1):
        shown = np.flatnonzero(seen[: end + 2])
        if not seen[end : end + 2].all() or len(shown) < LEAST_FRAMES + 2:
            continue
        contacts, falls = _stopped_falls(t[shown], np.arange(end - 1, end + 0.01, 0.125), REBOUNDS)
        misfit, acceleration = _misfits(falls, y[shown])
        best = misfit.argmin()
        fallen = acceleration[best] * contacts[best] ** 2 / 2
        if fallen < LEAST_FALL or misfit[best] > len(shown) * (NOISE + SLACK * fallen) ** 2:
            continue
        moves = _smooth_moves(t[shown], end)
        cubic = np.polynomial.Polynomial.fit(t[shown], y[shown], 3)(t[shown]) - y[shown]
        if misfit[best] + MARGIN * NOISE**2 > min(_misfits(moves, y[shown])[0].min(), cubic @ cubic):
            continue
        shown = np.flatnonzero(seen[: end + 3])
        fine = np.arange(end - 1.25, end + 1.26, 1 / 32)
        contacts, falls = _stopped_falls(t[shown], fine, np.arange(-0.3, 0.81, 0.05))
        return float(contacts[_misfits(falls, y[shown])[0].argmin()])
    return None


def _misfits(shapes: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared misfit (K,) of y (T,) as a constant plus a multiple of each shape (K, T), and the multiples."""
    centred, target = shapes - shapes.mean(1, keepdims=True), y - y.mean()
    size = np.square(centred).sum(1)
    multiple = np.divide(centred @ target, size, out=np.zeros(len(size)), where=size > 1e-9)
    return np.square(target - multiple[:, None] * centred).sum(1), multiple


def _stopped_falls(t: np.ndarray, contacts: np.ndarray, rebounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contact (K,) and path (K, T) of falls with unit acceleration; a rebound below 0 goes on, slower."""
    contact, rebound = (grid.ravel()[:, None] for grid in np.meshgrid(contacts, rebounds))
    after = np.maximum(t - contact, 0)
    up = np.maximum(rebound * contact * after - after**2 / 2, np.minimum(rebound, 0) * contact * after)
    return contact[:, 0], np.minimum(t, contact) ** 2 / 2 - up


def _smooth_moves(t: np.ndarray, end: int) -> np.ndarray:
    """Moves (K, T) by 1 that begin and end gently (3 u^2 - 2 u^3), at all times and of all lengths up to `end`."""
    starts, lengths = np.linspace(-1, 0.7 * end, 12), np.geomspace(3, 2.5 * end, 18)
    start, length = (grid.ravel()[:, None] for grid in np.meshgrid(starts, lengths))
    done = np.clip((t - start) / length, 0, 1)
    return (3 - 2 * done) * done**2


def landing_frame(y: np.ndarray, drop: float | None = None, tolerance: float = 0.5) -> int | None:
    """First frame at or after the first contact; None when the track never lands.

    With `drop`, the first frame in which the object has fallen that far, or (between two frames it may touch and
    rebound) has fallen three quarters of it and slowed down by a quarter. Without, the frame after `contact_time`.

    Args:
        y: (T,) image height of the object, pixels, y down; NaN where lost.
        drop: pixels the object falls before contact, where geometry gives it.
        tolerance: pixels; below it nothing counts as motion or as short of the drop.
    """
    seen = np.flatnonzero(np.isfinite(y))
    if not len(seen):
        return None
    if drop is None:
        contact = contact_time(y)
        return None if contact is None else int(np.ceil(contact - 1e-9))
    fastest = 0.0
    for frame in range(1, len(y)):
        fallen, speed = y[frame] - y[seen[0]], y[frame] - y[frame - 1]
        slowed = fallen >= 0.75 * drop and fastest > tolerance and speed < 0.75 * fastest
        if fallen >= drop - tolerance or slowed:
            return frame
        fastest = np.nanmax([fastest, speed])
    return None


def fall_time(y: np.ndarray, fps: float, drop: float | None = None) -> float:
    """Seconds from frame 0 to the first contact, between frames; NaN without a landing or when lost around it.

    With `drop` the time at which the object has fallen that many pixels, from a parabola through the last four frames
    before contact. Without it, the contact of `contact_time`.
    """
    if drop is None:
        contact = contact_time(y)
        return float("nan") if contact is None else contact / fps
    end = landing_frame(y, drop) or 0
    before = np.arange(max(end - 4, 0), end)
    before = before[np.isfinite(y[before])]
    if len(before) < 3:
        return float("nan")
    start = y[np.isfinite(y)][0]
    roots = np.roots(np.polyfit(before - end, y[before], 2) - np.array([0, 0, start + drop]))
    roots = roots[np.isreal(roots)].real
    roots = roots[(roots >= -1.5) & (roots <= 1)]
    return float((end + roots[np.abs(roots + 0.5).argmin()]) / fps) if len(roots) else float("nan")


def bounce(y: np.ndarray, fps: float, drop: float | None = None) -> float:
    """Rebound height over drop height in the image, in [0, 1]; NaN when the object never lands."""
    end = landing_frame(y, drop)
    touching = slice(end, end + max(int(0.1 * fps), 2)) if end is not None else slice(0)
    if not np.isfinite(y[touching]).any():
        return float("nan")
    lowest = end + int(np.nanargmax(y[touching]))
    fallen = y[lowest] - y[np.isfinite(y)][0]
    return float(np.clip((y[lowest] - np.nanmin(y[lowest:])) / fallen, 0, 1)) if fallen > 0 else float("nan")
