"""Generic motion, the embedded base model's only diet: things hover, drift, dart, turn, speed up, fall far too slowly.

Several of them move at once, each in its own way: what the base has to learn is to carry what it sees to other places.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from pisa_kit.core.errors import InputError
from pisa_kit.sim.scenes import Scene, Thing
from pisa_kit.sim.settings import Ranges

KINDS = {  # verb of the caption: share
    "hovers": 0.08,
    "drifts": 0.15,
    "rises": 0.08,
    "turns": 0.07,
    "falls": 0.17,
    "darts": 0.25,
    "speeds": 0.20,
}
WAYS = {  # in the picture: to the right, upwards
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, 1),
    "down": (0, -1),
    "up left": (-1, 1),
    "up right": (1, 1),
    "down left": (-1, -1),
    "down right": (1, -1),
}
PACES = {  # picture widths in the first second; to fall so far is 8 to 13 % of g at 2 to 3.5 m, what the base learns
    "drifts": 0.3,
    "darts": 0.4,
    "speeds": 0.45,
    "rises": 0.22,
    "falls": 0.18,
}
LOWEST = 0.05  # metres above the floor at which generic motion may begin: from where drops begin, little can rise
TURN = 2.0  # rad/s, of what turns left or right


@dataclass(frozen=True)
class Motion:
    """A prescribed path: start + velocity t + acceleration t^2 / 2 + dart, turning with a constant spin.

    A dart is a smooth move to another place: slow, fast, slow.

    Args:
        verb: what the caption says, with the way if it says that, too.
        velocity: (3,) m/s.
        acceleration: (3,) m/s^2.
        spin: (3,) rad/s, world axes.
        dart: (3,) m.
        dart_from, dart_to: s, when it begins and ends.
    """

    verb: str
    velocity: tuple[float, float, float]
    acceleration: tuple[float, float, float]
    spin: tuple[float, float, float]
    dart: tuple[float, float, float] = (0.0, 0.0, 0.0)
    dart_from: float = 0.0
    dart_to: float = 1.0

    def poses(self, thing: Thing, times: np.ndarray) -> np.ndarray:
        """Positions and quaternions (w, x, y, z) of a thing at `times` (T,) seconds: (T, 7)."""
        t = np.asarray(times)[:, None]
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
        return np.concatenate([linear, np.broadcast_to(self.spin, linear.shape)], 1)

    def _done(self, t: np.ndarray) -> np.ndarray:
        """Share of the dart's time that is over."""
        return np.clip((t - self.dart_from) / (self.dart_to - self.dart_from), 0, 1)

    def stays_in_view(self, scene: Scene, thing: Thing, seconds: float) -> bool:
        """Is the thing inside the picture and above the floor from 0 to `seconds`?"""
        poses = self.poses(thing, np.linspace(0, seconds, 5))
        path = (replace(thing, position=tuple(pose[:3]), quaternion=tuple(pose[3:])) for pose in poses)
        return all(scene.in_view(moved) and moved.bounds[0][2] >= 0 for moved in path)


def with_room(ranges: Ranges) -> Ranges:
    """The ranges with lower starts, so that things can also go up."""
    return replace(ranges, height=(min(LOWEST, ranges.height[0]), ranges.height[1]))


def sample_motion(scene: Scene, seed: int, seconds: float, thing: Thing | None = None) -> Motion:
    """Draws a motion that its caption fixes: "darts up left", at the verb's pace in the picture.

    The same arguments give the same motion, of the dropped thing unless another is given.

    Where the caption leaves direction, beginning or speed open, what there is to learn is a distribution over places,
    and the mean of that is a smear: a tiny model then dissolves whatever moves.

    Raises:
        InputError: none stays in view.
    """
    thing = thing or scene.dropped
    rng = np.random.default_rng([seed, scene.seed, 6])
    width = 2 * np.tan(np.radians(scene.fov) / 2) * thing.position[1]  # metres that the picture shows at the thing
    for verb in rng.choice(list(KINDS), len(KINDS), replace=False, p=list(KINDS.values())):
        for way in rng.permutation(_ways(str(verb))):
            motion = _draw(str(verb), str(way), width)
            if motion.stays_in_view(scene, thing, seconds):
                return motion
    raise InputError(f"scene {scene.seed}", "motion", "leaves the picture in every draw", "Use another scene.")


def _ways(verb: str) -> list[str]:
    if verb in ("hovers", "rises", "falls"):
        return [""]
    if verb == "turns":
        return ["left", "right"]
    return [way for way in WAYS if verb != "speeds" or "down" not in way]  # nothing speeds up downwards


def _draw(verb: str, way: str, width: float) -> Motion:
    velocity, acceleration, spin, dart = np.zeros((4, 3))
    right, up = WAYS[way or "up"] / np.linalg.norm(WAYS[way or "up"])
    path = np.array([right, 0, up]) * PACES.get(verb, 0) * width
    if verb in ("drifts", "rises"):
        velocity = path
    elif verb == "darts":
        dart = path
    elif verb == "speeds":
        acceleration = 2 * path
    elif verb == "falls":
        acceleration = -2 * path
    elif verb == "turns":
        spin[1] = -TURN * right
    vectors = (tuple(map(float, vector)) for vector in (velocity, acceleration, spin, dart))
    return Motion(f"{verb} {way}".strip(), *vectors, dart_from=0.1, dart_to=0.6)
