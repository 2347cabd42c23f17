"""Corpora: many simulated clips in a few files, for training."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from joblib import delayed

from pisa_kit.clips.clip import Clip
from pisa_kit.core.checks import Count, Pair, check_fields
from pisa_kit.core.parallel import results_of
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import read_npz, write_npz
from pisa_kit.sim.diet import diet_clip, recolour
from pisa_kit.sim.probes import noon, release_two
from pisa_kit.sim.scenes import COLOURS, SHAPES, SPLITS, article, sample
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.sim.simulate import simulate
from pisa_kit.sim.worlds import ambiguous_scene, between

CORPUS_SEED = 1_000_000  # scene seeds of pre-training; PSFT's count up from 0, held-out ones from 10,000,000
SHARD = 100  # clips per file
TRUTH = ("depth", "flow")  # what a corpus may also store
KINDS = ("drops", "ambiguous", "noon", "pairs", "diet", "anything")
DROPS = 0.5  # share of drops in "anything"


@dataclass(frozen=True)
class Corpus:
    """What a corpus holds.

    Args:
        kind: "drops" of seen objects on seen backgrounds; "ambiguous" ones, whose picture shows many worlds; drops at
            "noon", whose picture tells the distance (`probes.noon`); "pairs", half of which drop two things; "diet",
            generic motion of anything (`diet.diet_clip`); "anything", half of it, half drops, seen and unseen, any
            object's mask.
        count: clips.
        first: scene seed of the first clip.
        ranges, video: see `settings`.
        prior: distances of the worlds behind an ambiguous picture, metres.
        truth: also store depth and flow, as float16, for `read_truth`.
    """

    kind: Literal[KINDS]
    count: Count
    first: int = CORPUS_SEED
    ranges: Ranges = Ranges()
    video: Video = Video()
    prior: Pair = (2.0, 3.5)
    truth: bool = False

    def __post_init__(self):
        check_fields(self, "corpus")

    def clip(self, index: int) -> Clip:
        """Simulates clip number `index`; its "dropped" mask is the one that is stored."""
        seed, rng = self.first + index, np.random.default_rng([self.first + index, 4])
        if self.kind == "diet" or (self.kind == "anything" and rng.random() > DROPS):
            return diet_clip(seed, self.ranges, self.video, pans=not self.truth)
        if self.kind == "ambiguous":
            return simulate(ambiguous_scene(seed, self.ranges, between(*self.prior)), **asdict(self.video))
        if self.kind in ("drops", "noon", "pairs"):
            draw = {"noon": noon, "pairs": release_two if index % 2 else sample}.get(self.kind, sample)
            return simulate(draw(seed, self.ranges), **asdict(self.video))
        scene = sample(seed, self.ranges, *map(str, rng.choice(SPLITS, 2)))
        return simulate(recolour(scene, seed) if rng.random() < 0.5 else scene, **asdict(self.video))


def write_corpus(folder, recipe: Corpus, workers: int = 2) -> Path:
    """Simulates a corpus in files of at most `SHARD` clips, with `workers` processes; finished files are kept."""
    folder, starts = Path(folder), range(0, recipe.count, SHARD)
    missing = [start for start in starts if not (folder / f"{start // SHARD:04d}.npz").exists()]
    jobs = (delayed(_write_shard)(folder, start, recipe) for start in missing)
    made = results_of(jobs, max(1, min(workers, len(missing))))
    list(Bar(made, total=len(missing), desc=f"simulating {folder.name}", unit="file", disable=not missing))
    return folder


def _write_shard(folder: Path, start: int, recipe: Corpus):
    rng, masks = np.random.default_rng([recipe.first, start, 5]), []
    clips = [recipe.clip(index) for index in range(start, min(start + SHARD, recipe.count))]
    for clip in clips:
        shown = np.flatnonzero(clip.masks[0].any((1, 2)))
        masks.append(clip.masks[:, rng.choice(shown) if recipe.kind == "anything" and len(shown) else -1])
    arrays = {"frames": np.stack([clip.frames for clip in clips]), "masks": np.packbits(np.stack(masks), axis=-1)}
    arrays["captions"] = np.frombuffer("\n".join(clip.caption for clip in clips).encode(), np.uint8)
    for name in TRUTH if recipe.truth else ():
        arrays[name] = np.stack([getattr(clip, name) for clip in clips]).astype(np.float16)
    write_npz(folder / f"{start // SHARD:04d}.npz", **arrays)


def read_corpus(folder) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Frames (N, T, H, W, 3) uint8, masks (N, T, H, W) bool and captions of a corpus."""
    frames, masks = map(np.concatenate, zip(*read_parts(folder), strict=True))
    return frames, masks, read_captions(folder)


def read_parts(folder) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames and masks, as of `read_corpus`, of one file after the other: a corpus may be larger than memory."""
    for path in shard_files(folder):
        part = read_npz(path, "frames", "masks")
        yield part["frames"], np.unpackbits(part["masks"], axis=-1).astype(bool)


def read_captions(folder) -> list[str]:
    """The captions of a corpus."""
    parts = (read_npz(path, "captions")["captions"] for path in shard_files(folder))
    return [line for part in parts for line in part.tobytes().decode().split("\n")]


def read_truth(folder, name: str) -> np.ndarray:
    """A corpus' "depth" (N, T, H, W), metres, or "flow" (N, T - 1, H, W, 2), pixels, float16.

    Raises:
        InputError: the corpus was made without.
    """
    return np.concatenate([read_npz(path, name)[name] for path in shard_files(folder)])


def shard_files(folder) -> list[Path]:
    """The files of a corpus in order."""
    return sorted(Path(folder).glob("[0-9]*.npz"))


def vary_captions(captions: list[str], seed: int, share: float = 0.7) -> list[str]:
    """Captions of which a share names another colour and shape, drawn from all words: only the verb is sure.

    A model that has seen only true captions trusts words, and is lost when an unseen object comes with unseen ones.
    Where several things move, the words say which one goes where: these captions stay as they are.

    Args:
        captions: of sentences of an article, a colour, a shape and a verb, and maybe one about the camera.
    """
    rng = np.random.default_rng([seed, 5])
    colours = [colour for split in SPLITS for colour in COLOURS[split]]
    shapes = [shape.replace("_", "-") for split in SPLITS for shape in SHAPES[split]]

    def other(sentence: str) -> str:
        if sentence.startswith("The "):
            return f"{sentence}."
        colour, (*_, said) = str(rng.choice(colours)), sentence.split(maxsplit=3)
        return f"{article(colour)} {colour} {rng.choice(shapes)} {said}."

    def varied(caption: str) -> str:
        sentences = caption.rstrip(".").split(". ")
        alone = sum(not sentence.startswith("The ") for sentence in sentences) == 1
        return " ".join(map(other, sentences)) if rng.random() < share and alone else caption

    return list(map(varied, captions))
