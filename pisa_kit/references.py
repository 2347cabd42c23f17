"""Reference predictors that bracket every model: frozen, slow gravity, ideal and vanish, each a rendered video."""

from dataclasses import replace

import numpy as np

from pisa_kit.clips import Clip
from pisa_kit.presets import Ranges
from pisa_kit.scenes import Scene
from pisa_kit.simulate import simulate

SLOW_GRAVITY_SHARE = 0.18  # of 9.81: what open video models show (arXiv 2512.02016)
VANISH_AFTER = 0.25  # seconds
OUT_OF_SIGHT = 50.0  # metres to the right


def frozen(scene: Scene, seed: int, ranges: Ranges, **video) -> Clip:
    """The object stays where it is."""
    return _film(replace(scene, gravity=0.0), "frozen", **video)


def slow_gravity(scene: Scene, seed: int, ranges: Ranges, **video) -> Clip:
    """The object falls with 18 % of gravity."""
    return _film(replace(scene, gravity=scene.gravity * SLOW_GRAVITY_SHARE), "slow gravity", **video)


def ideal(scene: Scene, seed: int, ranges: Ranges, **video) -> Clip:
    """The simulator itself, with what frame 0 does not show (restitution, friction) drawn again from `seed`."""
    rng = np.random.default_rng([seed, scene.seed, 1])
    redrawn = scene.with_drop(
        restitution=float(rng.uniform(*ranges.restitution)), friction=float(rng.uniform(*ranges.friction))
    )
    return _film(redrawn, "ideal", **video)


def vanish(scene: Scene, seed: int, ranges: Ranges, **video) -> Clip:
    """The object falls correctly for a quarter of a second and is then gone: what `official` metrics forgive."""
    clip = _film(scene, "vanish", **video)
    _, y, z = scene.dropped.position
    empty = _film(scene.with_drop(position=(OUT_OF_SIGHT, y, z)), "vanish", **video)
    gone = clip.times > VANISH_AFTER
    masks = clip.masks.copy()
    masks[gone] = empty.masks[gone]
    frames, depth = clip.frames.copy(), clip.depth.copy()
    frames[gone], depth[gone] = empty.frames[gone], empty.depth[gone]
    unknown = dict.fromkeys(("flow", "poses", "velocities", "contacts"))
    return replace(clip, frames=frames, masks=masks, depth=depth, **unknown)


REFERENCES = {"frozen": frozen, "slow gravity": slow_gravity, "ideal": ideal, "vanish": vanish}


def _film(scene: Scene, method: str, **video) -> Clip:
    clip = simulate(scene, **video)
    return replace(clip, info={**clip.info, "method": method})
