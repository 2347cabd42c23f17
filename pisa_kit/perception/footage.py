"""From a phone video to a clip in the benchmark's real layout, and from any clip to a square one."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from pisa_kit.clips.clip import Clip, check_fps
from pisa_kit.clips.formats import write_clip
from pisa_kit.clips.media import read_rotation, read_video
from pisa_kit.clips.resize import to_square
from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.perception.background_tracker import Track, check_point, track_background


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
    fixes: dict[int, tuple[float, float]] | None = None,
    longest: int | None = None,
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
        fixes: {frame, counted from `start`: (x, y)}: from there on it is tracked anew.
        longest: shrinks the result, longest side in pixels; points and crop stay pixels of the video.

    Raises:
        InputError: unreadable video, or a value that does not fit it.
    """
    check_fps(fps, path)
    frames, source, scale = read_footage(path, rotate, start, end, longest)
    points = {frame: np.array(place, float) * scale for frame, place in ({0: point} | (fixes or {})).items()}
    _check_points(points, frames, path)
    if crop is not None:
        frames, points = _crop(frames, points, [round(value * scale) for value in crop], path)
        source["crop"] = list(crop)
    info = {"points": [{"positive": [points[0].tolist()], "negative": []}], "source": source}
    clip = Clip(np.ascontiguousarray(frames), float(fps), caption=caption, name=Path(out or path).stem, info=info)
    if track:
        followed = follow(clip.frames, points)
        lost = [int(frame) for frame in followed.lost.nonzero()[0]]
        clip = replace(clip, masks=followed.masks[:, None], info={**info, "lost": lost})
    if size is not None:
        clip = to_square(clip, size)
    if out is not None:
        write_clip(clip, out, "real")
    return clip


def read_footage(path, rotate=None, start=0, end=None, longest=None) -> tuple[np.ndarray, dict, float]:
    """A phone video as it is looked at; arguments as of `import_video`.

    Returns:
        frames (T, H, W, 3) uint8; where they come from, for `info["source"]`; their pixels per pixel of the video.
    """
    rotate = read_rotation(path) if rotate is None else rotate
    check(Literal[0, 90, 180, 270], rotate, path, "rotate", "Give degrees clockwise.")
    frames, _ = read_video(path, start, end, longest)
    source = {"file": Path(path).name, "start": start, "end": start + len(frames), "rotate": rotate}
    scale = max(frames.shape[1:3]) / max(read_video(path, 0, 1)[0].shape[1:3]) if longest else 1.0
    return np.rot90(frames, -rotate // 90, axes=(1, 2)), source | ({"scale": scale} if longest else {}), scale


def follow(frames: np.ndarray, points: dict[int, tuple[float, float]]) -> Track:
    """Tracks the object from the first named frame on, and anew from every other named frame.

    Args:
        frames: (T, H, W, 3) uint8.
        points: {frame: (x, y) on the object there, pixels}; one is enough, more correct it where it was lost.

    Raises:
        InputError: no point, or none on an object.
    """
    _check_points(points, frames, "points")
    masks = np.zeros(frames.shape[:3], bool)
    for frame in sorted(points):
        masks[frame:] = track_background(frames[frame:], tuple(points[frame])).masks
    return Track(masks, ~masks.any((1, 2)))


def _check_points(points: dict, frames: np.ndarray, label) -> None:
    if not points or not all(0 <= frame < len(frames) for frame in points):
        problem = f"name the frames {sorted(points)} of {len(frames)}"
        raise InputError(label, "points", problem, "Name the object's pixel in at least one frame.")
    for point in points.values():
        check_point(point, frames, label)


def _crop(frames: np.ndarray, points: dict, crop, label) -> tuple[np.ndarray, dict]:
    left, top, width, height = crop
    if min(left, top) < 0 or min(width, height) < 1 or left + width > frames.shape[2] or top + height > frames.shape[1]:
        problem = f"is {tuple(crop)} in a frame of {frames.shape[2]}x{frames.shape[1]}"
        raise InputError(label, "crop", problem, "Give left, top, width, height in pixels of the rotated frame.")
    frames = frames[:, top : top + height, left : left + width]
    points = {frame: point - (left, top) for frame, point in points.items()}
    _check_points(points, frames, label)
    return frames, points
