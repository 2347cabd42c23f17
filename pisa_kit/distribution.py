"""One picture, many worlds: a small near object and a large far one look the same, so its fall time has a distribution.

(PISA, Section "Distribution modelling".) The camera stands at height c and looks horizontally; an object whose bottom
appears v pixels above the horizon is at the height y(Z) = c + v Z / f if its distance is Z, and lands after
t(Z) = sqrt(2 y / g).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pisa_kit.clips import Camera
from pisa_kit.files import InputError
from pisa_kit.kinematics import FreeFall, fall_time, fit_free_fall, track
from pisa_kit.presets import GRAVITY, Ranges
from pisa_kit.scene_model import build
from pisa_kit.scenes import Scene, sample
from pisa_kit.simulate import run_physics

TRIES = 500  # draws of an ambiguous scene
LEAST_OFFSET = 4.0  # pixels of a 64-pixel picture between object and horizon in a picture worth asking about
CENTRAL = 0.9  # share of the analytic distribution between the ends that `Alignment.coverage` counts in


def between(low: float, high: float) -> stats.rv_continuous:
    """The uniform prior on [low, high] metres."""
    return stats.uniform(low, high - low)


@dataclass(frozen=True)
class Ambiguity:
    """Every world behind one picture.

    Args:
        camera_height: c, metres.
        focal: f, pixels.
        offset: v, pixels of the object's bottom above the horizon (below: negative).
        prior: of the distance Z in metres, a frozen distribution of `scipy.stats`, e.g. `uniform(2.0, 1.5)`.
        gravity: m/s^2.

    Raises:
        InputError: the object would be below the floor somewhere, or at the horizon, where all worlds fall alike.
    """

    camera_height: float
    focal: float
    offset: float
    prior: stats.rv_continuous
    gravity: float = GRAVITY

    def __post_init__(self):
        near, far = self.distances
        if self.offset == 0 or min(self.height(near), self.height(far)) <= 0:
            problem = f"{self.offset:.2f} puts the object at the horizon, or below the floor between {near} and {far} m"
            raise InputError("ambiguity", "offset", problem, "Use another object or another range of distances.")

    @property
    def distances(self) -> tuple[float, float]:
        """The nearest and the farthest world, metres."""
        return tuple(map(float, self.prior.support()))

    @property
    def times(self) -> tuple[float, float]:
        """The shortest and the longest fall, seconds."""
        return tuple(sorted(float(self.fall_time(distance)) for distance in self.distances))

    def height(self, distance):
        """y(Z): of the object's bottom above the floor, metres."""
        return self.camera_height + self.offset * np.asarray(distance) / self.focal

    def fall_time(self, distance):
        """t(Z), seconds."""
        return np.sqrt(2 * self.height(distance) / self.gravity)

    def distance(self, time):
        """Z(t): the world in which the fall takes `time` seconds, metres."""
        return self.focal * (self.gravity * np.asarray(time) ** 2 / 2 - self.camera_height) / self.offset

    def density(self, time):
        """p(t) = p(Z(t)) f g t / |v|, 1/s."""
        time = np.asarray(time)
        return self.prior.pdf(self.distance(time)) * self.focal * self.gravity * time / abs(self.offset)

    def cumulative(self, time):
        """P(fall time <= t)."""
        below = self.prior.cdf(self.distance(time))
        return below if self.offset > 0 else 1 - below

    def quantile(self, share):
        """The time below which `share` of the falls end, seconds."""
        share = np.asarray(share)
        return self.fall_time(self.prior.ppf(share if self.offset > 0 else 1 - share))


@dataclass(frozen=True)
class Alignment:
    """How fall times of many videos from one picture compare with the analytic distribution.

    Args:
        count: times that could be measured.
        ks, p_value: Kolmogorov-Smirnov statistic and the p-value of "they are from this distribution".
        wasserstein: Wasserstein-1 distance, seconds.
        coverage: share of the times within the central 90 % of the analytic distribution (0.9 is right).
        spread: standard deviation of the times over the analytic one (1 is right, 0: always the same answer).
    """

    count: int
    ks: float
    p_value: float
    wasserstein: float
    coverage: float
    spread: float


def alignment(times: np.ndarray, ambiguity: Ambiguity) -> Alignment:
    """Compares measured fall times (N,), seconds, NaN where a video shows no landing, with the analytic distribution.

    Raises:
        InputError: fewer than 8 times could be measured.
    """
    measured = np.sort(np.asarray(times, float)[np.isfinite(times)])
    if len(measured) < 8:
        problem = f"hold {len(measured)} measured fall times of {len(times)} videos"
        raise InputError("alignment", "times", problem, "Generate more videos, or look at why they do not land.")
    test = stats.kstest(measured, ambiguity.cumulative)
    shares = (np.arange(2000) + 0.5) / 2000
    expected = ambiguity.quantile(shares)
    low, high = ambiguity.quantile([(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
    return Alignment(
        len(measured),
        float(test.statistic),
        float(test.pvalue),
        float(stats.wasserstein_distance(measured, expected)),
        float(np.mean((measured >= low) & (measured <= high))),
        float(measured.std() / expected.std()),
    )


def implied_distance(fall: FreeFall, focal: float, gravity: float = GRAVITY) -> float:
    """The distance Z at which this image acceleration is gravity's, f g / a, metres; inf or negative if it is not."""
    return focal * gravity / fall.acceleration if fall.acceleration else float("inf")


def measure(masks: np.ndarray, fps: float, ambiguity: Ambiguity) -> dict[str, float]:
    """One video's fall, without knowing which world it shows.

    Two things in it give the distance away: how fast it accelerates, Z = f g / a, and where it lands: after D pixels
    of fall the object's bottom meets the floor seen at Z = f c / (D - v). In a faithful video they agree.

    Args:
        masks: (T, H, W) bool, the object.
        fps: frames per second.

    Returns:
        `fall_time` (s), `implied_distance` and `landing_distance` (m), `disagreement` (the natural logarithm of the
        first over the second, 0 is right), `residual` (rms misfit of the fall, pixels); NaN where not measurable.
    """
    y = track(masks)[:, 1]
    fall, time = fit_free_fall(y, fps), fall_time(y, fps)
    implied = implied_distance(fall, ambiguity.focal, ambiguity.gravity)
    below = fall.acceleration * time**2 / 2 - ambiguity.offset
    landing = ambiguity.focal * ambiguity.camera_height / below if below else float("inf")
    agree = float(np.log(implied / landing)) if 0 < implied < np.inf and 0 < landing < np.inf else float("nan")
    found = {"fall_time": time, "implied_distance": implied, "landing_distance": landing}
    return found | {"disagreement": agree, "residual": fall.residual}


def lift(masks: np.ndarray, distance: float, camera: Camera) -> np.ndarray:
    """The object's centre in space (T, 3), metres, if it is `distance` metres away throughout."""
    return camera.unproject(track(masks), np.full(len(masks), distance))


def ambiguous_scene(seed: int, ranges: Ranges, prior: stats.rv_continuous, least: float = 0.0) -> Scene:
    """A scene of seen objects that is one of many worlds behind its picture, its distance drawn from `prior`.

    Args:
        seed: any integer >= 0.
        ranges: what the picture is drawn from.
        least: pixels of a 64-pixel picture the object's bottom must be away from the horizon, where all fall alike.

    Raises:
        InputError: no such scene.
    """
    rng = np.random.default_rng([seed, 7])
    for _ in range(TRIES):
        scene = sample(int(rng.integers(2**31)), ranges)
        try:
            clear = abs(ambiguity_of(scene, 64, prior).offset) >= least
        except InputError:
            continue
        if clear:
            world = at_distance(scene, float(prior.rvs(random_state=rng)))
            return replace(world, seed=seed)
    near, far = prior.support()
    problem = f"put no object {least:g} pixels from the horizon and above the floor between {near:g} and {far:g} m"
    raise InputError("ranges", "height, distance", problem, "Use a narrower prior, or a smaller distance in pixels.")


def simulated_fall_times(scene: Scene, prior: stats.rv_continuous, count: int, seed: int = 0) -> np.ndarray:
    """First contacts (count,), seconds, of drops in worlds behind the scene's picture; nothing is drawn."""
    fps, times = 16, []
    frames = int(1.2 * ambiguity_of(scene, 64, prior).times[1] * fps) + 2
    for distance in prior.rvs(count, random_state=seed):
        world = at_distance(scene, float(distance))
        times.append(run_physics(build(world, 16), world, frames, fps)["contacts"][0])
    return np.array(times)


def ambiguity_of(scene: Scene, size: int, prior: stats.rv_continuous) -> Ambiguity:
    """The ambiguity of a scene's picture of size x size pixels."""
    camera = scene.camera(size)
    offset = (scene.height - scene.camera_height) * camera.focal / scene.distance
    return Ambiguity(scene.camera_height, camera.focal, float(offset), prior, scene.gravity)


def at_distance(scene: Scene, distance: float) -> Scene:
    """The world behind the same picture in which the object is `distance` metres away: everything about it scaled.

    The object is alone and casts no shadow, because both would give its distance away; the light stays where it is.
    """
    share = distance / scene.distance
    eye = np.array([0.0, 0.0, scene.camera_height])
    moved = tuple(map(float, eye + share * (np.array(scene.dropped.position) - eye)))
    scaled = replace(scene.dropped, size=scene.dropped.size * share, position=moved)
    lit = scene.distance if scene.lit is None else scene.lit
    return replace(scene, things=(scaled,), shadows=False, lit=lit)
