"""Every number of a run, as frozen dataclasses."""

from dataclasses import asdict, dataclass

from pisa_kit.files import InputError


@dataclass(frozen=True)
class Ranges:
    """Uniform ranges a scene is drawn from (paper.md section 7); pairs are (low, high).

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
