"""Datasets of simulated drops: written by several processes, resumed after an interruption, described by a manifest."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NotRequired

from joblib import delayed
from typing_extensions import TypedDict

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import LAYOUTS, read_clip, write_clip
from pisa_kit.core import artefacts
from pisa_kit.core.checks import Count, Few, PlainName, Seed, check, check_fields, check_same
from pisa_kit.core.errors import InputError
from pisa_kit.core.parallel import results_of
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import locked, read_json, write_json
from pisa_kit.sim.corpora import SHARD, Corpus, write_corpus
from pisa_kit.sim.scenes import SPLITS, Scene, sample
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.sim.simulate import simulate

BYTES = 2.0  # of a clip on disk, per pixel and frame; with SECONDS, of one core, measured from 64 to 512 pixels
SECONDS = 0.005, 5e-7  # per frame; per pixel and frame
UNTIMED, UNTIMED_FPS = ("psft", "oro"), 16  # layouts that keep no frame rate, and the one they are read with
WALL = 6.5  # metres, of the nearest wall (`scenes.sample`)
WRITABLE = tuple(layout for layout in LAYOUTS if layout != "real")  # simulated clips carry no annotated points


@dataclass(frozen=True)
class Recipe:
    """What a dataset holds: clip i shows the scene with seed `seed + i`.

    Args:
        count: number of clips.
        seed: scene seed of the first clip.
        objects, backgrounds: "seen" or "unseen", see `scenes.sample`.
        layout: how clips are written, see `formats.write_clip`.
        video, ranges: see `settings`.
    """

    count: Count
    seed: Seed = 0
    objects: Literal[SPLITS] = "seen"
    backgrounds: Literal[SPLITS] = "seen"
    layout: Literal[WRITABLE] = "npz"
    video: Video = field(default_factory=Video)
    ranges: Ranges = field(default_factory=Ranges)

    def __post_init__(self):
        check_fields(self, "dataset")
        if self.layout in UNTIMED and self.video.fps != UNTIMED_FPS:
            problem = f"is {self.video.fps:g}, but the layout {self.layout} keeps no rate, and is read as {UNTIMED_FPS}"
            raise InputError("dataset", "fps", problem, f"Use the layout npz or sim, or {UNTIMED_FPS} fps.")
        if self.ranges.distance[1] + self.ranges.size[1] / 2 > WALL:
            problem = f"reaches {self.ranges.distance[1]:g} m, where walls begin"
            raise InputError("dataset", "distance", problem, f"Stay before {WALL:g} m, half the object included.")

    @property
    def cost(self) -> tuple[float, float]:
        """About how many bytes the dataset takes, and seconds of one core."""
        frames, pixels = self.count * self.video.frames, self.video.size**2
        return BYTES * frames * pixels, frames * (SECONDS[0] + SECONDS[1] * pixels)

    @property
    def key(self) -> str:
        """Changes with anything that changes a clip: the recipe's numbers and the simulator's code."""
        return artefacts.key("clips", self)

    def scene(self, index: int) -> Scene:
        """What clip number `index` shows."""
        scene = sample(self.seed + index, self.ranges, self.objects, self.backgrounds)
        if scene.dropped.bounds[1][1] > scene.wall_distance:
            problem = f"is {scene.distance:.1f} m away, behind the wall"
            raise InputError("dataset", f"the object of seed {scene.seed}", problem, "Ask for nearer or lower drops.")
        return scene

    def clip(self, index: int) -> Clip:
        """Simulates clip number `index`."""
        return simulate(self.scene(index), **asdict(self.video), name=f"{index:05d}")


class Entry(TypedDict):
    """One clip of a dataset, as far as reading needs it."""

    name: PlainName
    bytes: int
    hash: NotRequired[str]


class Manifest(TypedDict):
    """What `manifest.json` holds."""

    recipe: dict[str, Any]
    clips: list[Entry]


def write_dataset(folder, recipe: Recipe, workers: int = 2, verify: bool = False) -> Path:
    """Simulates `recipe` into `folder`, one file or folder per clip and `manifest.json`; what is there already is kept.

    An interrupted call leaves only whole clips; the same call continues it.

    Args:
        folder: where to write.
        recipe: what to write.
        workers: processes.
        verify: of clips that are there, compare the hash with the manifest's, too, not the size alone.

    Raises:
        InputError: the folder holds a dataset made from another recipe or by another simulator, cannot be written, or
            has too little space.
    """
    folder, workers = Path(folder), check(Few, workers, "arguments", "workers")
    manifest = folder / "manifest.json"
    wanted = json.loads(json.dumps({**asdict(recipe), "simulator": artefacts.code("clips")}))
    if manifest.exists() and not verify and len(_whole(manifest, wanted, verify)[1]) == recipe.count:
        return folder  # without waiting for who else looks
    with locked(folder):
        found, whole = _whole(manifest, wanted, verify)
        if len(whole) == recipe.count:
            return folder
        needed, free = recipe.cost[0] * (1 - len(whole) / recipe.count), shutil.disk_usage(folder).free
        if needed > free:
            problem = f"needs about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} are free"
            raise InputError(folder, "count", problem, "Ask for fewer, smaller or shorter clips.")
        write_json(manifest, found)
        broken = {entry["name"] for entry in found["clips"]} - whole.keys()
        jobs = (delayed(_write_one)(folder.resolve(), recipe, index, whole, broken) for index in range(recipe.count))
        done = results_of(jobs, workers)
        clips = list(Bar(done, total=recipe.count, desc=f"simulating {folder.name}", unit="clip"))
        write_json(manifest, {"recipe": wanted, "clips": clips})
    return folder


def _whole(manifest: Path, wanted: dict, verify: bool) -> tuple[dict, dict[str, dict]]:
    """The manifest, and its clips that are there as it says; InputError for one of another recipe."""
    found = _read_manifest(manifest) if manifest.exists() else {"recipe": wanted, "clips": []}
    check_same(found["recipe"], wanted, manifest, "the dataset that is already there")
    listed = {entry["name"]: entry for entry in found["clips"]}
    there = {name: one for name, one in listed.items() if artefacts.is_whole(manifest.parent / name, one, verify)}
    return found, there


def _write_one(folder: Path, recipe: Recipe, index: int, whole: dict[str, dict], broken: set[str]) -> dict:
    """Writes a clip unless it is there, and whole: as the manifest says, or (after an interruption) by reading it."""
    path = folder / (f"{index:05d}.npz" if recipe.layout == "npz" else f"{index:05d}")
    if path.name in whole:
        return whole[path.name]
    if path.name in broken or not (path.exists() and _is_clip(path, recipe)):
        write_clip(recipe.clip(index), path, recipe.layout)
    scene = recipe.scene(index)
    return {
        "name": path.name,
        **artefacts.entry(path),
        "seed": scene.seed,
        "caption": scene.caption,
        "height": round(scene.height, 4),
        "distance": round(scene.distance, 4),
        "objects": len(scene.things),
    }


def _is_clip(path: Path, recipe: Recipe) -> bool:
    try:
        clip = read_clip(path, recipe.video.fps if recipe.layout != "npz" else None)
    except InputError:
        return False
    return clip.frames.shape == (recipe.video.frames, recipe.video.size, recipe.video.size, 3)


def _read_manifest(path: Path) -> dict:
    found = read_json(path)
    check(Manifest, found, path, remedy="It is no manifest of a dataset: choose another folder.")
    return found


def read_dataset(folder) -> list[Clip]:
    """The clips of a dataset in the manifest's order.

    Raises:
        InputError: no manifest, an unfinished dataset, or a clip that cannot be read.
    """
    manifest = Path(folder) / "manifest.json"
    described = _read_manifest(manifest)
    missing = described["recipe"].get("count", 0) - len(described["clips"])
    if missing:
        raise InputError(manifest, "clips", f"lacks {missing} clips", "Call write_dataset again to finish it.")
    return [read_clip(Path(folder) / entry["name"]) for entry in described["clips"]]


def kept_corpus(folder, recipe: Corpus, workers: int) -> Path:
    """The clips that something is pre-trained on, `write_corpus`ed into a folder of `folder` named after their kind.

    Raises:
        InputError: the folder holds those of another recipe.
    """
    folder = Path(folder) / f"corpus_{'truth' if recipe.truth else recipe.kind}"
    wanted, path = json.loads(json.dumps(asdict(recipe))), folder / "recipe.json"
    known = check(dict, read_json(path), path) if path.exists() else wanted
    counts = known.get("count", 0), recipe.count
    if min(counts) % SHARD == 0:  # whole files, to which others can come, or which are enough
        wanted["count"] = known["count"] = max(counts)
    check_same(known, wanted, path, "the clips that are already there")
    write_json(path, wanted)
    return write_corpus(folder, recipe, workers)
