"""One picture, many worlds: a small near object and a large far one look the same, so its fall time has a distribution.

(PISA, Section "Distribution modelling".) The camera stands at height c and looks horizontally; an object whose bottom
appears v pixels above the horizon is at the height y(Z) = c + v Z / f if its distance is Z, and lands after
t(Z) = sqrt(2 y / g).
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from pisa_kit.clips import Camera
from pisa_kit.files import InputError
from pisa_kit.kinematics import FreeFall, fall_time, fit_free_fall, track
from pisa_kit.presets import GRAVITY, Ranges
from pisa_kit.scene_model import build
from pisa_kit.scenes import Scene, sample
from pisa_kit.simulate import run_physics
from pisa_kit.verdicts import ask

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
    """How fall times of many videos from one picture compare with those of its worlds, drawn and measured likewise.

    Args:
        count: times that could be measured.
        p_value: of "both are from the same distribution", Anderson-Darling for two samples (Scholz and Stephens 1987),
            which sees the ends of a distribution better than Kolmogorov-Smirnov; limited to [0.001, 0.25].
        wasserstein: Wasserstein-1 distance, seconds.
        coverage: share of the times within the central 90 % of the worlds' (0.9 is right).
        spread: standard deviation of the times over the worlds' (1 is right, 0: always the same answer).
    """

    count: int
    p_value: float
    wasserstein: float
    coverage: float
    spread: float


def alignment(times: np.ndarray, worlds: np.ndarray) -> Alignment:
    """Compares fall times with those of independently drawn worlds, both in seconds, NaN where nothing lands.

    Raises:
        InputError: fewer than 8 of one of the two could be measured.
    """
    measured, expected = (np.sort(each[np.isfinite(each)]) for each in (np.asarray(times), np.asarray(worlds)))
    for name, found, asked in (("times", measured, times), ("worlds", expected, worlds)):
        if len(found) < 8:
            problem = f"hold {len(found)} measured fall times of {len(asked)} videos"
            raise InputError("alignment", name, problem, "Generate more videos, or look at why they do not land.")
    low, high = np.quantile(expected, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
    return Alignment(
        len(measured),
        two_sample_p(measured, expected),
        float(stats.wasserstein_distance(measured, expected)),
        float(np.mean((measured >= low) & (measured <= high))),
        float(measured.std() / expected.std()),
    )


def two_sample_p(one: np.ndarray, other: np.ndarray) -> float:
    """p-value of the two-sample Anderson-Darling test, limited to [0.001, 0.25]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns that the p-value is limited
        return float(stats.anderson_ksamp([one, other]).pvalue)


def rejections(
    ambiguity: Ambiguity, errors: np.ndarray, counts: tuple[int, int], repetitions: int, level: float, seed: int = 0
) -> dict[str, float]:
    """How often the alignment test rejects models of which the answer is known, by simulation.

    Args:
        ambiguity: of the picture.
        errors: (N,) measured minus true fall times, seconds, which are drawn from.
        counts: videos of a model, and worlds that they are compared with.
        repetitions: of each experiment.
        level: below which a p-value rejects.

    Returns:
        Share of rejections of "honest" (the right distribution), "20 cm short" and "20 cm near" (the farthest world, or
        all, 20 cm nearer) and "one answer" (the mean fall time every time).
    """
    near, far = ambiguity.distances
    rng, errors = np.random.default_rng(seed), errors[np.isfinite(errors)]
    shapes = {"honest": (near, far), "20 cm short": (near, far - 0.2), "20 cm near": (near - 0.2, far - 0.2)}

    def drawn(prior, count: int) -> np.ndarray:
        times = np.full(count, ambiguity.fall_time((near + far) / 2))
        if prior:
            times = ambiguity.fall_time(rng.uniform(*prior, count))
        return times + rng.choice(errors, count)

    def share(prior) -> float:
        found = [two_sample_p(drawn(prior, counts[0]), drawn((near, far), counts[1])) for _ in range(repetitions)]
        return float(np.mean(np.array(found) < level))

    return {name: share(prior) for name, prior in (shapes | {"one answer": None}).items()}


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


# --- verdicts --------------------------------------------------------------------------------------------------

ENOUGH = 0.8  # share of videos in which something must be measurable before it says anything
APART = 0.15  # by which the two distances of a possible fall may disagree
CEILINGS = ("ideal", "codec")  # of both tests


def checks(falls: pd.DataFrame, worlds: dict[int, np.ndarray], level: float = 0.05) -> pd.DataFrame:
    """Two tests of every method and training, each asked only if the ceilings pass it (`verdicts.ask`).

    *possible*: in `ENOUGH` of the videos of each picture both distances can be measured, and they disagree by at most
    `APART` (median). *as often as they should*: `ENOUGH` of the videos land, and no picture's fall times are told from
    those of its worlds (`two_sample_p`, `level` divided by the number of pictures).

    Args:
        falls: a row per video: "method", "seed", "picture", "fall_time", "disagreement" (of `measure`).
        worlds: picture to fall times of independently drawn worlds.

    Returns:
        A row per method and training: "method", "seed", "landed", "measurable", "disagreement" (median of its size),
        "p_value" (smallest), "wasserstein", "spread", and the verdicts "possible" and "aligned".
    """
    rows = []
    for (method, seed), found in falls.groupby(["method", "seed"], sort=False):
        pictures = [
            (rows["disagreement"].abs(), rows["fall_time"], worlds[number]) for number, rows in found.groupby("picture")
        ]
        landed = found["fall_time"].notna().mean()
        compared = [alignment(times, known) for _, times, known in pictures if times.notna().sum() >= 8]
        row = {"method": method, "seed": seed, "landed": landed}
        row["measurable"] = min(float(size.notna().mean()) for size, *_ in pictures)
        row["disagreement"] = max(float(size.median()) for size, *_ in pictures)
        whole = len(compared) == len(pictures)
        row["p_value"] = min(one.p_value for one in compared) if whole else np.nan
        row["wasserstein"] = float(np.mean([one.wasserstein for one in compared])) if whole else np.nan
        row["spread"] = float(np.mean([one.spread for one in compared])) if whole else np.nan
        row["possible"] = row["measurable"] >= ENOUGH and row["disagreement"] <= APART
        row["aligned"] = landed >= ENOUGH and row["p_value"] > level / len(pictures)
        rows.append(row)
    table = pd.DataFrame(rows)
    keys = [f"{row.method} {row.seed}" for row in table.itertuples()]
    ceilings = tuple(f"{name} {seed}" for name in CEILINGS for seed in table.loc[table["method"] == name, "seed"])
    said = {
        "possible": [f"distances {row.disagreement:.0%} apart" for row in table.itertuples()],
        "aligned": [f"p = {row.p_value:.2g}" for row in table.itertuples()],
    }
    for test, words in said.items():
        passed = dict(zip(keys, table[test], strict=True))
        verdicts = ask(passed, dict(zip(keys, words, strict=True)), ceilings)
        table[test] = [verdicts[key] for key in keys]
    return table
