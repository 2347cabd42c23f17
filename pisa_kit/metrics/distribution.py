"""One ambiguous picture: are its videos possible falls, and as often as they should? (PISA, distribution modelling.)"""

import warnings
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats

from pisa_kit.clips.clip import Camera
from pisa_kit.core.errors import InputError
from pisa_kit.metrics.fall_time import fall_time, track
from pisa_kit.metrics.gravity import FreeFall, fit_free_fall
from pisa_kit.metrics.verdicts import ask
from pisa_kit.sim.settings import GRAVITY
from pisa_kit.sim.worlds import Ambiguity

CENTRAL = 0.9  # share of the analytic distribution between the ends that `Alignment.coverage` counts in


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
        level: below which a p-value rejects.

    Returns:
        Share of rejections of "honest" (the right distribution), "20 cm short" and "20 cm near" (the farthest world, or
        all, 20 cm nearer) and "one answer" (the mean fall time every time).
    """
    near, far = ambiguity.distances
    rng, errors = np.random.default_rng(seed), errors[np.isfinite(errors)]
    shapes = {"honest": (near, far), "20 cm short": (near, far - 0.2), "20 cm near": (near - 0.2, far - 0.2)}

    def drawn(prior, count: int) -> np.ndarray:
        distances = rng.uniform(*prior, count) if prior else np.full(count, (near + far) / 2)
        return ambiguity.fall_time(distances) + rng.choice(errors, count)

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
    y = track(masks, whole=True)[:, 1]
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
        sizes = found["disagreement"].abs().groupby(found["picture"])
        row = {"method": method, "seed": seed, "landed": found["fall_time"].notna().mean()}
        row["measurable"] = float(sizes.agg(lambda size: size.notna().mean()).min())
        row["disagreement"] = float(sizes.median().max(skipna=False))
        times = dict(list(found.groupby("picture")["fall_time"]))
        row |= dict.fromkeys(("p_value", "wasserstein", "spread"), np.nan)
        if all(each.notna().sum() >= 8 for each in times.values()):
            compared = pd.DataFrame(asdict(alignment(each, worlds[number])) for number, each in times.items())
            row |= {"p_value": compared["p_value"].min(), **compared[["wasserstein", "spread"]].mean()}
        row["possible"] = row["measurable"] >= ENOUGH and row["disagreement"] <= APART
        row["aligned"] = row["landed"] >= ENOUGH and row["p_value"] > level / len(times)
        rows.append(row)
    table = pd.DataFrame(rows)
    keys = [f"{row.method} {row.seed}" for row in table.itertuples()]
    ceilings = tuple(f"{name} {seed}" for name in CEILINGS for seed in table.loc[table["method"] == name, "seed"])
    words = {
        "possible": ("disagreement", lambda size: f"distances a factor of {np.exp(size):.2f} apart"),
        "aligned": ("p_value", "p = {:.2g}".format),
    }
    for test, (column, say) in words.items():
        said = dict(zip(keys, map(say, table[column]), strict=True))
        table[test] = list(ask(dict(zip(keys, table[test], strict=True)), said, ceilings).values())
    return table
