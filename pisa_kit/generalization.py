"""Gravity or only the training range? Maps over distance and height, two objects released together, slopes.

(PISA, Section "Generalization"; the two-object test is arXiv 2512.02016's.)
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pisa_kit.clips import Clip
from pisa_kit.files import InputError
from pisa_kit.kinematics import fall_time, track
from pisa_kit.presets import GRAVITY, Ranges
from pisa_kit.scenes import Scene, sample
from pisa_kit.verdicts import ask

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


# --- verdicts --------------------------------------------------------------------------------------------------

WITHIN = 0.1  # share of g by which the median of g_eff may be off, and by which g_eff may change over the map
OUTSIDE = 1.5  # times the relative error inside
RATIO = 0.03  # by which two objects' ratio may miss 1
CEILINGS = ("ideal", "codec", "best guess")  # of every test here


def checks(gravity: pd.DataFrame, slopes: pd.DataFrame, ratios: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Four tests of every method, each asked only if the ceilings pass it (`verdicts.ask`).

    *falls*: median g_eff within `WITHIN` of g. The others count only for what falls: a still thing has no slope either.
    *everywhere*: g_eff changes by less than `WITHIN` of g over two standard deviations of height, distance and size.
    *outside*: the median relative error outside is at most `OUTSIDE` times that inside. *two objects*: the median ratio
    is within `RATIO` of 1, and at least half of the videos could be measured.

    Args:
        gravity: "method" and "value" (m/s^2).
        slopes: of `statistics.slopes`, with "method".
        ratios: "method" and "value".
        pairs: "method", "value", "measured" and "videos".

    Returns:
        A row per method, a column per test, cells as from `verdicts.ask`.
    """
    passed, measured = {}, {}
    by_method = [table.set_index("method") for table in (gravity, ratios, pairs)]
    for method in gravity["method"]:
        fall, outside, pair = (table.loc[method] for table in by_method)
        effect = slopes.loc[slopes["method"] == method, "effect"].abs().max()
        falls = abs(fall["value"] - GRAVITY) <= WITHIN * GRAVITY
        together = abs(pair["value"] - 1) <= RATIO and pair["measured"] >= pair["videos"] / 2
        tests = {"falls": True, "everywhere": effect <= WITHIN * GRAVITY, "outside": outside["value"] <= OUTSIDE}
        passed[method] = {name: bool(falls and holds) for name, holds in (tests | {"two objects": together}).items()}
        measured[method] = {
            "falls": f"{fall['value']:.2f} m/s²",
            "everywhere": f"{effect:.1f} m/s² over the map",
            "outside": f"{outside['value']:.1f} times the error inside",
            "two objects": f"a ratio of {pair['value']:.2f}, {pair['measured']:.0f} of {pair['videos']:.0f} measured",
        }
    columns = {}
    for test in ("falls", "everywhere", "outside", "two objects"):
        holds, said = ({method: row[test] for method, row in table.items()} for table in (passed, measured))
        columns[test] = ask(holds, said, CEILINGS)
    return pd.DataFrame(columns).loc[list(gravity["method"])]
