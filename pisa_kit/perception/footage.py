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
from pisa_kit.perception.background_tracker import check_point, track_background


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
    check(Literal[0, 90, 180, 270], rotate, path, "rotate", "Give degrees clockwise.")
    frames, _ = read_video(path, start, end)
    source = {"file": Path(path).name, "start": start, "end": start + len(frames), "rotate": rotate}
    frames = np.rot90(frames, -rotate // 90, axes=(1, 2))
    check_point(point, frames, path)
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


def _crop(frames: np.ndarray, point, crop, label) -> tuple[np.ndarray, tuple[float, float]]:
    left, top, width, height = crop
    if min(left, top) < 0 or min(width, height) < 1 or left + width > frames.shape[2] or top + height > frames.shape[1]:
        problem = f"is {tuple(crop)} in a frame of {frames.shape[2]}x{frames.shape[1]}"
        raise InputError(label, "crop", problem, "Give left, top, width, height in pixels of the rotated frame.")
    frames, point = frames[:, top : top + height, left : left + width], (point[0] - left, point[1] - top)
    check_point(point, frames, label)
    return frames, point
