"""Where a study's artefacts live: every clip, model and video is made once, named after what shaped it, and kept."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from joblib import delayed

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import read_clip, write_clip
from pisa_kit.core import artefacts
from pisa_kit.core.devices import device
from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.core.parallel import WORKERS, results_of
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import WEIGHTS, atomic_path, read_json, write_json
from pisa_kit.metrics.evaluation import APPEARANCE, evaluate_videos
from pisa_kit.models.codec import reconstruct
from pisa_kit.models.embedded import BASE, load
from pisa_kit.models.generation import Protocol, fingerprint, generate
from pisa_kit.perception.guess import GuessNet, load_guess
from pisa_kit.perception.prepare import read_prepared
from pisa_kit.sim import motion, references
from pisa_kit.sim.corpora import corpus, read_corpus, vary_captions
from pisa_kit.sim.datasets import Recipe, read_dataset, write_dataset
from pisa_kit.sim.probes import Cell, cells, release_two, scenes_in
from pisa_kit.sim.scenes import Scene, sample
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.sim.simulate import simulate
from pisa_kit.sim.worlds import LEAST_OFFSET, Ambiguity, ambiguity_of, ambiguous_scene, at_distance, between
from pisa_kit.study.presets import Preset, get_preset
from pisa_kit.training import oro
from pisa_kit.training.pretrain_perception import train_guess
from pisa_kit.training.psft import cache_latents, train_transformer
from pisa_kit.training.rewards import load_rewards
from pisa_kit.training.settings import OroSettings

VALIDATED = ["l2", "fixed_l2", "fixed_chamfer_distance", "fixed_iou", "visibility", *APPEARANCE]
TRAINING_SEEDS = 100_000  # scene seeds per seed of a run; 10 of them stay below those of the pre-training corpora
HELD_OUT = {  # split: first scene seed beyond the preset's, objects, backgrounds
    "seen": (0, "seen", "seen"),
    "unseen": (1_000_000, "unseen", "unseen"),
    "unseen objects": (4_000_000, "unseen", "seen"),
    "unseen backgrounds": (5_000_000, "seen", "unseen"),
    "validation": (3_000_000, "seen", "seen"),
}
REFERENCES = (*references.SIMULATED, *references.CEILINGS)
STAGES = {"psft": 0, "ambiguous": TRAINING_SEEDS // 4, "oro": TRAINING_SEEDS // 2}  # first scene seed of a seed's
MAP, PAIRS, EQUAL_PAIRS, PICTURES = (number * 1_000_000 for number in (6, 7, 8, 9))  # more first scene seeds


@dataclass(frozen=True)
class Run:
    """One preset's artefacts below `folder`: data, models, videos, notebooks, figures, results, results.json."""

    preset: Preset
    folder: Path

    def held_out(self, split: str) -> list[Clip]:
        """The held-out drops of one split, simulated once and kept.

        Args:
            split: a name in `HELD_OUT`. "validation" clips choose between models and therefore never enter a table.
        """
        preset = self.preset
        first, objects, backgrounds = HELD_OUT[check_choice(split, HELD_OUT, "split")]
        count = preset.data.validation_clips if split == "validation" else preset.data.test_clips
        first += preset.data.test_seed
        recipe = Recipe(count, first, objects, backgrounds, video=preset.data.video, ranges=preset.data.ranges)
        folder = self.folder / "data" / f"held_out_{split.replace(' ', '_')}_{recipe.key}"
        return read_dataset(write_dataset(folder, recipe, _workers(count)))

    def reference(self, method: str, truths: list[Clip], seed: int) -> list[Clip]:
        """Videos of one reference predictor (module `references`) for each true clip, made once and kept.

        Like any generator's output they come as frames alone: masks have to be tracked (`masks.track_clips`).

        Args:
            method: in `references.SIMULATED` or `references.CEILINGS`.
        """
        check_choice(method, REFERENCES, "reference")
        if method == "truth":
            return [references.bare(truth.frames, truth, method) for truth in truths]
        preset, shapes = self.preset, [fingerprint(truth) for truth in truths]
        facts = [(truth.info["scene"], given) for truth, given in zip(truths, shapes, strict=True)]
        if method in references.CEILINGS:
            net = self.base().vae if method == "codec" else self.guess()
            facts.append(artefacts.weights(net))
        key = artefacts.key("references", facts, preset.data.video, preset.data.ranges)
        folder = self.folder / "videos" / method.replace(" ", "_") / f"seed{seed}_{key}"
        paths = [folder / f"{truth.name}.npz" for truth in truths]
        if method not in references.CEILINGS:
            return _made(paths, _write_reference, [(method, truth, seed, preset) for truth in truths], method)
        missing = [(truth, path) for truth, path in zip(truths, paths, strict=True) if not path.exists()]
        for truth, path in Bar(missing, desc=method, unit="clip", disable=not missing):
            frames = reconstruct(net, truth.frames[None])[0] if method == "codec" else references.best_guess(net, truth)
            write_clip(references.bare(frames, truth, method), path)
        return [read_clip(path) for path in paths]

    def guess(self) -> GuessNet:
        """The net behind *best guess*: the one that ships if the preset's drops are those it learned from."""
        preset = self.preset
        if (preset.data.video, preset.data.ranges) == (Video(), Ranges()):
            return load_guess()
        seed, drops = preset.seeds[0], self._drops_folder(preset.seeds[0], "psft").name
        folder = self.folder / "models" / f"guess_seed{seed}_{artefacts.key('guess', preset.guess, drops)}"
        frames, masks, _ = self.drops(seed)
        return train_guess(frames, masks, folder, preset.guess)

    def generic(self) -> list[Clip]:
        """Held-out clips of generic motion (`motion.sample_motion`), simulated once and kept."""
        preset = self.preset
        folder = self.folder / "data" / f"generic_{artefacts.key('clips', preset.data.video, preset.data.ranges)}"
        seeds = [preset.data.test_seed + 2_000_000 + index for index in range(preset.data.generic_clips)]
        return _made(
            [folder / f"{seed}.npz" for seed in seeds], _write_motion, [(seed, preset) for seed in seeds], "generic"
        )

    def simulated(self, name: str, scenes: list[Scene]) -> list[Clip]:
        """The true clip of each scene, simulated once and kept.

        Args:
            name: of the folder.
        """
        key = artefacts.key("clips", [scene.to_dict() for scene in scenes], self.preset.data.video)
        folder = self.folder / "data" / f"{name}_{key}"
        paths = [folder / f"{number:05d}.npz" for number in range(len(scenes))]
        return _made(paths, _write_scene, [(scene, self.preset) for scene in scenes], f"simulating {name}")

    def map_clips(self) -> tuple[list[Clip], list[Cell]]:
        """Held-out drops all over the map of distance and height, and the cell each of them is in."""
        preset = self.preset
        grid = cells(preset.generalization.distances, preset.generalization.heights, preset.data.ranges)
        first, scenes = preset.data.test_seed + MAP, []
        for number, cell in enumerate(grid):
            seeds = range(first + 1000 * number, first + 1000 * number + preset.generalization.clips)
            scenes += scenes_in(cell, preset.data.ranges, seeds)
        return self.simulated("map", scenes), [cell for cell in grid for _ in range(preset.generalization.clips)]

    def pairs(self, same_height: bool) -> list[Clip]:
        """Held-out clips of two objects that fall together (`generalization.release_two`)."""
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

    def base(self) -> DiffusionPipeline:
        """The image-to-video model before post-training: the embedded one unless the preset names another."""
        large = self.preset.psft.training.precision == "bf16" and device().type == "cuda"
        return load(self.preset.base or BASE, torch.bfloat16 if large else torch.float32)

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

    def _drops_folder(self, seed: int, stage: str) -> Path:
        preset, first = self.preset, TRAINING_SEEDS * seed + STAGES[stage]
        count = {"psft": preset.psft.clips, "ambiguous": preset.distribution.clips, "oro": preset.oro.clips}[stage]
        prior = preset.distribution.prior if stage == "ambiguous" else None
        key = artefacts.key("drops" if prior else "clips", preset.data.ranges, preset.data.video, prior)
        folder = self.folder / "data" / f"drops_{stage}_{count}_seed{seed}_{key}"
        return corpus(folder, count, 1.0, 0.0, first, preset.data.ranges, WORKERS, prior=prior, video=preset.data.video)

    def _latents_path(self, seed: int, stage: str, base: DiffusionPipeline) -> Path:
        folder = self._drops_folder(seed, stage)
        key = artefacts.key("latents", artefacts.weights(base.vae), artefacts.weights(base.text_encoder))
        return folder.with_name(f"{folder.name}_latents_{key}.npz")

    def latents(self, seed: int, stage: str = "psft") -> dict:
        """Latents and text of a stage's training drops, encoded once and kept (`psft.cache_latents`)."""
        base = self.base()
        path = self._latents_path(seed, stage, base)
        if path.exists():
            return cache_latents(base, None, None, None, path)
        frames, masks, captions = self.drops(seed, stage)
        return cache_latents(base, frames, masks, vary_captions(captions, seed), path)

    def oro_clips(self, seed: int) -> dict:
        """What reward tuning learns from: `latents`, and "frames" and "masks" of the same drops."""
        frames, masks, _ = self.drops(seed, "oro")
        return self.latents(seed, "oro") | {"frames": frames, "masks": masks}

    def prepare(self, method: str, seed: int):
        """Makes everything but models that `model` needs: clips, their latents, validation clips."""
        stages = ["ambiguous" if method == "ambiguous PSFT" else "psft"]
        if method in self.preset.oro.rewards:
            stages.append("oro")
            self.held_out("validation")
        for stage in stages:
            self.latents(seed, stage)

    def model(self, method: str, seed: int) -> DiffusionPipeline:
        """A model of the study, trained if it is not there yet.

        Args:
            method: "base", "PSFT", "ambiguous PSFT" or the name of a reward.
        """
        if method == "base":
            return self.base()
        if method == "ambiguous PSFT":
            return self.psft(self.preset.distribution.clips, self.preset.psft.training.steps, seed, stage="ambiguous")
        tuned = self.psft(self.preset.psft.clips, self.preset.psft.training.steps, seed)
        return tuned if method == "PSFT" else self.oro(tuned, method, seed)[0]

    def psft(
        self, clips: int, steps: int, seed: int, watch=None, stage: str = "psft", place_weight: str | None = None
    ) -> DiffusionPipeline:
        """The base after `steps` steps of PSFT on the first `clips` drops, trained once and kept.

        With all clips the model is kept at each of the preset's `step_counts` on the way.

        Args:
            watch: see `training.train`.
            stage: "psft", or "ambiguous" for drops of which one picture shows many worlds.
            place_weight: in `psft.PLACE_WEIGHTS`; None: the preset's.
        """
        place_weight = place_weight or self.preset.psft.training.place_weight
        folder, base = self.psft_folder(clips, seed, stage, place_weight), self.base()
        cached = {name: array[:clips] for name, array in self.latents(seed, stage).items()}
        whole = clips == self.preset.psft.clips and stage == "psft"
        for stop in sorted({steps, *(count for count in self.preset.psft.step_counts if whole and count < steps)}):
            settings = replace(self.preset.psft.training, steps=stop, seed=seed, place_weight=place_weight)
            tuned = train_transformer(base, cached, settings, folder, f"{stage} on {clips} clips", watch)
        return tuned

    def psft_folder(self, clips: int, seed: int, stage: str = "psft", place_weight: str | None = None) -> Path:
        """Where `psft` keeps a run's log, checkpoint and pipelines."""
        base, settings = self.base(), replace(self.preset.psft.training, steps=1, seed=seed)
        settings = replace(settings, place_weight=place_weight or settings.place_weight)
        key = artefacts.key("psft", settings, artefacts.model(base), self._latents_path(seed, stage, base).name)
        return self.folder / "models" / f"{stage}_{clips}_clips_seed{seed}_{key}"

    def oro(
        self, tuned: DiffusionPipeline, name: str, seed: int, settings: OroSettings | None = None, watch=None
    ) -> tuple[DiffusionPipeline, list[dict]]:
        """A model after reward tuning, tuned once and kept, and its validations (`oro.tune`).

        Args:
            tuned: the model to start from, e.g. of `psft`.
            name: of the run, and of the entry in the preset's rewards if there are no `settings`.
            seed: of training clips, order and noise.
            watch: see `training.train`.
        """
        settings = settings or self.preset.oro_settings(name)
        settings = replace(settings, training=replace(settings.training, seed=seed))
        clips = self.oro_clips(seed)
        truths = self.held_out("validation")

        def validate(model: DiffusionPipeline) -> dict:
            videos = self.generate(model, truths, seed)
            return evaluate_videos(truths, videos, workers=1).table[VALIDATED].mean().to_dict()

        folder = self.oro_folder(tuned, name, seed, settings)
        nets = load_rewards(settings.weights, self.preset.oro.perception, device())
        return oro.tune(tuned, clips, nets, settings, folder, name, validate, watch)

    def oro_folder(self, tuned: DiffusionPipeline, name: str, seed: int, settings: OroSettings | None = None) -> Path:
        """Where `oro` keeps a run's log, checkpoint, pipelines and validations."""
        settings = settings or self.preset.oro_settings(name)
        settings = replace(settings, training=replace(settings.training, seed=seed, steps=1))
        cached, nets = self._latents_path(seed, "oro", tuned).name, self.preset.oro.perception
        nets = _shipped_nets() if nets == "tiny" else nets
        key = artefacts.key("oro", replace(settings, eval_steps=()), nets, artefacts.model(tuned), cached)
        return self.folder / "models" / f"oro_{name}_seed{seed}_{key}"

    def generate(self, pipeline: DiffusionPipeline, truths: list[Clip], seed: int) -> list[Clip]:
        """A video by the pipeline for each true clip, from its first frame and caption; made once for all notebooks."""
        model, name = artefacts.model(pipeline), self.preset.base or "embedded"
        protocol = Protocol(name, model, self.preset.sampling_steps, **asdict(self.preset.data.video))
        key = artefacts.key("videos", asdict(protocol), [fingerprint(truth) for truth in truths])
        folder = self.folder / "videos" / model / f"seed{seed}_{key}"
        return generate(pipeline, protocol, truths, seed, folder)

    def videos(self, method: str, truths: list[Clip], seed: int) -> list[Clip]:
        """What a method, a reference predictor or a model, makes of each true clip."""
        if method in REFERENCES:
            return self.reference(method, truths, seed)
        return self.generate(self.model(method, seed), truths, seed)

    def save_figure(self, figure, name: str):
        """Writes the figure as figures/<name>.png and returns it, so that the notebook shows it too."""
        path = self.folder / "figures" / f"{name}.png"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110)
        return figure

    def save_results(self, notebook: str, results: dict) -> Path:
        """Writes a notebook's numbers as results/<notebook>.json (numpy values allowed, NaN becomes null)."""
        path = self.folder / "results" / f"{notebook}.json"
        write_json(path, _plain(results))
        return path

    def results(self, notebook: str) -> dict:
        """What an earlier notebook saved."""
        return read_json(self.folder / "results" / f"{notebook}.json")

    def has_results(self, notebook: str) -> bool:
        """Has the notebook saved anything?"""
        return (self.folder / "results" / f"{notebook}.json").exists()


def _made(paths: list[Path], write: Callable, jobs: list[tuple], label: str) -> list[Clip]:
    """The clips at `paths`; `film(*job, path)` makes those that are missing, in several processes."""
    missing = [(*job, path) for job, path in zip(jobs, paths, strict=True) if not path.exists()]
    made = results_of((delayed(write)(*job) for job in missing), _workers(len(missing)))
    list(Bar(made, total=len(missing), desc=label, unit="clip", disable=not missing))
    return [read_clip(path) for path in paths]


def _workers(clips: int) -> int:
    """Processes for so many simulated clips: a few are done sooner than a process starts."""
    return WORKERS if clips > 16 else 1


def _write_motion(seed: int, preset: Preset, path: Path):
    video, scene = preset.data.video, sample(seed, preset.data.ranges, "seen", "seen")
    path_of_object = motion.sample_motion(scene, seed, (video.frames - 1) / video.fps)
    write_clip(simulate(scene, **asdict(video), name=path.stem, motion=path_of_object), path)


def _write_scene(scene: Scene, preset: Preset, path: Path):
    write_clip(simulate(scene, **asdict(preset.data.video), name=path.stem), path)


@functools.cache
def _shipped_nets() -> str:
    """A name for the weights of the perception nets, and of the judge that stops reward tuning."""
    return "".join(artefacts.files(WEIGHTS / name) for name in ("reward", "judge", "flow", "depth"))


def _write_reference(method: str, truth: Clip, seed: int, preset: Preset, path: Path):
    write_clip(references.reference_video(method, truth, seed, preset.data.ranges), path)


def open_run(preset: str, runs="runs", model: str | None = None, bench: str | None = None) -> Run:
    """The run of a preset below the folder `runs`, in runs/<preset>, after which changes and a model's folder follow.

    Args:
        preset, model, bench: see `presets.get_preset`.
    """
    name = "_".join([*preset.split(), *([Path(model).name] if model else [])])
    return Run(get_preset(preset, model, bench), Path(runs) / name)


def _plain(value):
    """Numpy and NaN to what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
