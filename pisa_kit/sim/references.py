"""Reference predictors that bracket every model, each a video like a model's.

*frozen*, *slow gravity*, *ideal* and *vanish* are simulated. *truth*, *codec* and *best guess* are ceilings: what a
tracker makes of the true video, what a model's own autoencoder leaves of it, what can be known from the first frame.
"""

from dataclasses import replace

import numpy as np

from pisa_kit.clips.clip import Clip
from pisa_kit.perception.guess import GuessNet, paste_along_guess
from pisa_kit.sim.scenes import Scene
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import STANDING, simulate

SLOW_GRAVITY_SHARE = 0.18  # of 9.81: what open video models show (arXiv 2512.02016)
VANISH_AFTER = 0.25  # seconds
OUT_OF_SIGHT = 50.0  # metres to the right
CEILINGS = ("truth", "codec", "best guess")


def frozen(scene: Scene, seed: int, ranges: Ranges, **video) -> np.ndarray:
    """The object stays where it is."""
    return simulate(replace(scene, gravity=0.0), **video).frames


def slow_gravity(scene: Scene, seed: int, ranges: Ranges, **video) -> np.ndarray:
    """The object falls with 18 % of gravity."""
    return simulate(replace(scene, gravity=scene.gravity * SLOW_GRAVITY_SHARE), **video).frames


def ideal(scene: Scene, seed: int, ranges: Ranges, **video) -> np.ndarray:
    """The simulator itself, with what frame 0 does not show (restitution, friction) drawn again from `seed`."""
    rng = np.random.default_rng([seed, scene.seed, 1])
    redrawn = scene.with_drop(
        restitution=float(rng.uniform(*ranges.restitution)), friction=float(rng.uniform(*ranges.friction))
    )
    return simulate(redrawn, **video).frames


def vanish(scene: Scene, seed: int, ranges: Ranges, **video) -> np.ndarray:
    """The object falls correctly for a quarter of a second and is then gone: what `official` metrics forgive."""
    clip, empty = (simulate(each, **video) for each in (scene, without(scene, [len(scene.things) - 1])))
    return np.where((clip.times > VANISH_AFTER)[:, None, None, None], empty.frames, clip.frames)


SIMULATED = {"frozen": frozen, "slow gravity": slow_gravity, "ideal": ideal, "vanish": vanish}


def reference_video(method: str, truth: Clip, seed: int, ranges: Ranges) -> Clip:
    """A simulated predictor's video of a simulated clip: frames alone, as of any generator."""
    scene = Scene.from_dict(truth.info["scene"], truth.name)
    video = {"size": truth.frames.shape[1], "frames": len(truth), "fps": truth.fps}
    return bare(SIMULATED[method](scene, seed, ranges, **video), truth, method)


def bare(frames: np.ndarray, truth: Clip, method: str) -> Clip:
    """Frames (T, H, W, 3) uint8 as a predictor's video of the clip."""
    return Clip(frames, truth.fps, caption=truth.caption, name=truth.name, info={"method": method})


def names() -> tuple[str, ...]:
    """All reference predictors."""
    return (*SIMULATED, *CEILINGS)


def best_guess(model: GuessNet, truth: Clip) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 of a simulated clip in which everything that falls does so along its guessed path."""
    scene = Scene.from_dict(truth.info["scene"], truth.name)
    falling = [index for index, thing in enumerate(scene.things) if thing.bounds[0][2] > STANDING]
    plate = simulate(without(scene, falling), truth.frames.shape[1], 2, truth.fps).frames[0]
    return paste_along_guess(model, truth, plate, falling)


def without(scene: Scene, indices: list[int]) -> Scene:
    """The scene with some of its things out of sight."""
    things = list(scene.things)
    for index in indices:
        things[index] = replace(things[index], position=(OUT_OF_SIGHT + 2 * index, *things[index].position[1:]))
    return replace(scene, things=tuple(things))
