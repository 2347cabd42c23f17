"""A clip at another size or frame rate."""

from dataclasses import replace

import numpy as np
from PIL import Image

from pisa_kit.clips.clip import Camera, Clip, check_fps
from pisa_kit.core.checks import Count, check
from pisa_kit.core.errors import InputError


def resample(clip: Clip, fps: float, frames: int | None = None) -> Clip:
    """The clip at another frame rate: output frame i shows the source frame nearest in time to i / fps.

    Args:
        fps: output frames per second.
        frames: output length; by default all that the source's last frame covers.

    Raises:
        InputError: the source is too short for `frames`.
    """
    check_fps(fps, clip.name)
    available = int(np.floor((len(clip) - 1) / clip.fps * fps + 1e-9)) + 1
    count = available if frames is None else frames
    if count > available:
        problem = f"{len(clip)} at {clip.fps:g} fps give {available} at {fps:g} fps, not {count}"
        raise InputError(clip.name, "frames", problem, "Ask for fewer frames.")
    indices = np.minimum(np.floor(np.arange(count) * clip.fps / fps + 0.5 + 1e-9).astype(int), len(clip) - 1)
    if fps == clip.fps and np.array_equal(indices, np.arange(len(clip))):
        return clip
    return clip.select(indices, fps)


def to_square(clip: Clip, size: int, crop: bool = False) -> Clip:
    """The clip at `size` x `size` pixels; annotated points scale along.

    Frames are area-averaged when they shrink and bilinear when they grow, masks, depth and flow take the nearest pixel.

    Args:
        size: side in pixels.
        crop: cut out the centred square first; by default the whole frame is squeezed, as the benchmark does.
            A squeezed camera has no single focal length: `camera` is then dropped (unless the clip is square).

    Raises:
        InputError: `size` is no positive whole number, or the crop cuts off an annotated point.
    """
    check(Count, size, clip.name, "size", "Give the side in pixels, e.g. 256.")
    height, width = clip.frames.shape[1:3]
    side = min(height, width)
    left, top = ((width - side) // 2, (height - side) // 2) if crop else (0, 0)
    window = (left, top, left + side, top + side) if crop else (0, 0, width, height)
    scale = np.array([size / (window[2] - left), size / (window[3] - top)])
    rows = top + ((np.arange(size) + 0.5) / scale[1]).astype(int)
    columns = left + ((np.arange(size) + 0.5) / scale[0]).astype(int)

    def nearest(array):
        return None if array is None else np.ascontiguousarray(array[..., rows[:, None], columns])

    flow = None if clip.flow is None else np.moveaxis(nearest(np.moveaxis(clip.flow, -1, 1)), 1, -1)
    return replace(
        clip,
        frames=np.stack([_resize(frame, size, window) for frame in clip.frames]),
        masks=nearest(clip.masks),
        depth=nearest(clip.depth),
        flow=None if flow is None else np.ascontiguousarray(flow * scale.astype(np.float32)),
        camera=_scale_camera(clip.camera, (left, top), scale),
        info=_scale_points(clip, window, scale),
    )


def _resize(frame: np.ndarray, size: int, window: tuple[int, int, int, int]) -> np.ndarray:
    shrinks = size <= window[2] - window[0] and size <= window[3] - window[1]
    filter_ = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(frame).resize((size, size), filter_, box=window))


def _scale_camera(camera: Camera | None, corner: tuple[int, int], scale: np.ndarray) -> Camera | None:
    if camera is None or scale[0] != scale[1]:
        return None
    center = (np.array(camera.center) - corner) * scale
    return Camera(camera.focal * float(scale[0]), camera.height, (float(center[0]), float(center[1])))


def _scale_points(clip: Clip, window: tuple[int, int, int, int], scale: np.ndarray) -> dict:
    """`clip.info` with its annotated points moved to the new pixels."""
    if "points" not in clip.info:
        return clip.info
    points = []
    for entry in clip.info["points"]:
        moved = {}
        for kind, listed in entry.items():
            if kind not in ("positive", "negative"):
                moved[kind] = listed
                continue
            if any(not (window[0] <= x < window[2] and window[1] <= y < window[3]) for x, y in listed):
                raise InputError(clip.name, "points", f"{listed} lie outside the crop", "Squeeze instead (crop=False).")
            moved[kind] = [((np.array(point) - window[:2]) * scale).tolist() for point in listed]
        points.append(moved)
    return {**clip.info, "points": points}
