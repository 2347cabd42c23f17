"""Where a study's artefacts live: every clip, model and video is made once, named after what shaped it, and kept."""

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from pisa_kit.clips.clip import Clip
from pisa_kit.core import artefacts
from pisa_kit.core.devices import device
from pisa_kit.core.errors import check_choice
from pisa_kit.core.storage import WEIGHTS
from pisa_kit.metrics.evaluation import APPEARANCE, evaluate_videos
from pisa_kit.models.conditioning import decode, encode
from pisa_kit.models.embedded import BASE, load
from pisa_kit.models.families import family_of
from pisa_kit.models.generation import Protocol, fingerprint, generate
from pisa_kit.models.zoo import ZOO, StockModel
from pisa_kit.perception.guess import GuessNet, load_guess
from pisa_kit.perception.tensors import to_frames, to_video
from pisa_kit.sim import references
from pisa_kit.sim.corpora import read_captions, read_corpus, read_parts, vary_captions
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.study.clip_store import ClipStore, make_clips
from pisa_kit.study.paper_clips import PROMPT
from pisa_kit.study.presets import get_preset
from pisa_kit.study.results import Results
from pisa_kit.study.settings import AMBIGUOUS
from pisa_kit.training import oro
from pisa_kit.training.latents import INDEX, cache_latents, read_latents
from pisa_kit.training.pretrain_perception import train_guess
from pisa_kit.training.psft import train_transformer
from pisa_kit.training.rewards import REWARD_FUNCTIONS, load_rewards
from pisa_kit.training.settings import OroSettings

LONGEST_NAME = 200  # of a run's folder, bytes; file systems take 255
RECOMMENDED = "base (recommended size)"
STAGE_OF = dict.fromkeys(AMBIGUOUS, "ambiguous") | {"PSFT, noon": "noon", "PSFT, pairs": "pairs"}  # other drops
VALIDATED = ["l2", "fixed_l2", "fixed_chamfer_distance", "fixed_iou", "visibility", *APPEARANCE]


@dataclass(frozen=True)
class Run(ClipStore, Results):
    """One preset's artefacts below `folder`: data, models, videos, notebooks, figures, results, results.json."""

    def reference(self, method: str, truths: list[Clip], seed: int) -> list[Clip]:
        """Videos of one reference predictor (module `references`) for each true clip, made once and kept.

        Like any generator's output they come as frames alone: masks have to be tracked (`trackers.track_clips`).

        Args:
            method: in `references.SIMULATED` or `references.CEILINGS`.
        """
        check_choice(method, references.names(), "reference")
        if method == "truth":
            return [references.bare(truth.frames, truth, method) for truth in truths]
        preset, shapes = self.preset, [fingerprint(truth) for truth in truths]
        facts = [(truth.info.get("scene"), given) for truth, given in zip(truths, shapes, strict=True)]
        if method in references.CEILINGS:
            net = self.base().vae if method == "codec" else self.guess()
            facts.append(artefacts.weights(net))
        key = artefacts.key("references", facts, preset.data.video, preset.data.ranges)
        folder = self.folder / "videos" / method.replace(" ", "_") / f"seed{seed}_{key}"
        if method in references.CEILINGS:  # nets stay in this process
            return make_clips(
                folder, {truth.name: partial(_ceiling, method, net, truth) for truth in truths}, method, 1
            )
        make = partial(references.reference_video, method, seed=seed, ranges=preset.data.ranges)
        return make_clips(folder, {truth.name: partial(make, truth) for truth in truths}, method)

    def guess(self) -> GuessNet:
        """The net behind *best guess*: the one that ships if the preset's drops are those it learned from."""
        preset = self.preset
        if (preset.data.video, preset.data.ranges) == (Video(), Ranges()):
            return load_guess()
        seed, simulated = preset.seeds[0], self._drops_folder(preset.seeds[0], "psft", mixed=False)
        folder = self.folder / "models" / f"guess_seed{seed}_{artefacts.key('guess', preset.guess, simulated.name)}"
        frames, masks, _ = read_corpus(simulated)
        return train_guess(frames, masks, folder, preset.guess)

    def base(self) -> DiffusionPipeline:
        """The image-to-video model before post-training: the embedded one unless the preset names another.

        It is loaded once in a process, and shared: whoever changes it works on a copy.
        """
        return _load_once(str(self.preset.base or BASE), self.dtype())

    def dtype(self) -> torch.dtype:
        """Of the base's weights: bf16 on a GPU, if that is what is trained with."""
        large = self.preset.psft.training.precision == "bf16" and device().type == "cuda"
        return torch.bfloat16 if large else torch.float32

    def recommended(self) -> StockModel:
        """The base as its makers film with it: at their size, frames, rate, steps and guidance (`zoo.ZOO`)."""
        base = load(self.preset.base or BASE, self.dtype())  # its own, because offloading changes it
        if device().type == "cuda":
            base.enable_model_cpu_offload(device=device())
        spec = replace(ZOO[family_of(base).recommended], **(self.preset.recommended or {}))
        return StockModel(spec, base, artefacts.model(base))

    def bases(self) -> list[str]:
        """The names of the base in tables: as it is tuned, and before that as its makers film with it, if wanted."""
        return ["base"] if self.preset.recommended is None else [RECOMMENDED, "base"]

    def _latents_path(self, seed: int, stage: str, base: DiffusionPipeline) -> Path:
        folder = self._drops_folder(seed, stage)
        key = artefacts.key("latents", artefacts.weights(base.vae), artefacts.weights(base.text_encoder))
        return folder.with_name(f"{folder.name}_latents_{key}")

    def latents(self, seed: int, stage: str = "psft") -> dict:
        """Latents and text of a stage's training drops, encoded once and kept (`latents.cache_latents`)."""
        base, drops = self.base(), self._drops_folder(seed, stage)
        path = self._latents_path(seed, stage, base)
        if (path / INDEX).exists():
            return read_latents(path)
        captions = read_captions(drops)
        varied = zip(captions, vary_captions(captions, seed), strict=True)
        captions = [old if old == PROMPT else new for old, new in varied]
        return cache_latents(base, read_parts(drops), captions, path)

    def oro_clips(self, seed: int, stage: str = "oro") -> dict:
        """What reward tuning learns from: `latents`, and "frames" and "masks" of the same drops."""
        frames, masks, _ = self.drops(seed, stage)
        return self.latents(seed, stage) | {"frames": frames, "masks": masks}

    def prepare(self, method: str, seed: int):
        """Makes everything but models that `model` needs: clips, their latents, validation clips."""
        stages = [STAGE_OF.get(method, "psft")]
        if method in self.preset.oro.rewards:
            stages.append("oro")
            self.held_out("validation")
        for stage in stages:
            self.latents(seed, stage)

    def model(self, method: str, seed: int) -> DiffusionPipeline | StockModel:
        """A model of the study, trained if it is not there yet.

        Args:
            method: "base", "base (recommended size)", "PSFT", the name of a reward, or one in `STAGE_OF`.
        """
        if method in ("base", RECOMMENDED):
            return self.base() if method == "base" else self.recommended()
        stage = STAGE_OF.get(method, "psft")
        tuned = self.psft(self.count_of(stage), self.preset.psft.training.steps, seed, stage=stage)
        if method == AMBIGUOUS[1]:
            return self.energy(tuned, seed)
        return tuned if method == "PSFT" or method in STAGE_OF else self.oro(tuned, method, seed)[0]

    def psft(
        self, clips: int, steps: int, seed: int, watch=None, stage: str = "psft", place_weight: str | None = None
    ) -> DiffusionPipeline:
        """The base after `steps` steps of PSFT on the first `clips` drops, trained once and kept.

        With all clips the model is kept at each of the preset's `step_counts` on the way, until the rate falls.

        Args:
            watch: see `loop.train`.
            stage: "psft", or a value of `STAGE_OF`: other drops, as of `corpora.Corpus`.
            place_weight: in `psft.PLACE_WEIGHTS`; None: the preset's.
        """
        training = self.preset.psft.training
        place_weight = place_weight or training.place_weight
        folder, base = self.psft_folder(clips, seed, stage, place_weight, steps), self.base()
        cached = self.latents(seed, stage)
        if clips < self.count_of(stage):  # all of them stay on the disk
            cached = {name: array[:clips] for name, array in cached.items()}
        whole = clips == self.preset.psft.clips and stage == "psft"
        level, counts = min(steps, training.level_steps), self.preset.psft.step_counts
        for stop in sorted({steps, *(count for count in counts if whole and count <= level)}):
            decay = training.decay if stop == training.steps else 0.0
            settings = replace(training, steps=stop, seed=seed, place_weight=place_weight, decay=decay)
            tuned = train_transformer(base, cached, settings, folder, f"{stage} on {clips} clips", watch)
        return tuned

    def psft_folder(self, clips: int, seed: int, stage: str = "psft", place_weight=None, steps: int = 0) -> Path:
        """Where `psft` keeps a run's log, checkpoint and pipelines: as long as the rate is level, one for all steps."""
        base, training = self.base(), self.preset.psft.training
        falls = training.decay > 0 and (steps == training.steps or steps <= training.level_steps)
        settings = training if falls else replace(training, steps=1, decay=0.0)
        settings = replace(settings, seed=seed, place_weight=place_weight or settings.place_weight)
        key = artefacts.key("psft", settings, artefacts.model(base), self._latents_path(seed, stage, base).name)
        return self.folder / "models" / f"{stage}_{clips}_clips_seed{seed}_{key}"

    def oro(
        self,
        tuned: DiffusionPipeline,
        name: str,
        seed: int,
        settings: OroSettings | None = None,
        watch=None,
        stage: str = "oro",
    ) -> tuple[DiffusionPipeline, list[dict]]:
        """A model after reward tuning, tuned once and kept, and its validations (`oro.tune`).

        Args:
            tuned: the model to start from, e.g. of `psft`.
            name: of the run, and of the entry in the preset's rewards if there are no `settings`.
            seed: of training clips, order and noise.
            watch: see `loop.train`.
            stage: of the drops; with "ambiguous" ones all steps are made, there is no validation.
        """
        settings = settings or self.preset.oro_settings(name)
        settings = replace(settings, training=replace(settings.training, seed=seed))
        clips, validate = self.oro_clips(seed, stage), partial(self.validation, seed) if stage == "oro" else None
        folder = self.oro_folder(tuned, name, seed, settings, stage)
        nets = load_rewards(settings.weights, self.preset.oro.perception, device())
        judged_by = self.judged_by() if validate else ""
        return oro.tune(tuned, clips, nets, settings, folder, name, validate, watch, judged_by)

    def validation(self, seed: int, model: DiffusionPipeline) -> dict[str, float]:
        """Means over the model's videos of the validation clips, which choose between steps and enter no table."""
        truths = self.held_out("validation")
        videos = self.generate(model, truths, seed)
        return evaluate_videos(truths, videos, workers=1).table[VALIDATED].mean().to_dict()

    def judged_by(self) -> str:
        """A name for `validation`'s clips, and for how they are filmed and judged."""
        clips = self.held_out_recipe("validation").key
        return artefacts.key("validation", clips, self.preset.sampling_steps, self.preset.guidance, VALIDATED)

    def energy(self, tuned: DiffusionPipeline, seed: int) -> DiffusionPipeline:
        """A model of ambiguous drops, tuned further on them by the energy score of two videos of each picture."""
        settings = replace(self.preset.oro.tuning, weights={"energy": self.preset.distribution.energy}, eval_steps=())
        return self.oro(tuned, "energy", seed, settings, stage="ambiguous")[0]

    def oro_folder(
        self, tuned: DiffusionPipeline, name: str, seed: int, settings: OroSettings | None = None, stage: str = "oro"
    ) -> Path:
        """Where `oro` keeps a run's log, checkpoint, pipelines and validations."""
        settings = settings or self.preset.oro_settings(name)
        settings = replace(settings, training=replace(settings.training, seed=seed, steps=1))
        cached, nets = self._latents_path(seed, stage, tuned).name, self.preset.oro.perception
        if nets == "tiny":  # the weights of those that ship, and of the judge that stops the tuning
            nets = "".join(artefacts.files(WEIGHTS / name) for name in ("reward", "judge", "flow", "depth"))
        key = artefacts.key("oro", replace(settings, eval_steps=()), nets, artefacts.model(tuned), cached)
        return self.folder / "models" / f"oro_{name}_seed{seed}_{key}"

    def generate(self, pipeline: DiffusionPipeline | StockModel, truths: list[Clip], seed: int) -> list[Clip]:
        """A video by the pipeline for each true clip, from its first frame and caption; made once for all notebooks."""
        name, facts, batch = self.preset.base or "embedded", [fingerprint(truth) for truth in truths], 16
        if isinstance(pipeline, StockModel):
            model, steps, guidance = pipeline.weights, pipeline.spec.steps, pipeline.spec.guidance
            facts, batch = [*facts, pipeline.describe()], 1
        else:
            model, steps, guidance = artefacts.model(pipeline), self.preset.sampling_steps, self.preset.guidance
        protocol = Protocol(name, model, steps, guidance, **asdict(self.preset.data.video))
        folder = self.folder / "videos" / model / f"seed{seed}_{artefacts.key('videos', asdict(protocol), facts)}"
        mixed = self.dtype() == torch.bfloat16  # what was trained in full is float32: film with it as it was trained
        with torch.autocast(device().type, torch.bfloat16, enabled=mixed and not isinstance(pipeline, StockModel)):
            return generate(pipeline, protocol, truths, seed, folder, batch)

    def videos(self, method: str, truths: list[Clip], seed: int) -> list[Clip]:
        """What a method, a reference predictor or a model, makes of each true clip."""
        if method in references.names():
            return self.reference(method, truths, seed)
        return self.generate(self.model(method, seed), truths, seed)


@torch.no_grad()
def _ceiling(method: str, net, truth: Clip) -> Clip:
    if method == "codec":
        frames = to_frames(decode(net, encode(net, to_video(truth.frames[None]).to(device()))))[0]
    else:
        frames = references.best_guess(net, truth)
    return references.bare(frames, truth, method)


@lru_cache(maxsize=1)
def _load_once(path: str, dtype: torch.dtype) -> DiffusionPipeline:
    return load(path, dtype)


def open_run(preset: str, runs="runs", model: str | None = None, bench: str | None = None, seed: int = 0) -> Run:
    """The run of a preset below the folder `runs`, in runs/<preset>, after which changes, model and seed follow.

    Args:
        preset, model, bench: see `presets.get_preset`.
        seed: that a notebook adds to the preset's; its results must not replace theirs.

    Raises:
        InputError: as of `presets.get_preset`, or rewards that are not in `rewards.REWARD_FUNCTIONS`.
    """
    found = get_preset(preset, model, bench)
    for weights in (found.oro_settings(name).weights for name in found.oro.rewards):
        for reward in weights:  # here, because some are registered by then
            check_choice(reward, REWARD_FUNCTIONS, "reward")
    parts = [*preset.split(), *([Path(model).name] if model else []), *([f"seed{seed}"] if seed else [])]
    name = re.sub(r'[\\/:*?"<>|]', "+", "_".join(parts))  # what no file system takes
    if len(whole := name.encode()) > LONGEST_NAME:  # of paths, say
        name = f"{whole[:LONGEST_NAME].decode(errors='ignore')}_{hashlib.sha256(whole).hexdigest()[:8]}"
    return Run(found, Path(runs) / name)
