"""What the embedded model and the perception nets learn from: simulated clips, and their reconstructions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import delayed

from pisa_kit.clips.clip import Clip
from pisa_kit.core.parallel import results_of
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import read_npz, write_npz
from pisa_kit.sim.motion import sample_motion
from pisa_kit.sim.scenes import COLOURS, FAMILIES, SPLITS, Scene, article, sample
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.sim.simulate import simulate
from pisa_kit.sim.worlds import ambiguous_scene, between

CORPUS_SEED = 1_000_000  # scene seeds of the corpora; PSFT's count up from 0, held-out ones from 10,000,000
SHARD = 100  # clips per file
VIDEO, RANGES = Video(), Ranges()
TRUTH = ("depth", "flow")  # what a corpus may also store


def recolour(scene: Scene, seed: int) -> Scene:
    """The scene with every colour drawn anew from all colours, so that the codec is not tied to a palette."""
    rng = np.random.default_rng([seed, 3])
    colour = lambda: tuple(map(float, rng.uniform(0.05, 0.95, 3)))  # noqa: E731
    things = tuple(replace(thing, rgb=colour()) for thing in scene.things)
    return replace(
        scene, things=things, floor=replace(scene.floor, rgb=colour()), wall=replace(scene.wall, rgb=colour())
    )


def corpus(
    folder,
    count: int,
    drops: float,
    any_colour: float,
    first: int = CORPUS_SEED,
    ranges: Ranges = RANGES,
    workers: int = 2,
    truth: bool = False,
    prior: tuple[float, float] | None = None,
    video: Video = VIDEO,
) -> Path:
    """Simulates a corpus of seen shapes and textures in files of at most `SHARD` clips; finished files are kept.

    Args:
        count: clips.
        drops: share of real drops; the others show generic motion (`motion.sample_motion`).
        any_colour: share of scenes with colours from the whole range instead of the seen palette.
        first: scene seed of the first clip.
        ranges: what scenes are drawn from.
        workers: processes.
        truth: also store depth and flow, as float16, for `read_truth`.
        prior: ambiguous scenes, whose object is at a distance uniform in this range (metres) behind the same picture
            (`distribution.ambiguous_scene`).
        video: size of the clips.
    """
    folder = Path(folder)
    starts, recipe = range(0, count, SHARD), (drops, any_colour, first, ranges, prior, video)
    jobs = (delayed(_write_shard)(folder, start, min(SHARD, count - start), truth, *recipe) for start in starts)
    shards = results_of(jobs, max(1, min(workers, len(starts))))
    done = all((folder / f"{start // SHARD:04d}.npz").exists() for start in starts)
    list(Bar(shards, total=len(starts), desc=f"simulating {folder.name}", unit="file", disable=done))
    return folder


def _write_shard(
    folder: Path,
    start: int,
    count: int,
    truth: bool,
    drops: float,
    any_colour: float,
    first: int,
    ranges: Ranges,
    prior: tuple[float, float] | None,
    video: Video,
):
    path = folder / f"{start // SHARD:04d}.npz"
    if path.exists():
        return
    clips = [_clip(first + start + index, drops, any_colour, ranges, prior, video) for index in range(count)]
    captions = np.frombuffer("\n".join(clip.caption for clip in clips).encode(), np.uint8)
    frames, masks = np.stack([clip.frames for clip in clips]), np.stack([clip.dropped for clip in clips])
    more = {name: np.stack([getattr(clip, name) for clip in clips]).astype(np.float16) for name in TRUTH if truth}
    write_npz(path, frames=frames, masks=np.packbits(masks, axis=-1), captions=captions, **more)


def _clip(seed: int, drops: float, any_colour: float, ranges: Ranges, prior, video: Video) -> Clip:
    rng = np.random.default_rng([seed, 4])
    scene = ambiguous_scene(seed, ranges, between(*prior)) if prior else sample(seed, ranges)
    if rng.random() < any_colour:
        scene = recolour(scene, seed)
    motion = None if rng.random() < drops else sample_motion(scene, seed, (video.frames - 1) / video.fps)
    return simulate(scene, video.size, video.frames, video.fps, motion=motion)


def read_corpus(folder) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Frames (N, T, H, W, 3) uint8, masks (N, T, H, W) bool and captions of a corpus."""
    shards = [read_npz(path, "frames", "masks", "captions") for path in _shards(folder)]
    frames = np.concatenate([shard["frames"] for shard in shards])
    masks = np.concatenate([np.unpackbits(shard["masks"], axis=-1).astype(bool) for shard in shards])
    captions = [line for shard in shards for line in shard["captions"].tobytes().decode().split("\n")]
    return frames, masks, captions


def vary_captions(captions: list[str], seed: int, share: float = 0.7) -> list[str]:
    """Captions of which a share names another colour and another shape, drawn from all words: only the verb is sure.

    A model that has seen only true captions trusts words, and is lost when an unseen object comes with unseen ones.

    Args:
        captions: as `Scene.caption` makes them: article, colour, shape, verb.
    """
    rng = np.random.default_rng([seed, 5])
    colours = [colour for split in SPLITS for colour in COLOURS[split]]
    shapes = [shape.replace("_", "-") for split in SPLITS for shape in FAMILIES["shapes"][split]]
    varied = []
    for caption in captions:
        _, colour, shape, verb = caption.split()
        if rng.random() < share:
            colour, shape = str(rng.choice(colours)), str(rng.choice(shapes))
        varied.append(f"{article(colour)} {colour} {shape} {verb}")
    return varied


def read_truth(folder, name: str) -> np.ndarray:
    """A corpus' "depth" (N, T, H, W), metres, or "flow" (N, T - 1, H, W, 2), pixels, float16.

    Raises:
        InputError: the corpus was made without.
    """
    return np.concatenate([read_npz(path, name)[name] for path in _shards(folder)])


def _shards(folder) -> list[Path]:
    return sorted(Path(folder).glob("[0-9]*.npz"))
