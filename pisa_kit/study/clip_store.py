"""The study's clips: held-out and training drops, probes, worlds; simulated once, named after what shaped them."""

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from joblib import delayed

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import read_clip, write_clip
from pisa_kit.core import artefacts
from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.core.parallel import processes, results_of
from pisa_kit.core.progress import Bar
from pisa_kit.perception.prepare import read_prepared
from pisa_kit.sim import motion
from pisa_kit.sim.corpora import Corpus, read_corpus, write_corpus
from pisa_kit.sim.datasets import Recipe, read_dataset, write_dataset
from pisa_kit.sim.probes import Cell, cells, release_two, scenes_in
from pisa_kit.sim.scenes import Scene, sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.sim.worlds import LEAST_OFFSET, Ambiguity, ambiguity_of, ambiguous_scene, at_distance, between
from pisa_kit.study import paper_clips
from pisa_kit.study.settings import Preset

TRAINING_SEEDS = 100_000  # scene seeds per seed of a run
SEEDS = 10  # of trainings: scenes of more would be those of the pre-training corpora, then the held-out ones
HELD_OUT = {  # split: first scene seed beyond the preset's, objects, backgrounds
    "seen": (0, "seen", "seen"),
    "unseen": (1_000_000, "unseen", "unseen"),
    "unseen objects": (4_000_000, "unseen", "seen"),
    "unseen backgrounds": (5_000_000, "seen", "unseen"),
    "validation": (3_000_000, "seen", "seen"),
}
STAGES = {  # first scene seed of a seed's training clips, and their kind (`corpora.Corpus`)
    "psft": (0, "drops"),
    "ambiguous": (TRAINING_SEEDS // 4, "ambiguous"),
    "oro": (TRAINING_SEEDS // 2, "drops"),
    "noon": (3 * TRAINING_SEEDS // 4, "noon"),
    "pairs": (7 * TRAINING_SEEDS // 8, "pairs"),
    "replay": (15 * TRAINING_SEEDS // 16, "diet"),
}
MAP, PAIRS, EQUAL_PAIRS, PICTURES = (number * 1_000_000 for number in (6, 7, 8, 9))  # more first scene seeds


@dataclass(frozen=True)
class ClipStore:
    """One preset's clips below `folder`, each simulated once and kept."""

    preset: Preset
    folder: Path

    def held_out(self, split: str) -> list[Clip]:
        """The held-out drops of one split, simulated once and kept.

        Args:
            split: a name in `HELD_OUT`. "validation" clips choose between models and therefore never enter a table.
        """
        recipe = self.held_out_recipe(split)
        folder = self.folder / "data" / f"held_out_{split.replace(' ', '_')}_{recipe.key}"
        return read_dataset(write_dataset(folder, recipe, _workers(recipe.count)))

    def held_out_recipe(self, split: str) -> Recipe:
        """What `held_out` simulates."""
        data = self.preset.data
        first, objects, backgrounds = HELD_OUT[check_choice(split, HELD_OUT, "split")]
        count = data.validation_clips if split == "validation" else data.test_clips
        return Recipe(count, data.test_seed + first, objects, backgrounds, video=data.video, ranges=data.ranges)

    def generic(self) -> list[Clip]:
        """Held-out clips of generic motion (`motion.sample_motion`), simulated once and kept."""
        preset = self.preset
        folder = self.folder / "data" / f"generic_{artefacts.key('clips', preset.data.video, preset.data.ranges)}"
        first = preset.data.test_seed + 2_000_000
        seeds = range(first, first + preset.data.generic_clips)
        return make_clips(folder, {str(seed): partial(_move, seed, preset) for seed in seeds}, "generic motion")

    def simulated(self, name: str, scenes: list[Scene]) -> list[Clip]:
        """The true clip of each scene, simulated once and kept.

        Args:
            name: of the folder.
        """
        video = self.preset.data.video
        folder = self.folder / "data" / f"{name}_{artefacts.key('clips', [one.to_dict() for one in scenes], video)}"
        jobs = {f"{number:05d}": partial(simulate, scene, **asdict(video)) for number, scene in enumerate(scenes)}
        return make_clips(folder, jobs, f"simulating {name}")

    def map_clips(self, at_noon: bool = False) -> tuple[list[Clip], list[Cell]]:
        """Held-out drops all over the map of distance and height, and the cell each of them is in.

        Args:
            at_noon: in pictures that tell the distance (`probes.noon`).
        """
        preset = self.preset
        grid = cells(preset.generalization.distances, preset.generalization.heights, preset.data.ranges)
        first, scenes = preset.data.test_seed + MAP, []
        for number, cell in enumerate(grid):
            seeds = range(first + 1000 * number, first + 1000 * number + preset.generalization.clips)
            scenes += scenes_in(cell, preset.data.ranges, seeds, at_noon)
        return self.simulated("noon" if at_noon else "map", scenes), [
            cell for cell in grid for _ in range(preset.generalization.clips)
        ]

    def pairs(self, same_height: bool) -> list[Clip]:
        """Held-out clips of two objects that fall together (`probes.release_two`)."""
        first = self.preset.data.test_seed + (EQUAL_PAIRS if same_height else PAIRS)
        seeds = range(first, first + self.preset.generalization.pairs)
        scenes = [release_two(seed, self.preset.data.ranges, same_height) for seed in seeds]
        return self.simulated("equal_pairs" if same_height else "pairs", scenes)

    def picture(self, number: int) -> tuple[list[Clip], Ambiguity]:
        """An ambiguous picture, as one clip per video that is to be made from it, and the worlds behind it.

        The object is a sphere: the centre of any other may fall on after its first contact, while it tips over.

        Args:
            number: of the picture, from 0.
        """
        scene, preset = self._ambiguous_scene(number), self.preset
        clip = self.simulated(f"picture_{number}", [scene])[0]
        clips = [replace(clip, name=f"{index:05d}") for index in range(preset.distribution.worlds)]
        return clips, ambiguity_of(scene, preset.data.video.size, between(*preset.distribution.prior))

    def worlds(self, number: int, sample: int, count: int) -> list[Clip]:
        """Worlds behind a picture, drawn independently from the prior; their first frame is the picture itself.

        Args:
            number: of the picture.
            sample: which draw; what is compared with each other must come from different ones.
            count: worlds.
        """
        scene, prior = self._ambiguous_scene(number), between(*self.preset.distribution.prior)
        distances = prior.rvs(count, random_state=np.random.default_rng([number, sample]))
        clips = self.simulated(
            f"worlds_{number}_{sample}", [at_distance(scene, float(distance)) for distance in distances]
        )
        given = self.picture(number)[0][0].frames[0]
        for clip in clips:
            clip.frames[0] = given
        return clips

    def _ambiguous_scene(self, number: int) -> Scene:
        preset, prior = self.preset, between(*self.preset.distribution.prior)
        scenes = (
            ambiguous_scene(preset.data.test_seed + PICTURES + index, preset.data.ranges, prior, least=LEAST_OFFSET)
            for index in itertools.count()
        )
        return next(itertools.islice((one for one in scenes if one.dropped.shape == "sphere"), number, None))

    def bench(self) -> list[Clip]:
        """The prepared clips of `Preset.bench`, e.g. PisaBench's; none without it.

        Raises:
            InputError: clips of another size, length or frame rate than the preset's videos.
        """
        clips, video = read_prepared(self.preset.bench) if self.preset.bench else [], self.preset.data.video
        for clip in clips:
            if (clip.frames.shape[1], len(clip), clip.fps) != (video.size, video.frames, video.fps):
                problem = f"has {len(clip)} frames of {clip.frames.shape[1]} px at {clip.fps:g} fps"
                remedy = f"Prepare with --size {video.size} --frames {video.frames} --fps {video.fps:g}."
                raise InputError(self.preset.bench, clip.name, problem, remedy)
        return clips

    def drops(self, seed: int, stage: str = "psft") -> tuple[np.ndarray, np.ndarray, list[str]]:
        """A stage's (see `STAGES`) training drops for one seed, simulated once: as from `read_corpus`.

        Ask for them before a worker of `run_jobs` does: a worker has no workers of its own to simulate with.
        """
        return read_corpus(self._drops_folder(seed, stage))

    def count_of(self, stage: str) -> int:
        """How many training clips a stage has."""
        preset, psft = self.preset, self.preset.psft
        generic = round(psft.clips * psft.replay / (1 - psft.replay))
        named = {"ambiguous": preset.distribution.clips, "oro": preset.oro.clips, "replay": generic}
        return named.get(stage, psft.clips)

    def _drops_folder(self, seed: int, stage: str, mixed: bool = True) -> Path:
        """Of simulated drops, or, where the preset names a source and `mixed`, of the source's clips among them."""
        preset, count, (first, kind) = self.preset, self.count_of(stage), STAGES[stage]
        if seed >= SEEDS:
            remedy = f"Choose 0 to {SEEDS - 1}: larger ones meet scenes of pre-training, then held-out ones."
            raise InputError("training", "seed", f"is {seed}", remedy)
        source, data = getattr(getattr(preset, stage, None), "source", "") if mixed else "", preset.data
        theirs = paper_clips.theirs_of(count, data.share) if source else 0
        first, folder = TRAINING_SEEDS * seed + first, None
        if count > theirs:
            recipe = Corpus(kind, count - theirs, first, data.ranges, data.video, preset.distribution.prior)
            name = f"drops_{stage}_{recipe.count}_seed{seed}_{artefacts.key('drops', recipe)}"
            folder = write_corpus(self.folder / "data" / name, recipe, processes())
        if not source:
            return folder
        key = paper_clips.source_key(source, data.share, data.video, folder)
        place = self.folder / "data" / f"mixed_{stage}_{count}_seed{seed}_{key}"
        return paper_clips.write_mixed(place, folder, source, data.share, count, data.video, seed, stage == "oro")


def make_clips(folder: Path, jobs: dict[str, Callable[[], Clip]], label: str, workers: int | None = None) -> list[Clip]:
    """The clips kept in `folder`, by name; those that are missing are made first.

    Args:
        jobs: name to what makes the clip.
        label: of the progress bar.
        workers: processes; None: as many as it is worth.
    """
    paths = {name: folder / f"{name}.npz" for name in jobs}
    missing = [name for name, path in paths.items() if not path.exists()]
    made = (delayed(_make)(name, jobs[name], paths[name]) for name in missing)
    made = results_of(made, workers or _workers(len(missing)))
    list(Bar(made, total=len(missing), desc=label, unit="clip", disable=not missing))
    return [read_clip(path) for path in paths.values()]


def _make(name: str, job: Callable[[], Clip], path: Path):
    write_clip(replace(job(), name=name), path)


def _workers(clips: int) -> int:
    """Processes for so many simulated clips: a few are done sooner than a process starts."""
    return processes() if clips > 16 else 1


def _move(seed: int, preset: Preset) -> Clip:
    video, scene = preset.data.video, sample(seed, motion.with_room(preset.data.ranges), "seen", "seen")
    path = motion.sample_motion(scene, seed, (video.frames - 1) / video.fps)
    return simulate(scene, **asdict(video), motion=path)
