"""A clip as a folder of numbered frames: reads all of PisaBench's layouts and writes them whole or not at all."""

import os
import re
import shutil
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from pisa_kit.clips.annotations import Points, dropped_index, read_masks
from pisa_kit.clips.archives import Folder
from pisa_kit.clips.clip import Clip
from pisa_kit.clips.media import VIDEO_SUFFIXES, encode_image, read_image, read_video, write_gif, write_mp4
from pisa_kit.clips.npz import encode_json
from pisa_kit.core.checks import Fps, Text, check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import atomic_folder, beside, parse_json

REAL_FPS, SIM_FPS = 120.0, 16.0
_MOVIES = ("movie.mp4", "movie.gif")
_INFO = "clip_info.json"
_MASKS = ("mask.npz", "mask.npy")
_FRAME = re.compile(r"(.*?)(\d+)(\.jpe?g|\.png)", re.IGNORECASE)
_BENCHMARK_SERIES = ("rgba_", "rbga_")


def is_clip_folder(files: list[str], folders: list[str]) -> bool:
    """Whether a folder with these files and folders is one clip rather than a collection of clips.

    It is if it has frames, a movie, masks or annotations and no clip files of their own, or if it is empty.
    """
    ours = [file for file in files if file in (*_MOVIES, *_MASKS, _INFO) or _FRAME.fullmatch(file)]
    clip_files = [file for file in files if file not in ours and file.lower().endswith((".npz", *VIDEO_SUFFIXES))]
    return bool(ours) and not clip_files or not (files or folders)


def read_clip_folder(folder: Folder, name: str, fps: float | None) -> Clip:
    """The clip in `folder`; see `pisa_kit.layouts.read_clip`."""
    files = folder.list()[0]
    info = _read_info(folder) if _INFO in files else {}
    series = _frame_series(files, folder)
    movie = next((name for name in _MOVIES if name in files), None)
    if series:
        frames = _read_frames(folder, series)
        real = not series[0].startswith(_BENCHMARK_SERIES)
    elif movie:
        frames, real = read_video(folder.read(movie))[0], movie == "movie.mp4"
    else:
        raise InputError(folder, "frames", "there are none", "Put 00000.jpg ... or rgba_00000.jpg ... in the folder.")
    caption, declared = info.pop("text", ""), info.pop("fps", None)
    fps = declared if fps is None else fps
    if fps is None and (movie or not real or "points" in info):
        fps = REAL_FPS if real else SIM_FPS
    if fps is None:
        raise InputError(folder, "fps", "is not known for a plain frame folder", "Say it (fps=...).")
    masks = _folder_masks(folder, files, frames)
    if masks is not None and real and "points" in info:
        masks, info["points"] = _dropped_last(masks, info["points"], folder)
    return Clip(frames, fps, masks=masks, caption=caption, name=name, info=info)


class Info(TypedDict, total=False):
    """What `clip_info.json` may say; further facts are kept as they are."""

    text: Text
    fps: Fps | None
    points: Points


def _read_info(folder: Folder) -> dict:
    label = folder / _INFO
    info = parse_json(folder.read(_INFO).read(), label)
    check(Info, info, label, remedy='Write {"points": [{"positive": [[x, y]]}, ...], "text": "...", "fps": 120}.')
    return info


def _frame_series(files: list[str], label) -> list[str]:
    """The frame files in order; InputError for gaps, doubles and several series side by side."""
    series = defaultdict(dict)
    for file in files:
        match = _FRAME.fullmatch(file)
        if match:
            number = int(match[2])
            if number in series[match[1]]:
                problem = f"frame {number} exists twice ({series[match[1]][number]}, {file})"
                raise InputError(label, "frames", problem, "Delete one of them.")
            series[match[1]][number] = file
    if not series:
        return []
    named = [prefix for prefix in (*_BENCHMARK_SERIES, "") if prefix in series] or list(series)
    if len(named) > 1 and not set(named) & {*_BENCHMARK_SERIES, ""}:
        problem = f"several series lie side by side ({', '.join(sorted(named))})"
        raise InputError(label, "frames", problem, "Keep one series per folder.")
    frames = series[named[0]]
    return _check_numbering(named[0], frames, label)


def _check_numbering(prefix: str, frames: dict[int, str], label) -> list[str]:
    """Files by number; a benchmark series starts at 0, others at 0 or 1."""
    first = min(frames)
    from_one = first > 0 and prefix not in _BENCHMARK_SERIES and len(Path(frames[first]).stem) != 5
    missing = sorted(set(range(int(from_one), max(frames))) - set(frames))
    if missing:
        problem = f"number {missing[0]} is missing ({len(missing)} in all, of {len(missing) + len(frames)})"
        raise InputError(label, "frames", problem, "Restore it, or number them without gaps.")
    return [frames[number] for number in sorted(frames)]


def _read_frames(folder: Folder, series: list[str]) -> np.ndarray:
    frames = [read_image(folder.read(file), str(folder / file)) for file in series]
    for file, frame in zip(series, frames, strict=True):
        if frame.shape != frames[0].shape:
            size, first = (f"{image.shape[1]}x{image.shape[0]}" for image in (frame, frames[0]))
            problem = f"is {size}, but {series[0]} is {first}"
            raise InputError(folder / file, "frames", problem, "Give all frames one size.")
    return np.stack(frames)


def _folder_masks(folder: Folder, files: list[str], frames: np.ndarray) -> np.ndarray | None:
    name = next((name for name in _MASKS if name in files), None)
    if name is None:
        return None
    masks = read_masks(folder.read(name))
    found, wanted = (masks.shape[0], *masks.shape[2:]), frames.shape[:3]
    if found != wanted:
        has, needs = ("{0} frames of {2}x{1}".format(*shape) for shape in (found, wanted))
        remedy = "Give one mask per frame, resized to it by nearest neighbour."
        raise InputError(folder / name, "mask", f"has {has}, the folder {needs}", remedy)
    return masks


def _dropped_last(masks: np.ndarray, points: list, folder: Folder) -> tuple[np.ndarray, list]:
    """Masks and points of a real clip with the dropped object moved to the end, where `Clip` has it."""
    if masks.shape[1] != len(points):
        problem = f"has {masks.shape[1]} objects, clip_info.json {len(points)}"
        raise InputError(folder / "mask.npz", "mask", problem, "Give one mask per annotated object.")
    dropped = dropped_index(points)
    order = [index for index in range(len(points)) if index != dropped] + [dropped]
    return masks[:, order], [points[index] for index in order]


def fill_clip_folder(clip: Clip, folder: Path, layout: str) -> None:
    """Writes the files of a layout into an empty folder; see `formats.write_clip`."""
    prefix = "" if layout == "real" else "rgba_"
    for index, frame in enumerate(clip.frames):
        (folder / f"{prefix}{index:05d}.jpg").write_bytes(encode_image(frame))
    if layout in ("sim", "real"):
        facts = {**clip.info, "text": clip.caption, "fps": clip.fps}
        (folder / _INFO).write_bytes(encode_json(facts, folder.name, "info"))
    if layout == "sim":
        write_gif(folder / "movie.gif", clip.frames, clip.fps)
    if layout == "real":
        write_mp4(folder / "movie.mp4", clip.frames, clip.fps)
    if layout == "oro":
        np.save(folder / "mask.npy", clip.masks)
    elif layout != "psft" and clip.masks is not None:
        np.savez_compressed(folder / "mask.npz", mask=clip.masks)


@contextmanager
def atomic_clip_folder(path):
    """Yields a temporary folder beside `path`; it takes `path`'s place only if the block succeeds.

    Raises:
        InputError: `path` cannot be written, is a file, or is a folder with something other than one clip in it.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and _is_only_clip(path)):
        problem = "exists and is not a clip's folder"
        raise InputError(path, "output", problem, "Choose another name, or delete it yourself.")
    with atomic_folder(path, _swap) as temporary:
        yield temporary


def _swap(new: Path, path: Path) -> None:
    """Renames `new` to `path`; what was there ends under `new`'s name (for the caller to delete)."""
    if not path.exists():
        os.rename(new, path)
        return
    old = Path(tempfile.mkdtemp(**beside(path)))
    old.rmdir()  # Windows renames onto nothing that is there
    os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def _is_only_clip(path: Path) -> bool:
    ours = re.compile(r"(rgba_|rbga_)?\d{5}\.(jpg|png)")
    names = (*_MOVIES, *_MASKS, _INFO, ".DS_Store")
    with os.scandir(path) as entries:  # hidden ones, too
        return all(not one.is_dir() and (one.name in names or ours.fullmatch(one.name)) for one in entries)
