"""From a phone video to a clip in the benchmark's real layout, and from any clip to a square one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pisa_kit.background_tracker import track_background
from pisa_kit.clips import Camera, Clip, check_fps
from pisa_kit.files import InputError
from pisa_kit.layouts import write_clip
from pisa_kit.video import read_rotation, read_video


def import_video(
    path,
    out,
    fps: float,
    point: tuple[float, float],
    rotate: int | None = None,
    start: int = 0,
    end: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
    size: int | None = None,
    caption: str = "",
    track: bool = False,
) -> Clip:
    """Cuts a clip out of a phone video and writes it in the real layout, with its annotation and where it came from.

    Args:
        path: the video.
        out: the clip's folder; None writes nothing.
        fps: the rate at which it was recorded (a slow-motion file plays more slowly than it was recorded).
        point: (x, y) pixel on the dropped object in the first frame kept, after rotation, before crop and size.
        rotate: clockwise turn of the stored frames: 0, 90, 180 or 270; None follows the file's rotation tag.
        start: first frame kept, counted from 0: the one in which the object is let go.
        end: first frame no longer kept; None keeps all to the end.
        crop: (left, top, width, height) in rotated pixels.
        size: squeezes the result to size x size pixels, as the benchmark does.
        caption: the prompt, e.g. "A red ball falls."
        track: also tracks the object against the background; the frames in which it is lost stand in `info["lost"]`.

    Raises:
        InputError: unreadable video, or a value that does not fit it.
    """
    check_fps(fps, path)
    rotate = read_rotation(path) if rotate is None else rotate
    if rotate not in (0, 90, 180, 270):
        raise InputError(path, "rotate", f"is {rotate!r}", "Give 0, 90, 180 or 270 degrees clockwise.")
    frames, _ = read_video(path, start, end)
    source = {"file": Path(path).name, "start": start, "end": start + len(frames), "rotate": rotate}
    frames = np.rot90(frames, -rotate // 90, axes=(1, 2))
    _check_point(point, frames, path, "frame")
    if crop is not None:
        frames, point = _crop(frames, point, crop, path)
        source["crop"] = list(crop)
    info = {"points": [{"positive": [list(point)], "negative": []}], "source": source}
    clip = Clip(np.ascontiguousarray(frames), float(fps), caption=caption, name=Path(out or path).stem, info=info)
    if track:
        followed = track_background(clip.frames, tuple(point))
        lost = [int(frame) for frame in followed.lost.nonzero()[0]]
        clip = replace(clip, masks=followed.masks[:, None], info={**info, "lost": lost})
    if size is not None:
        clip = to_square(clip, size)
    if out is not None:
        write_clip(clip, out, "real")
    return clip


def _check_point(point, frames: np.ndarray, label, area: str) -> None:
    height, width = frames.shape[1:3]
    if len(point) != 2 or not (0 <= point[0] < width and 0 <= point[1] < height):
        problem = f"is {tuple(point)}, outside the {width}x{height} {area}"
        raise InputError(label, "point", problem, "Give the pixel x,y of the object in the first frame, rotated.")


def _crop(frames: np.ndarray, point, crop, label) -> tuple[np.ndarray, tuple[float, float]]:
    left, top, width, height = crop
    if left < 0 or top < 0 or width < 1 or height < 1:
        raise InputError(label, "crop", f"is {tuple(crop)}", "Give left, top, width, height in pixels.")
    if left + width > frames.shape[2] or top + height > frames.shape[1]:
        problem = f"is {tuple(crop)}, beyond the {frames.shape[2]}x{frames.shape[1]} frame"
        raise InputError(label, "crop", problem, "Stay within the rotated frame.")
    frames = frames[:, top : top + height, left : left + width]
    point = (point[0] - left, point[1] - top)
    _check_point(point, frames, label, "crop")
    return frames, point


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
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise InputError(clip.name, "size", f"is {size!r}", "Give the side in pixels, e.g. 256.")
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
