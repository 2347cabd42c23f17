"""One picture, many worlds: a small near object and a large far one look the same, so its fall time has a distribution.

(PISA, Section "Distribution modelling".) The camera stands at height c and looks horizontally; an object whose bottom
appears v pixels above the horizon is at the height y(Z) = c + v Z / f if its distance is Z, and lands after
t(Z) = sqrt(2 y / g).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pisa_kit.files import InputError
from pisa_kit.kinematics import FreeFall
from pisa_kit.presets import GRAVITY
from pisa_kit.scenes import Scene

CENTRAL = 0.9  # share of the analytic distribution between the ends that `Alignment.coverage` counts in


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
