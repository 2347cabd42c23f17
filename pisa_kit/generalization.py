"""Gravity or only the training range? Maps over distance and height, two objects released together, slopes.

(PISA, Section "Generalization"; the two-object test is arXiv 2512.02016's.)
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pisa_kit.clips import Clip
from pisa_kit.evaluate import RESAMPLES, Report, bootstrap, evaluate
from pisa_kit.files import InputError
from pisa_kit.kinematics import fall_time, track
from pisa_kit.presets import Ranges
from pisa_kit.scenes import Scene, sample

TRIES = 200  # draws of two objects that are both in view and apart
RATIOS = (1.3, 3.0)  # of the two heights of `release_two`, low and high


@dataclass(frozen=True)
class Cell:
    """One cell of the map: edges in metres, and whether it lies in the training range."""

    distance: tuple[float, float]
    height: tuple[float, float]
    inside: bool


def cells(distances: tuple[float, ...], heights: tuple[float, ...], ranges: Ranges) -> list[Cell]:
    """The cells between edges (metres) in which a drop is wholly in view, near to far and low to high.

    A cell counts if a drop from its centre, of an object of middle size, is in view; the others have no clips.

    Args:
        ranges: of the training; a cell is inside if it lies in its distances and heights.
    """
    centre = sample(0, replace(ranges, others=(0, 0)))
    centre = centre.with_drop(size=sum(ranges.size) / 2, position=(0.0, *centre.dropped.position[1:]))
    found = []
    for near, far in zip(distances, distances[1:], strict=False):
        for low, high in zip(heights, heights[1:], strict=False):
            inside = ranges.distance[0] <= near < far <= ranges.distance[1]
            inside &= ranges.height[0] <= low < high <= ranges.height[1]
            if centre.with_drop(distance=(near + far) / 2, height=(low + high) / 2).in_view():
                found.append(Cell((near, far), (low, high), bool(inside)))
    return found


def scenes_in(cell: Cell, ranges: Ranges, seeds: range) -> list[Scene]:
    """Scenes of seen objects whose distance and height lie in the cell."""
    inside = replace(ranges, distance=cell.distance, height=cell.height)
    return [sample(seed, inside) for seed in seeds]


def place(truth: Clip) -> dict[str, float]:
    """`distance`, `height` and `size` (metres) of a simulated clip's dropped object."""
    scene = Scene.from_dict(truth.info["scene"], truth.name)
    return {"distance": scene.distance, "height": scene.height, "size": scene.dropped.size}


def up_to_contact(truths: list[Clip], films: list[Clip]) -> Report:
    """`evaluate.evaluate`'s report on the frames before the object touches anything in the truth: fall without bounce.

    Args:
        truths: simulated clips; one without contact counts whole.
        films: with masks, in the same order, at the same frame rate.
    """
    ends = [int(truth.contacts[0] * truth.fps) + 1 if len(truth.contacts) else len(truth) for truth in truths]
    short = [
        [clip.select(np.arange(max(end, 2)), clip.fps) for clip, end in zip(clips, ends, strict=True)]
        for clips in (truths, films)
    ]
    return evaluate(*short)


# --- two objects -----------------------------------------------------------------------------------------------


def release_two(seed: int, ranges: Ranges, same_height: bool = False) -> Scene:
    """A scene in which two objects of different colours fall together, side by side at the same distance.

    Args:
        seed: any integer >= 0.
        ranges: distance, height and size are drawn from these.
        same_height: equal heights and sizes a quarter apart or more, instead of heights in the ratio `RATIOS`.

    Raises:
        InputError: no such scene is in view.
    """
    rng = np.random.default_rng([seed, 6])
    alone = replace(ranges, others=(0, 0))
    for _ in range(TRIES):
        scene, other = (sample(int(rng.integers(2**31)), alone) for _ in range(2))
        aside = float(rng.uniform(0.12, 0.2)) * scene.distance * rng.choice([-1, 1])
        size = other.dropped.size
        height = scene.height if same_height else float(rng.uniform(*ranges.height))
        first = scene.with_drop(position=(float(aside), *scene.dropped.position[1:]))
        second = other.with_drop(position=(float(-aside), *other.dropped.position[1:]))
        second = second.with_drop(distance=scene.distance, height=height)
        both = replace(first, things=(second.dropped, first.dropped), seed=int(seed))
        ratio = max(height, scene.height) / min(height, scene.height)
        sizes = max(size, scene.dropped.size) / min(size, scene.dropped.size)
        wanted = sizes >= 1.25 if same_height else RATIOS[0] <= ratio <= RATIOS[1]
        low, high = (thing.bounds for thing in sorted(both.things, key=lambda thing: thing.position[0]))
        apart = low[1][0] + 0.05 < high[0][0] and both.things[0].colour != both.things[1].colour
        if wanted and apart and all(both.in_view(thing) for thing in both.things):
            return both
    raise InputError("ranges", "distance, height", "put no two drops in view", "Lower the height, raise the distance.")


def focus(truth: Clip, index: int) -> Clip:
    """The clip of several falling objects with object `index` as the dropped one, its contact at sqrt(2 h / g)."""
    scene = Scene.from_dict(truth.info["scene"], truth.name)
    order = [other for other in range(len(scene.things)) if other != index] + [index]
    turned = replace(scene, things=tuple(scene.things[other] for other in order))
    return replace(
        truth,
        masks=truth.masks[:, order],
        poses=truth.poses[:, order],
        velocities=truth.velocities[:, order],
        contacts=np.array([np.sqrt(2 * turned.height / turned.gravity)]),
        info=truth.info | {"scene": turned.to_dict()},
    )


def ratio_of_heights(truths: list[Clip], tracked: list[list[Clip]]) -> pd.DataFrame:
    """The two-object test: (t1 / t2)^2 over h1 / h2, which is 1 under any constant gravity, scale and frame rate.

    Object 1 is the higher one, of equally high ones the larger: in any order, a model in which all things take the same
    time would be as often too high as too low. Fall times are seen in the videos, without knowing where the floor is:
    what falls on through it has none.

    Args:
        truths: simulated clips of two falling objects.
        tracked: for object 0 and 1, the films with that object's mask, in the order of `truths`.

    Returns:
        A row per clip: `name`, `height_ratio`, `time_ratio` (t1 / t2)^2 and `ratio`; NaN where one of the two never
        lands or is lost.
    """
    rows = []
    for number, truth in enumerate(truths):
        things = Scene.from_dict(truth.info["scene"], truth.name).things
        order = sorted((0, 1), key=lambda one: (-round(things[one].bounds[0][2], 3), -things[one].size))
        heights = [float(things[one].bounds[0][2]) for one in order]
        times = [fall_time(track(tracked[one][number].dropped)[:, 1], truth.fps) for one in order]
        row = {"height_ratio": heights[0] / heights[1], "time_ratio": (times[0] / times[1]) ** 2}
        rows.append({"name": truth.name} | row | {"ratio": row["time_ratio"] / row["height_ratio"]})
    return pd.DataFrame(rows)


# --- statistics --------------------------------------------------------------------------------------------------


def slopes(table: pd.DataFrame, of: str, by: tuple[str, ...], seed: int = 0) -> pd.DataFrame:
    """How a number changes with others: joint least squares, 95 % percentile bootstrap over clips.

    A model that knows gravity has slope 0 of g_eff on everything. Several slopes of several models are several tests:
    one in twenty intervals misses 0 by chance.

    Args:
        table: one row per clip; rows that lack a value are left out.
        of: the column that is explained.
        by: the columns that explain it.

    Returns:
        A row per column of `by`: `by`, `slope`, `low`, `high`, `n`, and `effect`: the change of `of` between a standard
        deviation below and one above the mean of that column. NaN with fewer clips than twice the number of unknowns.
    """
    values = table[[of, *by]].dropna().to_numpy(float)
    if len(values) < 2 * (len(by) + 1):
        return pd.DataFrame(
            {"by": by, "slope": np.nan, "low": np.nan, "high": np.nan, "n": len(values), "effect": np.nan}
        )
    design = np.column_stack([np.ones(len(values)), values[:, 1:]])
    solve = lambda rows: np.linalg.lstsq(design[rows], values[rows, 0], rcond=None)[0][1:]  # noqa: E731
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile([solve(rows) for rows in draws], [2.5, 97.5], axis=0)
    slope = solve(slice(None))
    found = {"by": by, "slope": slope, "low": low, "high": high, "n": len(values)}
    return pd.DataFrame(found | {"effect": 2 * slope * values[:, 1:].std(0)})


def median_interval(values: np.ndarray) -> dict:
    """`median`, `low`, `high` (95 % percentile bootstrap) and `n` of the values that are finite."""
    found = bootstrap(values[np.isfinite(values)], np.median)
    return {"median": found.pop("value")} | found


def outside_over_inside(outside: np.ndarray, inside: np.ndarray, statistic=np.mean, seed: int = 0) -> dict:
    """`ratio` of the statistics of two groups of clips, `low`, `high` (95 % percentile bootstrap), `n` of all clips."""
    outside, inside = (values[np.isfinite(values)] for values in (outside, inside))
    if not (len(outside) and len(inside)):
        return {"ratio": np.nan, "low": np.nan, "high": np.nan, "n": len(outside) + len(inside)}
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.choice(values, (RESAMPLES, len(values))), axis=1) for values in (outside, inside)]
    low, high = np.percentile(drawn[0] / drawn[1], [2.5, 97.5])
    count = len(outside) + len(inside)
    ratio = float(statistic(outside) / statistic(inside))
    return {"ratio": ratio, "low": float(low), "high": float(high), "n": count}
