"""Video files and single images as arrays: mp4 through PyAV, gif and images through Pillow."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import GifImagePlugin, Image

from pisa_kit.clips.archives import label
from pisa_kit.clips.clip import check_fps
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import atomic_path, parsed, plain_file

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif")
_UNDECODABLE = "cannot be decoded as video", "Restore the file or convert it to H.264 mp4."


def read_video(path, start: int = 0, end: int | None = None, longest: int | None = None) -> tuple[np.ndarray, float]:
    """Frames `start` up to, not including, `end` of a video file or gif.

    Frames come as they are stored: a phone's rotation tag is not applied (see `read_rotation`).

    Args:
        path: the file, or an open binary file with a `name`.
        end: default: all that there are.
        longest: larger frames shrink to this longest side, pixels, while they are read.

    Returns:
        frames (T, H, W, 3) uint8, and the playback rate in frames per second.

    Raises:
        InputError: missing, damaged or truncated file, no video in it, or fewer than `end` frames.
    """
    name = label(path)
    if isinstance(path, (str, Path)):
        plain_file(path)
    decode = _decode_gif if name.lower().endswith(".gif") else _decode_stream
    frames, count = [], 0
    for frame, rate in decode(path, name, longest):  # noqa: B007
        if count >= start:
            frames.append(frame)
        count += 1
        if count == end:
            break
    if not count:
        raise InputError(name, "frames", "none can be decoded", "The file is empty or cut off: copy it again.")
    last = count if end is None else end
    if not 0 <= start < last <= count:
        problem = f"are {start} and {last}, of {count} frames that were read"
        raise InputError(name, "start, end", problem, "Give 0 <= start < end, within the video.")
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(name, "frames", "change their size", "Convert the video to one size.")
    return np.stack(frames), rate


def read_rotation(path) -> int:
    """Clockwise degrees (0, 90, 180, 270) by which a phone's rotation tag says to turn the stored frames."""
    plain_file(path)
    with parsed(path, "frames", *_UNDECODABLE), av.open(str(path)) as container:
        return -int(next(container.decode(video=0)).rotation) % 360


def _size(width: int, height: int, longest: int | None) -> tuple[int, int]:
    share = min(1.0, longest / max(width, height)) if longest else 1.0
    return max(1, round(width * share)), max(1, round(height * share))


def _decode_stream(path, name: str, longest: int | None) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a video file as (H, W, 3) uint8, each with the frame rate."""
    source = path if hasattr(path, "read") else str(path)
    with parsed(name, "frames", *_UNDECODABLE), av.open(source) as container:
        stream = container.streams.video[0]
        rate = check_fps(float(stream.average_rate or 0), name)
        entries = stream.index_entries
        if len(entries) and container.size < max(entry.pos + entry.size for entry in entries):
            raise EOFError("it ends before its index says")
        for frame in container.decode(stream):
            width, height = _size(frame.width, frame.height, longest)
            yield frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA"), rate


def _decode_gif(path, name: str, longest: int | None) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a gif as (H, W, 3) uint8, each with the frame rate."""
    with parsed(name, "frames", *_UNDECODABLE), Image.open(path) as image:
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            durations.append(image.info.get("duration") or 100)
        rate = _gif_rate(durations)
        for index in range(image.n_frames):
            image.seek(index)
            size = _size(*image.size, longest)
            yield np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX)), rate


def _gif_durations(count: int, fps: float) -> np.ndarray:
    """(count,) milliseconds: gif counts hundredths of a second, so single frames round and their sum does not."""
    return 10 * np.diff(np.round(np.arange(count + 1) * 100 / fps)).astype(int)


def _gif_rate(durations: list[int]) -> float:
    """Frames per second of a gif; a whole number whenever one fits its rounded durations."""
    mean = 1000 * len(durations) / sum(durations)
    whole = round(mean)
    if whole > 0 and np.array_equal(_gif_durations(len(durations), whole), durations):
        return float(whole)
    return mean


def write_mp4(path, frames: np.ndarray, fps: float) -> None:
    """Writes frames (T, H, W, 3) uint8 as H.264 in yuv420p, which every player shows.

    That pixel format needs even sides: an odd side grows by one pixel, a copy of the last one.
    """
    rate = Fraction(check_fps(fps, path)).limit_denominator(100_000)
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "fast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def write_gif(path, frames: np.ndarray, fps: float) -> None:
    """Writes frames (T, H, W, 3) uint8 as a looping gif, 256 colours per frame.

    Frames are written one by one because Pillow's own writer merges frames that look the same,
    and a frozen clip would come back with a single frame. Browsers slow down above 50 fps.
    """
    durations = _gif_durations(len(frames), check_fps(fps, path))
    if durations.min() < 10:
        raise InputError(path, "fps", f"is {fps:g}; a gif's shortest frame lasts 10 ms", "Write at most 100 fps.")
    images = [Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames]
    parts = list(GifImagePlugin.getheader(images[0], info={"loop": 0})[0])
    for image, duration in zip(images, durations.tolist(), strict=True):
        parts += GifImagePlugin.getdata(image, duration=duration, include_color_table=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join([*parts, b";"]))


def read_image(file, name: str) -> np.ndarray:
    """One image as (H, W, 3) uint8 RGB.

    Raises:
        InputError: it is not an image, or it is damaged.
    """
    remedy = "Restore this frame from its source."
    with parsed(name, "frames", "is not a readable image", remedy), Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def encode_image(frame: np.ndarray, kind: str = "JPEG") -> bytes:
    """An (H, W, 3) uint8 image as the bytes of a file: PNG, or JPEG with quality 95 and full colour resolution."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, kind, quality=95, subsampling=0)
    return buffer.getvalue()
