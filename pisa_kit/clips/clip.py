"""`Clip`: one video with whatever is known about it, and its resampling in time."""

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from pydantic import Field, InstanceOf

from pisa_kit.core.checks import Array, Fps, PlainName, Text, check, check_fields
from pisa_kit.core.errors import InputError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at `(0, 0, height)` that looks horizontally along +y (PISA, generalization).

    World axes: x right, y away from the camera, z up, metres. Image axes: x right, y down, pixels.

    Args:
        focal: focal length, pixels.
        height: height above the floor, metres.
        center: principal point (x, y), pixels; pixel (i, j) covers [j, j + 1] x [i, i + 1].
    """

    focal: float
    height: float
    center: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in metres to image points (..., 2) in pixels."""
        points = np.asarray(points, float)
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        return np.stack([self.center[0] + self.focal * x / y, self.center[1] + self.focal * (self.height - z) / y], -1)

    def unproject(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Image points (..., 2) in pixels and depth (...) along the optical axis in metres to world points (..., 3)."""
        pixels = np.asarray(pixels, float)
        x = (pixels[..., 0] - self.center[0]) * depth / self.focal
        z = self.height - (pixels[..., 1] - self.center[1]) * depth / self.focal
        return np.stack([x, np.broadcast_to(depth, x.shape), z], -1)


@dataclass(frozen=True)
class Clip:
    """One video. Everything but `frames` and `fps` may be unknown (None or empty).

    Args:
        frames: (T, H, W, 3) uint8.
        fps: frames per second, > 0.
        masks: (T, N, H, W) bool, one plane per object, the dropped object last.
        depth: (T, H, W) float32, metres along the optical axis.
        flow: (T - 1, H, W, 2) float32, pixels (x, y) from frame t to t + 1.
        poses: (T, N, 7) float64, position in metres and unit quaternion (w, x, y, z), objects as in `masks`.
        velocities: (T, N, 6) float64, linear m/s and angular rad/s, world axes.
        contacts: (K,) float64, times in seconds at which the dropped object comes into contact.
        camera: intrinsics, see `Camera`.
        caption: the prompt, e.g. "A red mug falls."
        name: what messages and tables call the clip.
        info: further facts that JSON can hold (scene, annotated points, protocol).

    Raises:
        InputError: wrong dtype, shape or fps; the message names the clip and the field.
    """

    frames: Array
    fps: Fps
    masks: Array | None = None
    depth: Array | None = None
    flow: Array | None = None
    poses: Array | None = None
    velocities: Array | None = None
    contacts: Array | None = None
    camera: Camera | None = None
    caption: Text = ""
    name: PlainName = "clip"
    info: dict = field(default_factory=dict)

    def __post_init__(self):
        check_fields(self, self.name)
        frames, masks = self.frames, self.masks
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
            self._refuse("frames", f"has shape {frames.shape} and dtype {frames.dtype}", "Give (T, H, W, 3) uint8.")
        if masks is not None and (masks.dtype != bool or masks.ndim != 4 or 0 in masks.shape):
            self._refuse("masks", f"has shape {masks.shape} and dtype {masks.dtype}", "Give (T, N, H, W) bool.")
        count, height, width, _ = frames.shape
        for name, axes, shape in (
            ("masks", "(T, N, H, W)", (count, 0 if masks is None else masks.shape[1], height, width)),
            ("depth", "(T, H, W)", (count, height, width)),
            ("flow", "(T - 1, H, W, 2)", (count - 1, height, width, 2)),
        ):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                self._refuse(name, f"has shape {array.shape}, frames {frames.shape}", f"Give {axes} for these frames.")

    def _refuse(self, name: str, problem: str, remedy: str):
        raise InputError(self.name, name, problem, remedy)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def times(self) -> np.ndarray:
        """(T,) seconds; frame 0 is at 0."""
        return np.arange(len(self)) / self.fps

    @property
    def dropped(self) -> np.ndarray:
        """(T, H, W) bool: the dropped object's mask (the last one)."""
        if self.masks is None or self.masks.shape[1] == 0:
            self._refuse("masks", "is missing", "Track the object first, or read a layout that has masks.")
        return self.masks[:, -1]

    def select(self, indices: np.ndarray, fps: float) -> "Clip":
        """The frames at `indices`, declared to run at `fps`; flow is dropped because its frame pairs change."""
        take = lambda array: None if array is None else array[indices]  # noqa: E731
        return replace(
            self,
            frames=self.frames[indices],
            fps=fps,
            masks=take(self.masks),
            depth=take(self.depth),
            poses=take(self.poses),
            velocities=take(self.velocities),
            flow=None,
        )


Clips = Annotated[list[InstanceOf[Clip]], Field(min_length=1)]


def check_fps(fps, file) -> float:
    """Returns `fps` as float; raises InputError unless it is a number from 0.1 to 100,000."""
    return check(Fps, fps, file, "fps", "Give the frames per second as a number, e.g. 16.")
