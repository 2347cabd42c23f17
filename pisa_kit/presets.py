"""Every number of a run, as frozen dataclasses."""

import difflib
import math
from dataclasses import asdict, dataclass, field

from pisa_kit.files import InputError


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


@dataclass(frozen=True)
class Preset:
    """Every number that shapes a run.

    Args:
        name: as in `PRESETS`.
        seeds: one run of everything random per entry.
        test_clips: held-out drops per split (seen, unseen).
        test_seed: scene seed of the first held-out clip; training scenes count up from 0 and never reach it.
        video: size of the videos.
        ranges: what held-out scenes are drawn from.
        phone_resamples: bootstrap repetitions behind the interval of the phone clip's gravity.
    """

    name: str
    seeds: tuple[int, ...]
    test_clips: int
    test_seed: int = 10_000_000
    video: Video = field(default_factory=Video)
    ranges: Ranges = field(default_factory=Ranges)
    phone_resamples: int = 400

    def __post_init__(self):
        if not self.seeds or self.test_clips < 1:
            raise InputError(f"preset {self.name}", "seeds, test_clips", "are empty", "Give at least one of each.")


PRESETS = {
    "smoke": Preset("smoke", seeds=(0,), test_clips=6, phone_resamples=40),
    "mini": Preset("mini", seeds=(0,), test_clips=60),
    "full": Preset("full", seeds=(0, 1, 2), test_clips=200, phone_resamples=2000),
}


def nearest(name: str, choices, label: str) -> str:
    """Returns `name` if it is one of `choices`.

    Raises:
        InputError: it is not; the message suggests the nearest one.
    """
    if name in choices:
        return name
    close = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.0)
    remedy = f"Did you mean {close[0]!r}? Known: {', '.join(choices)}." if close else "There are none to choose from."
    raise InputError("arguments", label, f"{name!r} is unknown", remedy)


def get_preset(name: str) -> Preset:
    """The preset of that name; an unknown name raises InputError that suggests the nearest one."""
    return PRESETS[nearest(name, PRESETS, "preset")]
