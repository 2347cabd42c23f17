"""From a tracked point to gravity: fits of free fall, with a known and with an unknown camera (arXiv 2512.02016)."""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import least_squares

from pisa_kit.clips.clip import Clip
from pisa_kit.core.errors import InputError
from pisa_kit.metrics.fall_time import bounce, contact_time, fall_time, landing_frame, track
from pisa_kit.sim.settings import GRAVITY

BLOCK = 8  # frames of a filmed fall whose errors are drawn together


@dataclass(frozen=True)
class FreeFall:
    """A fit of `y(t) = start + acceleration t^2 / 2` to an image track (y grows downward, pixels, seconds).

    `frames` counts the frames used, `residual` is the rms misfit in pixels. All NaN when fewer than three frames show
    the object before its first contact.
    """

    start: float
    acceleration: float
    residual: float
    frames: int


def metres_per_pixel(truth: Clip) -> float:
    """What a pixel of the dropped object's way is, metres: Z / f, less what one sees of a near body, its front.

    The outline of a sphere of radius R is centred Z^2 / (Z^2 - R^2) times as far from the axis as its centre; in pixels
    that is 1 + area / (pi f^2), which is used for every shape.
    """
    focal = truth.camera.focal
    return truth.poses[0, -1, 1] / focal / (1 + truth.dropped[0].sum() / (np.pi * focal**2))


def drop_pixels(truth: Clip) -> float:
    """Image distance the dropped object falls before its first contact: g t^2 / 2 in pixels, t its true time.

    This is the truth's knowledge of where the contact is, not something seen in the video.

    Raises:
        InputError: the clip carries no camera, poses or contacts.
    """
    for name in ("camera", "poses", "contacts"):
        if getattr(truth, name) is None:
            raise InputError(truth.name, name, "is unknown", "Use a simulated clip, or give the drop.")
    if len(truth.contacts) == 0:
        return float("nan")
    gravity = truth.info["scene"]["gravity"] if "scene" in truth.info else GRAVITY
    return float(gravity * truth.contacts[0] ** 2 / 2 / metres_per_pixel(truth))


def fit_free_fall(y: np.ndarray, fps: float, drop: float | None = None) -> FreeFall:
    """Fits free fall from rest at frame 0 to the frames before the first contact, by least squares.

    Args:
        y: (T,) image height, pixels, y down; NaN where lost.
        fps: frames per second.
        drop: see `landing_frame`.
    """
    height = y[: landing_frame(y, drop)]
    t = np.arange(len(height)) / fps
    seen = np.isfinite(height)
    if seen.sum() < 3:
        return FreeFall(*[float("nan")] * 3, frames=int(seen.sum()))
    half_square = t[seen] ** 2 / 2
    line = stats.linregress(half_square, height[seen])
    misfit = height[seen] - line.intercept - line.slope * half_square
    residual = float(np.sqrt(np.mean(misfit**2)))
    return FreeFall(float(line.intercept), float(line.slope), residual, int(seen.sum()))


def g_eff(y: np.ndarray, fps: float, scale: float, drop: float | None = None) -> float:
    """Effective gravity in m/s^2: acceleration in the image (`fit_free_fall`) times metres per pixel (2512.02016)."""
    return fit_free_fall(y, fps, drop).acceleration * scale


def describe(masks: np.ndarray, fps: float, truth: Clip) -> dict[str, float]:
    """Physics of one predicted drop: `g_eff` (m/s^2), `fall_time` and `fall_time_error` (s), `bounce` (share).

    Args:
        masks: (T, H, W) bool, the dropped object in the prediction.
        fps: of the prediction.
        truth: the clip it predicts; a simulated one gives the camera, the distance and the drop. Of any other (a real
            clip) `g_eff` is NaN, and the true fall time is measured from its masks.
    """
    if masks.shape[1:] != truth.frames.shape[1:3]:
        problem = f"has {masks.shape[2]}x{masks.shape[1]} px, the truth {truth.frames.shape[2]}x{truth.frames.shape[1]}"
        raise InputError(truth.name, "masks", problem, "Resize the prediction to the truth's size.")
    y = track(masks)[:, 1]
    if truth.camera is None or truth.poses is None or truth.contacts is None:
        true, scale, drop = fall_time(track(truth.dropped)[:, 1], truth.fps), float("nan"), None
    else:
        true, drop = (truth.contacts[0], drop_pixels(truth)) if len(truth.contacts) else (float("nan"), None)
        scale = metres_per_pixel(truth)
    measured = {"g_eff": g_eff(y, fps, scale, drop), "fall_time": fall_time(y, fps, drop)}
    return measured | {"fall_time_error": measured["fall_time"] - true, "bounce": bounce(y, fps, drop)}


def _blocks(values: np.ndarray, fitted: int, rng: np.random.Generator) -> np.ndarray:
    """Residuals (n,) of a fit of so many parameters, drawn anew as stretches of neighbours (circular block bootstrap).

    Stretches of `BLOCK`, but at least eight; residuals are smaller than errors, by the square root of (n - fitted) / n.
    """
    count = len(values)
    block = int(np.clip(count // 8, 1, BLOCK))
    starts = rng.integers(count, size=-(-count // block))
    drawn = values[(starts[:, None] + np.arange(block)).ravel()[:count] % count]
    return drawn * np.sqrt(count / max(count - fitted, 1))


def _first_bounce(y: np.ndarray) -> int | None:
    """First frame after the track's first turn upwards in its lower half; None without one.

    For a release that may come later than frame 0 and a camera in which a fall is no parabola.
    """
    seen = np.flatnonzero(np.isfinite(y))
    half = y[seen[0]] + (np.nanmax(y) - y[seen[0]]) / 2 if len(seen) else np.nan
    for before, turn, after in zip(seen, seen[1:], seen[2:], strict=False):
        if y[turn] >= half and y[after] <= y[turn] and y[turn] > y[before]:
            return int(turn)
    return None


@dataclass(frozen=True)
class ProjectiveFall:
    """A fit of `y = (a + b s) / (1 + c s)`, `s = (t - release)^2 / 2`, for a camera of unknown pose.

    `release` and `landing` in seconds; `gravity` in m/s^2 follows from the known drop, `gravity_interval` is the 95 %
    bootstrap interval (residuals resampled in blocks, because neighbours err alike; drop height drawn within its
    uncertainty).
    """

    a: float
    b: float
    c: float
    release: float
    landing: float
    gravity: float
    gravity_interval: tuple[float, float]
    residual: float

    def height(self, t: np.ndarray) -> np.ndarray:
        """Image height in pixels at times `t` (seconds) of the fall."""
        return _projective((self.a, self.b, self.c, self.release), t)


def _projective(parameters, t):
    a, b, c, release = parameters
    s = np.maximum(t - release, 0) ** 2 / 2
    return (a + b * s) / (1 + c * s)


def _fit_fall(t: np.ndarray, y: np.ndarray, tilted: bool = True) -> np.ndarray:
    """(a, b, c, release) of `_projective` through the heights y at times t; c is 0 for a level camera."""
    start = (y[0], 2 * (y[-1] - y[0]) / (t[-1] - t[0]) ** 2, t[0], 0.0)[: 4 if tilted else 3]
    all_four = lambda p: (p[0], p[1], p[3] if tilted else 0.0, p[2])  # noqa: E731
    misses = lambda p: _projective(all_four(p), t) - y  # noqa: E731
    return np.array(
        all_four(least_squares(misses, start, x_scale=(100, 1000, 0.1, 0.1)[: len(start)], loss="soft_l1").x)
    )


def fit_projective(
    y: np.ndarray, fps: float, drop: float, drop_error: float = 0.0, draws: int = 200, seed: int = 0
) -> ProjectiveFall:
    """Measures gravity from a filmed fall of known height with an unknown, tilted camera.

    A straight line in space maps to the image by a projective function, so the image height of a falling point is a
    ratio of two linear functions of s = g t^2 / 2. The fit (robust: soft L1) finds the release time; the landing is
    where the fall meets the track after the bounce; g = 2 drop / (landing - release)^2.

    Args:
        y: (T,) image height, pixels, y down, NaN where lost; the track holds the release and the first bounce.
        fps: true recording rate, frames per second.
        drop: real height of the fall, metres; `drop_error` its standard uncertainty, metres.
        draws: bootstrap repetitions.

    Raises:
        InputError: the track has no landing, or fewer than 8 frames of fall.
    """
    t = np.arange(len(y)) / fps
    end = _first_bounce(y)
    seen = np.flatnonzero(np.isfinite(y[:end]))
    rebound = np.arange(len(y))[slice(end, None if end is None else end + 6)]
    rebound = rebound[np.isfinite(y[rebound])]
    if end is None or len(seen) < 8 or len(rebound) < 4:
        remedy = "Include the release and 4 frames of bounce."
        raise InputError("track", "y", "shows no whole fall with a bounce", remedy)

    def measure(heights):
        fit = _fit_fall(t[seen], heights[seen])
        up = np.polyfit(t[rebound], heights[rebound], 2)
        grid = np.linspace(t[end - 2], t[end + 1], 600)
        landing = grid[np.abs(_projective(fit, grid) - np.polyval(up, grid)).argmin()]
        return fit, landing, np.polyval(up, t[rebound])

    fit, landing, up = measure(y)
    misfit = y[seen] - _projective(fit, t[seen])
    rng, gravities = np.random.default_rng(seed), []
    for _ in range(draws):
        noisy = y.copy()
        noisy[seen] = _projective(fit, t[seen]) + _blocks(misfit, 4, rng)
        noisy[rebound] = up + _blocks(misfit, 4, rng)[: len(rebound)]
        drawn, touched, _ = measure(noisy)
        gravities.append(2 * (drop + drop_error * rng.standard_normal()) / (touched - drawn[3]) ** 2)
    low, high = np.percentile(gravities, [2.5, 97.5])
    gravity = 2 * drop / (landing - fit[3]) ** 2
    residual = float(np.sqrt(np.mean(misfit**2)))
    return ProjectiveFall(*map(float, fit), float(landing), float(gravity), (float(low), float(high)), residual)


# --- a scale in the picture ------------------------------------------------------------------------------------

MARK = 1.0  # pixels: standard uncertainty of a click
CONTACT_FPS = 30  # about; at a high rate the first frames of a fall are too still to tell it from a landing


@dataclass(frozen=True)
class ScaledFall:
    """Free fall measured with two points of known distance in the picture.

    `y = (a + b s) / (1 + c s)`, `s = (t - release)^2 / 2`; `gravity` in m/s^2 with its 95 % bootstrap interval, which
    holds the scatter of the track and of the two clicks (tests/gravity_coverage.py: it held the truth in 92 % of 300
    simulated falls); `residual` in pixels, `frames` that were used.
    """

    a: float
    b: float
    c: float
    release: float
    gravity: float
    gravity_interval: tuple[float, float]
    residual: float
    frames: int

    def height(self, t: np.ndarray) -> np.ndarray:
        """Image height in pixels at times `t` (seconds)."""
        return _projective((self.a, self.b, self.c, self.release), t)


def fit_scaled(
    y: np.ndarray, fps: float, ends: np.ndarray, metres: float, tilted=False, draws: int = 200, seed: int = 0
) -> ScaledFall:
    """Measures gravity from a filmed fall and a scale in its plane; no bounce is needed.

    The fit finds the moment of release itself, so that a release frame that is a little wrong does not matter, and ends
    before the contact.

    Args:
        y: (T,) image height, pixels, y down, NaN where lost; frame 0 is about the release.
        fps: true recording rate, frames per second.
        ends: (2, 2) x, y of the scale's ends, pixels; `metres` apart.
        tilted: the camera looks up or down, so that the scale changes along the fall: one number more to fit, and the
            scale must run along the fall.
        draws: bootstrap repetitions.

    Raises:
        InputError: fewer than 6 frames of fall, or a scale that says nothing.
    """
    ends, rng = np.asarray(ends, float), np.random.default_rng(seed)
    if metres <= 0 or np.abs(ends[1] - ends[0])[1 if tilted else slice(None)].max() < 4:
        remedy = "Click two points farther apart" + (", above each other." if tilted else ".") + " Give metres > 0."
        raise InputError("scale", "ends", "are less than 4 pixels apart, or metres are no length", remedy)
    step = max(1, round(fps / CONTACT_FPS))
    contact, speed = contact_time(y[::step]), np.diff(y[::step])
    if contact is None:  # it lands without a bounce that can be seen, or not at all: until it is fastest
        contact = 1.25 + (np.nanargmax(speed) if np.isfinite(speed).any() else 0)
    end = int((contact - 0.25) * step)
    seen = np.flatnonzero(np.isfinite(y[:end]))
    if len(seen) < 6 or y[seen[-1]] - y[seen[0]] < 4:
        problem = f"shows {len(seen)} frames of fall"
        raise InputError("track", "y", problem, "Give 6 frames between release and contact, y growing downwards.")
    t = seen / fps

    def measure(heights, ends):
        a, b, c, release = fit = _fit_fall(t, heights, tilted)
        fallen = (
            [(row - a) / (b - c * row) for row in ends[:, 1]] if tilted else (0, np.hypot(*(ends[1] - ends[0])) / b)
        )
        return fit, metres / abs(fallen[1] - fallen[0])

    fit, gravity = measure(y[seen], ends)
    fitted = _projective(fit, t)
    misfit, drawn = y[seen] - fitted, []
    for _ in range(draws):
        noisy = fitted + _blocks(misfit, 3 + tilted, rng)
        drawn.append(measure(noisy, ends + MARK * rng.standard_normal((2, 2)))[1])
    low, high = np.percentile(drawn, [2.5, 97.5])
    residual = float(np.sqrt(np.mean(misfit**2)))
    return ScaledFall(*map(float, fit), float(gravity), (float(low), float(high)), residual, len(seen))
