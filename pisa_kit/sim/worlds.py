"""The worlds behind one picture: near and low or far and high, the fall time of each, and how the times are spread."""

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pisa_kit.core.errors import InputError
from pisa_kit.sim.mujoco_model import build
from pisa_kit.sim.scenes import Scene, sample
from pisa_kit.sim.settings import GRAVITY, Ranges
from pisa_kit.sim.simulate import run_physics

SMALL = (0.3, 0.5)  # metres: of balls of .6 to .9 m trackers miss many landings (LOG.md)
TRIES = 500  # draws of an ambiguous scene
LEAST_OFFSET = 4.0  # pixels of a 64-pixel picture between object and horizon in a picture worth asking about


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


def ambiguous_scene(seed: int, ranges: Ranges, prior: stats.rv_continuous, least: float = 0.0) -> Scene:
    """A scene of seen objects that is one of many worlds behind its picture, its distance drawn from `prior`.

    Args:
        least: pixels of a 64-pixel picture the object's bottom must be away from the horizon, where all fall alike.

    Raises:
        InputError: no such scene.
    """
    rng, size = np.random.default_rng([seed, 7]), tuple(np.minimum(ranges.size, SMALL).tolist())
    for _ in range(TRIES):
        scene = sample(int(rng.integers(2**31)), replace(ranges, size=size))
        with suppress(InputError):  # of a picture in which nothing could fall
            if abs(ambiguity_of(scene, 64, prior).offset) >= least:
                return replace(at_distance(scene, float(prior.rvs(random_state=rng))), seed=seed)
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
