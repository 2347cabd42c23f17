"""Generic motion, the embedded base model's only diet: hovering, drifting, rising, turning, falling far too slowly."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from pisa_kit.files import InputError
from pisa_kit.presets import GRAVITY
from pisa_kit.scenes import Scene

SLOW_FALL = (0.02, 0.25)  # share of gravity: what the base model learns instead of 1
KINDS = {"hovers": 0.15, "drifts": 0.25, "rises": 0.15, "turns": 0.15, "falls": 0.30}  # verb of the caption: share


@dataclass(frozen=True)
class Motion:
    """A prescribed path: position = start + velocity t + acceleration t^2 / 2, turning with a constant spin.

    Args:
        verb: what the caption says.
        velocity: (3,) m/s.
        acceleration: (3,) m/s^2.
        spin: (3,) rad/s, world axes.
    """

    verb: str
    velocity: tuple[float, float, float]
    acceleration: tuple[float, float, float]
    spin: tuple[float, float, float]

    def poses(self, scene: Scene, times: np.ndarray) -> np.ndarray:
        """Positions and quaternions (w, x, y, z) of the dropped object at `times` (T,) seconds: (T, 7)."""
        t = np.asarray(times)[:, None]
        position = scene.dropped.position + np.array(self.velocity) * t + np.array(self.acceleration) * t**2 / 2
        turn = Rotation.from_rotvec(np.array(self.spin) * t)
        start = Rotation.from_quat(scene.dropped.quaternion, scalar_first=True)
        return np.concatenate([position, (turn * start).as_quat(scalar_first=True)], 1)

    def velocities(self, times: np.ndarray) -> np.ndarray:
        """(T, 6): linear m/s and angular rad/s at `times`."""
        t = np.asarray(times)[:, None]
        linear = np.array(self.velocity) + np.array(self.acceleration) * t
        return np.concatenate([linear, np.broadcast_to(self.spin, linear.shape)], 1)

    def stays_in_view(self, scene: Scene, seconds: float) -> bool:
        """Is the object inside the picture and above the floor from 0 to `seconds`?"""
        for pose in self.poses(scene, np.linspace(0, seconds, 5)):
            thing = replace(scene.dropped, position=tuple(pose[:3]), quaternion=tuple(pose[3:]))
            if not scene.in_view(thing) or thing.bounds[0][2] < 0:
                return False
        return True


def sample_motion(scene: Scene, seed: int, seconds: float) -> Motion:
    """Draws a motion during which the object stays in view; the same arguments give the same motion.

    Raises:
        InputError: none of 200 draws stays in view.
    """
    rng = np.random.default_rng([seed, scene.seed, 2])
    for _ in range(200):
        motion = _draw(str(rng.choice(list(KINDS), p=list(KINDS.values()))), rng)
        if motion.stays_in_view(scene, seconds):
            return motion
    raise InputError(f"scene {scene.seed}", "motion", "leaves the picture in every draw", "Use another scene.")


def _draw(verb: str, rng) -> Motion:
    velocity, acceleration, spin = np.zeros((3, 3))
    sideways = rng.uniform(-0.7, 0.7)
    if verb == "drifts":
        velocity[:] = sideways, rng.uniform(-0.2, 0.2), rng.uniform(-0.4, 0.4)
        acceleration[0] = rng.uniform(-0.5, 0.5)
    elif verb == "rises":
        velocity[:] = 0.2 * sideways, 0, rng.uniform(0.1, 0.8)
        acceleration[2] = rng.uniform(-0.3, 0.6)
    elif verb == "falls":
        acceleration[2] = -GRAVITY * rng.uniform(*SLOW_FALL)
    if verb == "turns" or rng.random() < 0.4:
        spin[:] = rng.normal(0, 1.5, 3)
    return Motion(verb, *(tuple(map(float, vector)) for vector in (velocity, acceleration, spin)))
