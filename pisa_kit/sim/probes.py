"""Scenes that probe generalization: a map of distance and height (PISA), noon, two objects released together."""

from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from scipy.ndimage import binary_dilation

from pisa_kit.clips.clip import Clip
from pisa_kit.core.errors import InputError
from pisa_kit.sim.scenes import Scene, sample
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import simulate

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
    for (near, far), (low, high) in product(pairwise(distances), pairwise(heights)):
        inside = ranges.distance[0] <= near < far <= ranges.distance[1]
        inside &= ranges.height[0] <= low < high <= ranges.height[1]
        if centre.with_drop(distance=(near + far) / 2, height=(low + high) / 2).in_view():
            found.append(Cell((near, far), (low, high), bool(inside)))
    return found


def scenes_in(cell: Cell, ranges: Ranges, seeds: range, at_noon: bool = False) -> list[Scene]:
    """Scenes of seen objects whose distance and height lie in the cell, maybe at `noon`."""
    inside = replace(ranges, distance=cell.distance, height=cell.height)
    return [(noon if at_noon else sample)(seed, inside) for seed in seeds]


# --- a picture that tells the distance -------------------------------------------------------------------------

NOON_CAMERA, NOON_TILE = 0.5, 0.5  # metres: height of the camera, side of a tile of the floor
SHADOW = 6.0  # grey levels by which a shadow darkens the floor, at least


def noon(seed: int, ranges: Ranges) -> Scene:
    """A scene of seen objects at noon: the sun straight above, the camera always as high, tiles of one size.

    A shadow v pixels below the horizon is then f c / v away, and so is what hangs above it. At other hours neither the
    sun nor the camera's height is known, and the picture leaves the distance open.
    """
    scene = sample(seed, replace(ranges, camera_height=(NOON_CAMERA, NOON_CAMERA)))
    return replace(scene, sun=(0.0, 0.0, -1.0), floor=replace(scene.floor, tile=NOON_TILE))


def shadow_distance(clip: Clip) -> float:
    """How far away the dropped object is by the shadow in frame 0 of a clip at `noon`, metres; NaN if it is hidden.

    The shadow is what darkens when the object hangs there; where it lies is read in the picture.
    """
    scene = Scene.from_dict(clip.info["scene"], clip.name)
    x, y, z = scene.dropped.position
    gone = replace(scene, things=(*scene.things[:-1], replace(scene.dropped, position=(x + 50.0, y, z))))
    empty = simulate(gone, clip.frames.shape[1], 1, clip.fps).frames[0].astype(float)
    below = np.arange(len(empty)) + 0.5 - clip.camera.center[1]
    darker = (empty - clip.frames[0]).mean(-1) * ~binary_dilation(clip.dropped[0], iterations=2)
    darker *= (darker > SHADOW) & (below > 0)[:, None]
    if not darker.any():
        return float("nan")
    return float(clip.camera.focal * scene.camera_height * darker.sum() / (darker.sum(1) @ below))


# --- two objects -----------------------------------------------------------------------------------------------


def release_two(seed: int, ranges: Ranges, same_height: bool = False) -> Scene:
    """A scene in which two objects of different colours fall together, side by side at the same distance.

    Args:
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
    arrays = {name: getattr(truth, name)[:, order] for name in ("masks", "poses", "velocities")}
    contacts = np.array([np.sqrt(2 * turned.height / turned.gravity)])
    return replace(truth, **arrays, contacts=contacts, info=truth.info | {"scene": turned.to_dict()})
