"""Stage 2, object reward optimization: rewards back-propagated through the sampler (PISA, ORO; the VADER recipe)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from torch.utils.checkpoint import checkpoint as recompute

from pisa_kit.core.devices import device
from pisa_kit.core.errors import check_choice
from pisa_kit.models.conditioning import Condition, decode, encode_text, pad_text, velocity
from pisa_kit.models.families import family_of
from pisa_kit.models.sampling import sample_latents
from pisa_kit.perception.tensors import to_video
from pisa_kit.training.early_stopping import keep_best
from pisa_kit.training.psft import add_noise, check_enough, draw, fit
from pisa_kit.training.rewards import PAIRED, Reward, RewardFunction, Truth
from pisa_kit.training.settings import OroSettings, Training

# of `OroSettings`, what shapes the weights of a run beside its training
SHAPING = ("weights", "sampling_steps", "guidance", "gradient_steps", "reference_weight")


def oro_loss(
    pipeline: DiffusionPipeline,
    reference: DiffusionPipeline,
    rewards: dict[str, RewardFunction],
    settings: OroSettings,
) -> Callable:
    """The loss of `loop.train`: weighted rewards of sampled videos, and a distance to a reference model.

    Terms in raw units, beside "loss": each reward's mean over the clips that count, "<reward>_left_out" (clips with
    nothing to compare with), "<reward>_lost" (share of frames in which the tracker lost the object) and
    "reference_distance".

    Args:
        pipeline: with the transformer that is trained.
        reference: the model it must stay near, frozen.
        rewards: by name, as in `settings.weights`.
    """
    autoencoder, steps = pipeline.vae.requires_grad_(False).to(device()), settings.sampling_steps
    guidance, empty = settings.guidance, None
    samples = 2 if PAIRED & set(settings.weights) else 1
    if guidance > 1:
        empty = encode_text(pipeline, [""], torch.zeros((), device=device()))
    reference.transformer.to(device())

    def loss(model: torch.nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
        batch = {
            key: each.repeat_interleave(samples, 0) if torch.is_tensor(each) else each for key, each in batch.items()
        }
        cond, truth = Condition(batch["first"], batch["text"], empty), Truth(batch["video"], batch["masks"])
        count, channels, _, *side = cond.first.shape
        noise = torch.randn((count, channels, batch["latent_frames"], *side), generator=generator).to(cond.first)
        through = settings.gradient_steps or int(torch.randint(1, steps + 1, (), generator=generator))
        again = settings.gradient_checkpointing != "nothing"
        whole = settings.gradient_checkpointing == "all"
        latents = sample_latents(pipeline, cond, noise, steps, through, whole, model, guidance)
        video = decode(autoencoder, latents, again)
        terms, total = {}, torch.zeros((), device=video.device)
        seen = _look(rewards, list(settings.weights), video, truth, samples if again else 0)
        for (name, weight), result in zip(settings.weights.items(), seen, strict=True):
            counted = result.counted.to(video)
            terms[name] = (result.loss * counted).sum() / counted.sum().clamp(min=1)
            terms[f"{name}_left_out"], terms[f"{name}_lost"] = (1 - counted).sum(), result.lost.mean()
            total = total + weight * terms[name]
        if settings.reference_weight:
            terms["reference_distance"] = _distance(model, pipeline, reference, latents.detach(), cond, generator)
            total = total + settings.reference_weight * terms["reference_distance"]
        return {"loss": total} | terms

    return loss


def _look(rewards: dict[str, RewardFunction], names: list[str], video, truth: Truth, at_once: int) -> list[Reward]:
    """What each reward says of the videos; with `at_once` so many at a time, computed again in the backward pass."""
    if not at_once:
        return [rewards[name](video, truth) for name in names]

    def one(clip: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        truth = Truth(*given)
        found = [rewards[name](clip, truth) for name in names]
        return tuple(part for result in found for part in (result.loss, result.counted, result.lost))

    clips = zip(*(each.split(at_once) for each in (video, truth.video, truth.masks)), strict=True)
    found = [recompute(one, *clip, use_reentrant=False) for clip in clips]
    parts = [torch.cat(each) for each in zip(*found, strict=True)]
    return [Reward(*parts[start : start + 3]) for start in range(0, len(parts), 3)]


def _distance(model, pipeline, reference, latents: torch.Tensor, cond: Condition, generator) -> torch.Tensor:
    """Mean squared difference of two models' velocities on noisy samples: the KL divergence of their paths, scaled."""
    noisy, _, sigma = add_noise(latents, family_of(pipeline).shift(pipeline.scheduler, latents), generator)
    with torch.no_grad():
        wanted = velocity(reference.transformer, noisy, sigma, cond)
    return (velocity(model, noisy, sigma, cond, pipeline.transformer) - wanted)[:, :, 1:].square().mean()


def make_batch(
    clips: dict, pipeline: DiffusionPipeline, settings: Training, step: int, process: int = 0, processes: int = 1
) -> dict:
    """A process's share of a step's batch of `tune`'s clips for `oro_loss`: depends on seed and step alone."""
    chosen = draw(len(clips["latents"]), settings, step)[process::processes]
    latents = torch.from_numpy(clips["latents"][chosen]).float()
    return {
        "first": latents[:, :, :1],
        "latent_frames": latents.shape[2],
        "text": pad_text(clips["text"][chosen], pipeline),
        "video": to_video(clips["frames"][chosen]),
        "masks": torch.from_numpy(clips["masks"][chosen]),
    }


def tune(
    pipeline: DiffusionPipeline,
    clips: dict,
    rewards: dict[str, RewardFunction],
    settings: OroSettings,
    folder,
    label: str = "ORO",
    validate: Callable[[DiffusionPipeline], dict] | None = None,
    watch: Callable[[dict], None] | None = None,
    judged_by: str = "",
) -> tuple[DiffusionPipeline, list[dict]]:
    """Tunes the pipeline's transformer on rewards; continues after an interruption.

    Args:
        clips: "latents" and "text" of `cache_latents`, "frames" (N, T, H, W, 3) uint8, "masks" (N, T, H, W) bool.
        rewards: see `rewards.load_rewards`; at least the names in `settings.weights`.
        folder: receives log, checkpoint, pipelines and validation.json.
        validate, judged_by: see `keep_best`. Without them all steps are made.
        watch: see `loop.train`.

    Returns:
        The tuned pipeline and what `validate` said, both as of `keep_best`.

    Raises:
        InputError: a weight without reward, or fewer clips than a batch.
    """
    training = settings.training
    for name in settings.weights:
        check_choice(name, rewards, "weights")
    check_enough(clips, training, folder)
    batch = partial(make_batch, clips, pipeline, training)
    make_loss = lambda tuned: oro_loss(tuned, pipeline, rewards, settings)  # noqa: E731
    about = {name: getattr(settings, name) for name in SHAPING}

    def train_to(steps: int) -> DiffusionPipeline:
        if not steps:
            return pipeline
        return fit(pipeline, make_loss, batch, replace(training, steps=steps), folder, label, watch, about)

    if validate is None:
        return train_to(training.steps), []
    return keep_best(train_to, validate, settings, Path(folder), judged_by)
