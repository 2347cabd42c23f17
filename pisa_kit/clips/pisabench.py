"""A clip as a folder of numbered frames: reads all of PisaBench's layouts and writes them whole or not at all."""

import json
import os
import re
import shutil
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pisa_kit.clips.annotations import check_points, dropped_index, read_masks
from pisa_kit.clips.archives import Folder
from pisa_kit.clips.clip import Clip, check_fps
from pisa_kit.clips.media import VIDEO_SUFFIXES, encode_image, read_image, read_video, write_gif, write_mp4
from pisa_kit.clips.npz import encode_json
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import UNFINISHED, atomic_folder

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
    caption = info.pop("text", "")
    if not isinstance(caption, str):
        raise InputError(folder / _INFO, "text", f"is {caption!r}", "Give the prompt as a string.")
    declared = info.pop("fps", None)
    if fps is None:
        benchmark = real and ("points" in info or movie)
        fps = _frame_rate(folder, declared, SIM_FPS if not real else REAL_FPS if benchmark else None)
    masks = _folder_masks(folder, files, frames)
    if masks is not None and real and "points" in info:
        masks, info["points"] = _dropped_last(masks, info["points"], folder)
    return Clip(frames, fps, masks=masks, caption=caption, name=name, info=info)


def _frame_rate(folder: Folder, declared, default: float | None) -> float:
    """What `clip_info.json` declares, else the layout's default; InputError when there is neither."""
    if declared is not None:
        return check_fps(declared, folder / _INFO)
    if default is None:
        raise InputError(folder, "fps", "is not known for a plain frame folder", "Say it (fps=...).")
    return default


def _read_info(folder: Folder) -> dict:
    label = folder / _INFO
    try:
        info = json.loads(folder.read(_INFO).read())
    except (ValueError, RecursionError) as error:
        raise InputError(label, "file", f"is not JSON ({error})", "Restore it from its source.") from error
    if not isinstance(info, dict):
        raise InputError(label, "file", "is not a JSON object", 'Write {"points": [...], "text": "..."}.')
    if "points" in info:
        check_points(info["points"], label)
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
    if first > 1 or (first == 1 and (prefix in _BENCHMARK_SERIES or len(Path(frames[1]).stem) == 5)):
        problem = f"the first one is {frames[first]}, those before it are missing"
        raise InputError(label, "frames", problem, "Restore them, or number from 0.")
    missing = sorted(set(range(first, max(frames))) - set(frames))
    if missing:
        problem = f"number {missing[0]} is missing ({len(missing)} in all, of {max(frames) - first + 1})"
        raise InputError(label, "frames", problem, "Restore the frame, or number them without gaps.")
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
    if len(masks) != len(frames):
        problem = f"has {len(masks)} frames, the folder {len(frames)}"
        raise InputError(folder / name, "mask", problem, "Give one mask per frame.")
    if masks.shape[2:] != frames.shape[1:3]:
        problem = f"is {masks.shape[3]}x{masks.shape[2]}, the frames {frames.shape[2]}x{frames.shape[1]}"
        raise InputError(folder / name, "mask", problem, "Resize it to the frames, nearest neighbour.")
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
    if path.exists() and not (path.is_dir() and _is_only_clip(Folder(path))):
        problem = "exists and is not a clip's folder"
        raise InputError(path, "output", problem, "Choose another name, or delete it yourself.")
    with atomic_folder(path, _swap) as temporary:
        yield temporary


def _swap(new: Path, path: Path) -> None:
    """Renames `new` to `path`; what was there ends under `new`'s name (for the caller to delete)."""
    if not path.exists():
        os.rename(new, path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}{UNFINISHED}{os.getpid()}."))
    os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def _is_only_clip(folder: Folder) -> bool:
    files, folders = folder.list()
    ours = re.compile(r"(rgba_|rbga_)?\d{5}\.(jpg|png)")
    return not folders and all(file in (*_MOVIES, *_MASKS, _INFO) or ours.fullmatch(file) for file in files)
