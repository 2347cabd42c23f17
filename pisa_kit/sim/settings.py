"""What is simulated: ranges of scenes, size of videos, gravity."""

from dataclasses import dataclass

from pisa_kit.core.checks import CountPair, Fps, Frames, Pair, SharePair, Side, check_fields

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
        restitution: rebound speed over impact speed, at most 0.99.
        friction: sliding friction coefficient.
        move_camera: move the object away until the whole drop is in view, as the released simulator does with its
            camera, instead of drawing the scene again.
    """

    distance: Pair = (2.0, 3.5)
    height: Pair = (0.5, 1.25)
    size: Pair = (0.6, 0.9)
    camera_height: Pair = (0.4, 0.6)
    others: CountPair = (0, 3)
    restitution: SharePair = (0.05, 0.2)
    friction: Pair = (0.4, 0.9)
    move_camera: bool = False

    def __post_init__(self):
        check_fields(self, "ranges")


@dataclass(frozen=True)
class Video:
    """Size of the generated and simulated videos: side in pixels, frames per clip, frames per second."""

    size: Side = 64
    frames: Frames = 17
    fps: Fps = 16

    def __post_init__(self):
        check_fields(self, "video")
