"""What is simulated: ranges of scenes, size of videos, gravity."""

import math
from dataclasses import asdict, dataclass

from pisa_kit.core.errors import InputError

GRAVITY = 9.81  # m/s^2


@dataclass(frozen=True)
class Ranges:
    """Uniform ranges a scene is drawn from (PISA, generalization); pairs are (low, high).

    Args:
        distance: of the dropped object's centre from the camera, along the optical axis, metres.
        height: of the dropped object's lowest point above the floor, metres.
        size: largest extent of an object, metres.
        camera_height: metres.
        others: number of objects underneath or beside, both ends included.
        restitution: rebound speed over impact speed, in [0, 1).
        friction: sliding friction coefficient.
        move_camera: move the object away until the whole drop is in view, as the released simulator does with its
            camera, instead of drawing the scene again.
    """

    distance: tuple[float, float] = (2.0, 3.5)
    height: tuple[float, float] = (0.5, 1.25)
    size: tuple[float, float] = (0.3, 0.5)
    camera_height: tuple[float, float] = (0.4, 0.6)
    others: tuple[int, int] = (0, 3)
    restitution: tuple[float, float] = (0.05, 0.55)
    friction: tuple[float, float] = (0.4, 0.9)
    move_camera: bool = False

    def __post_init__(self):
        for name, value in asdict(self).items():
            if name == "move_camera":
                continue
            if len(value) != 2 or not 0 <= value[0] <= value[1]:
                raise InputError("ranges", name, f"is {value}", "Give (low, high) with 0 <= low <= high.")
        if self.restitution[1] >= 1:
            raise InputError("ranges", "restitution", f"is {self.restitution}", "Stay below 1.")


@dataclass(frozen=True)
class Video:
    """Size of the generated and simulated videos: side in pixels, frames per clip, frames per second."""

    size: int = 64
    frames: int = 17
    fps: float = 16

    def __post_init__(self):
        if self.size < 16 or self.frames < 2:
            problem = f"are {self.size} and {self.frames}"
            raise InputError("preset", "video size, frames", problem, "Use at least 16 pixels and 2 frames.")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise InputError("preset", "fps", f"is {self.fps}", "Give frames per second above 0, e.g. 16.")
