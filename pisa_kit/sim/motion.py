"""Generic motion, the embedded base model's only diet: things hover, drift, dart, turn, speed up, fall far too slowly.

Several of them move at once, each in its own way: what the base has to learn is to carry what it sees to other places.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from pisa_kit.core.errors import InputError
from pisa_kit.sim.scenes import Scene, Thing
from pisa_kit.sim.settings import GRAVITY

SLOW_FALL = (0.02, 0.25)  # share of gravity: what the base model learns instead of 1
KINDS = {  # verb of the caption: share
    "hovers": 0.08,
    "drifts": 0.15,
    "rises": 0.08,
    "turns": 0.07,
    "falls": 0.17,
    "darts": 0.25,
    "speeds": 0.20,
}
DOWN = 45.0  # degrees around straight down into which nothing speeds up


@dataclass(frozen=True)
class Motion:
    """A prescribed path: start + velocity t + acceleration t^2 / 2 + dart, turning with a constant spin.

    A dart is a smooth move to another place: slow, fast, slow. Acceleration ends, and all motion with it, at `until`.

    Args:
        verb: what the caption says.
        velocity: (3,) m/s.
        acceleration: (3,) m/s^2.
        spin: (3,) rad/s, world axes.
        dart: (3,) m.
        dart_from, dart_to: s, when it begins and ends.
        until: s, when the thing stops.
    """

    verb: str
    velocity: tuple[float, float, float]
    acceleration: tuple[float, float, float]
    spin: tuple[float, float, float]
    dart: tuple[float, float, float] = (0.0, 0.0, 0.0)
    dart_from: float = 0.0
    dart_to: float = 1.0
    until: float = np.inf

    def poses(self, thing: Thing, times: np.ndarray) -> np.ndarray:
        """Positions and quaternions (w, x, y, z) of a thing at `times` (T,) seconds: (T, 7)."""
        t = np.minimum(np.asarray(times), self.until)[:, None]
        position = thing.position + np.array(self.velocity) * t + np.array(self.acceleration) * t**2 / 2
        done = self._done(t)
        position = position + np.array(self.dart) * (3 - 2 * done) * done**2
        turn = Rotation.from_rotvec(np.array(self.spin) * t)
        start = Rotation.from_quat(thing.quaternion, scalar_first=True)
        return np.concatenate([position, (turn * start).as_quat(scalar_first=True)], 1)

    def velocities(self, times: np.ndarray) -> np.ndarray:
        """(T, 6): linear m/s and angular rad/s at `times`."""
        t = np.asarray(times)[:, None]
        done = self._done(t)
        darting = np.array(self.dart) * 6 * done * (1 - done) / (self.dart_to - self.dart_from)
        linear = np.array(self.velocity) + np.array(self.acceleration) * t + darting
        return np.concatenate([linear, np.broadcast_to(self.spin, linear.shape)], 1) * (t < self.until)

    def _done(self, t: np.ndarray) -> np.ndarray:
        """Share of the dart's time that is over."""
        return np.clip((t - self.dart_from) / (self.dart_to - self.dart_from), 0, 1)

    def stays_in_view(self, scene: Scene, thing: Thing, seconds: float) -> bool:
        """Is the thing inside the picture and above the floor from 0 to `seconds`?"""
        poses = self.poses(thing, np.linspace(0, seconds, 5))
        path = (replace(thing, position=tuple(pose[:3]), quaternion=tuple(pose[3:])) for pose in poses)
        return all(scene.in_view(moved) and moved.bounds[0][2] >= 0 for moved in path)


def sample_motion(scene: Scene, seed: int, seconds: float, thing: Thing | None = None) -> Motion:
    """Draws a motion during which a thing, by default the dropped one, stays in view; same arguments, same motion.

    Raises:
        InputError: none of 200 draws stays in view.
    """
    rng = np.random.default_rng([seed, scene.seed, 2])
    for _ in range(200):
        motion = _draw(str(rng.choice(list(KINDS), p=list(KINDS.values()))), rng)
        if motion.stays_in_view(scene, thing or scene.dropped, seconds):
            return motion
    raise InputError(f"scene {scene.seed}", "motion", "leaves the picture in every draw", "Use another scene.")


def _draw(verb: str, rng) -> Motion:
    velocity, acceleration, spin, dart = np.zeros((4, 3))
    begin, length, until = 0.0, 1.0, np.inf
    sideways = rng.uniform(-0.7, 0.7)
    if verb == "drifts":
        velocity[:] = sideways, rng.uniform(-0.2, 0.2), rng.uniform(-0.4, 0.4)
        acceleration[0] = rng.uniform(-0.5, 0.5)
    elif verb == "rises":
        velocity[:] = 0.2 * sideways, 0, rng.uniform(0.1, 0.8)
        acceleration[2] = rng.uniform(-0.3, 0.6)
    elif verb == "falls":
        acceleration[2] = -GRAVITY * rng.uniform(*SLOW_FALL)
    elif verb == "darts":  # in any direction
        dart[:] = rng.uniform(-1.2, 1.2), rng.uniform(-0.4, 0.4), rng.uniform(-1.2, 1.0)
        begin, length = rng.uniform(0, 0.3), rng.uniform(0.25, 0.7)
    elif verb == "speeds":  # in the picture's plane, not down
        angle = np.radians(rng.uniform(DOWN, 360 - DOWN))  # from straight down
        acceleration[:] = np.sin(angle), 0, -np.cos(angle)
        acceleration *= rng.uniform(1, 9)
        until = rng.uniform(0.35, 0.9)
    if verb == "turns" or rng.random() < 0.4:
        spin[:] = rng.normal(0, 1.5, 3)
    vectors = (tuple(map(float, vector)) for vector in (velocity, acceleration, spin, dart))
    return Motion(verb, *vectors, float(begin), float(begin + length), float(until))
