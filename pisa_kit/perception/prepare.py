"""PisaBench, or any clips, made ready: square, at one size, with masks; resumable, and nothing is lost in silence."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from typing_extensions import TypedDict

from pisa_kit.clips.annotations import dropped_index
from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import Location, find_clips, read_clip, write_clip
from pisa_kit.clips.resize import resample, to_square
from pisa_kit.core import artefacts
from pisa_kit.core.checks import Fps, Frames, PlainName, Side, check, check_fields, check_same
from pisa_kit.core.devices import check_device
from pisa_kit.core.errors import InputError
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import locked, read_json, write_json
from pisa_kit.perception.background_tracker import track_background
from pisa_kit.perception.trackers import SAM2, Sam2, load_sam2


@dataclass(frozen=True)
class Settings:
    """How clips are prepared; written beside them.

    Args:
        size: side of the frames, pixels.
        fps: frames per second; None keeps each clip's own.
        frames: frames per clip at that rate; None keeps all.
        crop: cut out the centred square instead of squeezing the frame as the benchmark does.
        tracker: of clips without masks: "background", which needs no download, or "sam2", as the paper.
        weights: of SAM 2: a name on the Hugging Face hub, or a folder.
    """

    size: Side = 256
    fps: Fps | None = None
    frames: Frames | None = None
    crop: bool = False
    tracker: Literal["background", "sam2"] = "background"
    weights: str = SAM2

    def __post_init__(self):
        check_fields(self, "arguments")


class Entry(TypedDict, total=False):
    """One clip: what became of it; `lost` numbers the frames without the object."""

    frames: int
    lost: list[int]
    bytes: int
    hash: str
    error: str


class Manifest(TypedDict):
    """What `manifest.json` holds."""

    settings: dict[str, Any]
    clips: dict[str, Entry]


def prepare(source, out, settings: Settings, device: str = "cpu", verify: bool = False) -> dict:
    """Prepares every clip of a dataset in any layout; what is there already is kept.

    Masks that come with a clip are used as they are. A real clip's dropped object is tracked from its annotated points.

    Args:
        source: folder or zip with clips in any of `formats.LAYOUTS`, e.g. PisaBench's real.zip or sim.zip/unseen.
        out: receives one npz per clip and manifest.json.
        device: of SAM 2.
        verify: of clips that are there, compare the hash with the manifest's, too, not the size alone.

    Returns:
        The `Manifest`.

    Raises:
        InputError: nothing to prepare, or a folder prepared with other settings.
    """
    out, locations = Path(out), find_clips(source)
    if Path(source).resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(out, "output", "is the source itself, or in it", "Choose another folder.")
    check_device(device)
    tracker = load_sam2(settings.weights, device) if settings.tracker == "sam2" else None
    with locked(out):
        return _prepare(source, locations, out, settings, tracker, verify)


def _prepare(
    source, locations: list[Location], out: Path, settings: Settings, tracker: Sam2 | None, verify: bool
) -> dict:
    manifest = out / "manifest.json"
    wanted = {"source": str(Path(source).resolve())} | asdict(settings)
    found = _read_manifest(manifest) if manifest.exists() else {"settings": wanted, "clips": {}}
    check_same(found["settings"], wanted, manifest, "the clips that are already there")
    there = {location.name for location in locations}
    found["clips"] = {name: entry for name, entry in found["clips"].items() if name in there}  # others are gone
    write_json(manifest, found)
    for location in Bar(locations, desc=f"preparing {out.name}", unit="clip"):
        path, known = out / f"{location.name}.npz", found["clips"].get(location.name, {})
        if "frames" in known and artefacts.is_whole(path, known, verify):
            continue
        try:
            check(PlainName, location.name, location, "name", "Rename the file.")
            clip = to_square(read_clip(location), settings.size, settings.crop)
            if settings.fps or settings.frames:
                clip = resample(clip, settings.fps or clip.fps, settings.frames)
            clip = clip if clip.masks is not None else _tracked(clip, tracker)
            if not clip.dropped[0].any():
                problem = "does not show the dropped object"
                raise InputError(location, "frame 0", problem, "Use a larger size, other points, or another tracker.")
        except InputError as error:
            found["clips"][location.name] = {"error": str(error)}
        else:
            write_clip(replace(clip, name=location.name), path)
            lost = (~clip.dropped.any((1, 2))).nonzero()[0].tolist()
            found["clips"][location.name] = {"frames": len(clip), "lost": lost, **artefacts.entry(path)}
        write_json(manifest, found)
    return found


def lines(manifest: dict) -> list[str]:
    """Text for a terminal: `prepared n of N`, clips in which the object is lost, and what failed, by name."""
    clips = manifest["clips"]
    done = {name: entry for name, entry in clips.items() if "frames" in entry}
    lost = {name: f"{len(one['lost'])} of {one['frames']} frames" for name, one in done.items() if one["lost"]}
    failed = [f"failed: {name}: {entry['error']}" for name, entry in clips.items() if "error" in entry]
    return [f"prepared {len(done)} of {len(clips)}", *(f"lost in {n}: {name}" for name, n in lost.items()), *failed]


def read_prepared(folder) -> list[Clip]:
    """The clips that `prepare` wrote, in the order of their names.

    Args:
        folder: one that `prepare` wrote, or one that holds several, which their clips are then named after: "real/a".

    Raises:
        InputError: not such a folder, or no clip in it.
    """
    folder = Path(folder)
    parts = sorted(path.parent for path in folder.glob("*/manifest.json"))
    if parts and not (folder / "manifest.json").exists():
        return [replace(clip, name=f"{part.name}/{clip.name}") for part in parts for clip in read_prepared(part)]
    entries = _read_manifest(folder / "manifest.json")["clips"]
    names = sorted(name for name, entry in entries.items() if "frames" in entry)
    if not names:
        raise InputError(folder, "clips", "none could be prepared", "See the errors in manifest.json.")
    return [read_clip(folder / f"{name}.npz") for name in names]


def _read_manifest(path: Path) -> dict:
    found = read_json(path)
    remedy = "It was not made by `pisa prepare`: choose another folder."
    check(Manifest, found, path, remedy=remedy)
    for name in (name for name, entry in found["clips"].items() if "frames" in entry):  # what failed has any name
        check(PlainName, name, path, "clips", remedy)
    return found


def _tracked(clip: Clip, tracker: Sam2 | None) -> Clip:
    """The clip with the mask of its dropped object, which its annotated points name."""
    if "points" not in clip.info:
        remedy = "Give masks, or a clip_info.json with points."
        raise InputError(clip.name, "points", "are missing, and so are masks", remedy)
    points = clip.info["points"][dropped_index(clip.info["points"])]
    if tracker is None:
        track = track_background(clip.frames, np.mean(points["positive"], 0))
    else:
        track = tracker.follow(clip.frames, points)
    return replace(clip, masks=track.masks[:, None])
