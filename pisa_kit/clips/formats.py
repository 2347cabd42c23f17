"""Every layout a clip can have on disk: PisaBench's, frame folders, videos and our own npz (PISA, released data)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pisa_kit.clips.annotations import check_points
from pisa_kit.clips.archives import Folder, locate
from pisa_kit.clips.clip import Clip, check_fps
from pisa_kit.clips.media import VIDEO_SUFFIXES, read_video
from pisa_kit.clips.npz import read_clip_file, write_clip_file
from pisa_kit.clips.pisabench import atomic_clip_folder, fill_clip_folder, is_clip_folder, read_clip_folder
from pisa_kit.core.errors import InputError, check_choice

LAYOUTS = ("npz", "sim", "real", "psft", "oro")


@dataclass(frozen=True)
class Location:
    """Where one clip lies.

    Args:
        name: its path below the dataset, e.g. "seen/00"; the same for a folder and for a zip of it.
        folder: the clip's folder, or the folder of its file.
        file: the clip's file (npz or video) in `folder`; None when the folder itself is the clip.
    """

    name: str
    folder: Folder
    file: str | None = None

    def __str__(self) -> str:
        return str(self.folder / self.file if self.file else self.folder)


def find_clips(path) -> list[Location]:
    """The clips of a dataset folder, a zip (or "sim.zip/seen", a part of one), or of a single clip, sorted by name.

    A folder with frames, a movie, masks or a `clip_info.json` is a clip, so is an empty folder (reading it says so),
    and so is every npz or video file elsewhere. A top folder called like the dataset is left out of the names:
    `real.zip` holding `real/clip_a` has the clip "clip_a".

    Raises:
        InputError: nothing is there, no clip in it, two of one name, or an unsafe or broken archive.
    """
    folder, file = locate(path)
    if file is not None:
        return [Location(Path(file).stem, folder, file)]
    if is_clip_folder(*folder.list()):
        return [Location(folder.stem or "clip", folder)]
    locations = list(_walk(folder, ""))
    if not locations:
        raise InputError(path, "clips", "there are none in here", "Name a folder or zip with frames, npz or mp4 files.")
    prefix = f"{folder.stem}/"
    if all(location.name.startswith(prefix) for location in locations):
        locations = [replace(location, name=location.name.removeprefix(prefix)) for location in locations]
    name, count = Counter(location.name for location in locations).most_common(1)[0]
    if count > 1:
        raise InputError(path, name, "is the name of two clips", "Rename the file or the folder of one of them.")
    return sorted(locations, key=lambda location: location.name)


def _walk(folder: Folder, name: str) -> Iterator[Location]:
    files, folders = folder.list()
    if name and is_clip_folder(files, folders):
        yield Location(name, folder)
        return
    stems = [Path(file).stem for file in files]
    for file, stem in zip(files, stems, strict=True):
        if file.lower().endswith((".npz", *VIDEO_SUFFIXES)):
            unique = stem if stems.count(stem) == 1 else file
            yield Location(f"{name}/{unique}" if name else unique, folder, file)
    for child in folders:
        yield from _walk(folder / child, f"{name}/{child}" if name else child)


def read_clip(location, fps: float | None = None) -> Clip:
    """Reads a clip in any layout.

    Args:
        location: from `find_clips`, or the path of a single clip.
        fps: overrides the rate in `clip_info.json` or in the file; without either, real clips have 120 and
            simulated ones 16, and a plain frame folder needs this argument.

    Raises:
        InputError: whatever is wrong with the clip; the message names file, field and remedy.
    """
    if not isinstance(location, Location):
        found = find_clips(location)
        if len(found) > 1:
            names = ", ".join(item.name for item in found[:3])
            raise InputError(location, "clip", f"holds {len(found)} clips ({names} ...)", "Name one of them.")
        location = found[0]
    if fps is not None:
        check_fps(fps, location)
    if location.file is None:
        return read_clip_folder(location.folder, location.name, fps)
    if location.file.lower().endswith(".npz"):
        clip = read_clip_file(location.folder.read(location.file))
        return clip if fps is None else replace(clip, fps=fps)
    if not location.file.lower().endswith(VIDEO_SUFFIXES):
        raise InputError(location, "file", "is no clip", f"Give a folder, .npz or {', '.join(VIDEO_SUFFIXES)}.")
    frames, rate = read_video(location.folder.read(location.file))
    return Clip(frames, rate if fps is None else fps, name=location.name)


def write_clip(clip: Clip, path, layout: str = "npz") -> Path:
    """Writes a clip whole or not at all; an existing clip at `path` is replaced only once the new one is complete.

    Args:
        path: an .npz file for the layout "npz", else the clip's folder.
        layout: "npz" keeps everything. "sim", "oro" keep frames (as jpg) and masks, "psft" frames, "real" frames,
            `info["points"]`, and masks if there are any. "sim" and "real" also keep caption, fps and `info`.

    Returns:
        `path`.

    Raises:
        InputError: unknown layout, something the layout needs is missing, or `path` is a folder that is not a clip.
    """
    path = Path(path)
    check_choice(layout, LAYOUTS, "layout")
    if layout == "npz":
        write_clip_file(clip, path)
        return path
    if layout in ("sim", "oro") and clip.masks is None:
        raise InputError(clip.name, "masks", f"are missing, and the layout {layout} needs them", "Choose psft or npz.")
    if layout == "real":
        check_points(clip.info.get("points"), clip.name)
    with atomic_clip_folder(path) as folder:
        fill_clip_folder(clip, folder, layout)
    return path
