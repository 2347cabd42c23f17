"""Stage 1, physics supervised fine-tuning: rectified flow on simulated drops (PISA, PSFT)."""

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import nn

from pisa_kit.core.devices import processes, release
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import atomic_folder, link_or_copy
from pisa_kit.models.adapters import add_adapter, merge, save_adapter, with_adapter, with_transformer
from pisa_kit.models.conditioning import Condition, pad_text, velocity
from pisa_kit.models.embedded import load
from pisa_kit.models.families import family_of
from pisa_kit.training.loop import check_run, steps_done, train
from pisa_kit.training.settings import Training

SIGMA_SPREAD = 1.2  # of the logit-normal distribution of noise levels
MOVING = 0.5  # mean squared difference to the first latent frame (normalised latents) at which a place counts as moving
LARGE = 500_000_000  # parameters from which on activations are computed again in the backward pass, to save memory
PLACE_WEIGHT = 6.0  # of the places that count more: a dropped object fills a twenty-fifth of the picture
PLACE_WEIGHTS = {
    "even": "all places alike",
    "moving": "places where anything moves at any time of the clip, which looks at the truth beyond the first frame: "
    "the optimum leans towards places that only some of the possible videos reach",
    "below": "places at and below the object of the first frame, which the model knows: the optimum stays what it is",
}


def draw_sigma(count: int, shift: float, generator: torch.Generator) -> torch.Tensor:
    """Noise levels (count,) in (0, 1), shifted logit-normal: s sigma / (1 + (s - 1) sigma) = sigmoid(1.2 n + ln s).

    The shift s is the one of the model's own sampler (`families`).
    """
    return torch.sigmoid(SIGMA_SPREAD * torch.randn(count, generator=generator) + math.log(shift))


def add_noise(
    x0: torch.Tensor, shift: float, generator: torch.Generator, mixed: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents at noise levels of their own: (1 - sigma) x0 + sigma noise, the noise, and sigma (B, t).

    Args:
        x0: (B, C, t, h, w).
        mixed: share of clips of which each latent frame has a level of its own.
    """
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    sigma = draw_sigma(len(x0), shift, generator)[:, None].repeat(1, x0.shape[2])
    if mixed:
        own = draw_sigma(sigma.numel(), shift, generator).view_as(sigma)
        sigma = torch.where(torch.rand(len(x0), 1, generator=generator) < mixed, own, sigma)
    sigma = sigma.to(x0)
    level = sigma[:, None, :, None, None]
    return (1 - level) * x0 + level * noise, noise, sigma


def velocity_loss(
    model: nn.Module, batch: dict, generator: torch.Generator, shift: float, mixed: float = 0.0
) -> dict[str, torch.Tensor]:
    """Weighted mean squared error of the velocity `noise - x0` at `x = (1 - sigma) x0 + sigma noise`.

    The first latent frame is the condition: it enters clean and is left out of the loss. "error" is the plain mean.

    Args:
        model: the transformer, possibly wrapped for distributed training.
        batch: "latents" (B, C, t, h, w), normalised; "text" (B, L, D); "weight" (B, 1, 1, h, w) of the places.
        shift, mixed: of the noise levels, see `add_noise`.
    """
    x0 = batch["latents"]
    noisy, noise, sigma = add_noise(x0, shift, generator, mixed)
    cond = Condition(x0[:, :, :1], batch["text"])
    predicted = velocity(model, noisy, sigma, cond, plain=getattr(model, "module", model))
    error = (predicted.float() - (noise - x0)).square()[:, :, 1:]
    weight = batch["weight"].expand_as(error)
    return {"loss": (weight * error).sum() / weight.sum(), "error": error.detach().mean()}


def place_weight(kind: str, x0: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Weights (B, 1, 1, h, w), `PLACE_WEIGHT` at some places and 1 elsewhere, the same at all times of a clip.

    Args:
        kind: in `PLACE_WEIGHTS`.
        x0: (B, C, t, h, w), normalised latents.
        below: (B, h, w) bool, from `latents.places_below`.
    """
    if kind == "moving":
        chosen = (x0 - x0[:, :, :1]).square().mean(1).amax(1) > MOVING
    else:
        chosen = below & (kind == "below")
    return (1 + (PLACE_WEIGHT - 1) * chosen.to(x0))[:, None, None]


def train_transformer(
    pipeline: DiffusionPipeline,
    cached: dict,
    settings: Training,
    folder,
    label: str = "psft",
    watch: Callable[[dict], None] | None = None,
    about: dict | None = None,
) -> DiffusionPipeline:
    """Trains the pipeline's transformer on cached latents with the velocity loss; continues after an interruption.

    Pre-training and PSFT are this function on different clips. The result after a number of steps is kept, so a longer
    run in the same folder continues the shorter one, and a shorter one starts anew beside it.

    Args:
        cached: from `latents.cache_latents`.
        folder: receives the run's log and checkpoint, and what `fit` keeps.
        watch, about: see `loop.train`.

    Returns:
        The pipeline with the trained transformer; `pipeline` itself is left as it is.
    """
    check_enough(cached, settings, folder)
    batch = partial(make_batch, cached, pipeline, settings)
    shift = family_of(pipeline).shift(pipeline.scheduler, torch.from_numpy(cached["latents"][:1]))
    loss = partial(velocity_loss, shift=shift, mixed=settings.mixed_noise)
    return fit(pipeline, lambda tuned: loss, batch, settings, folder, label, watch, about)


def check_enough(cached: dict, settings: Training, folder) -> None:
    """InputError unless the clips fill a batch."""
    if (count := len(cached["latents"])) < settings.batch:
        problem = f"are {count}, fewer than one batch of {settings.batch}"
        raise InputError(folder, "clips", problem, "Use more clips or a smaller batch.")


def make_batch(
    cached: dict, pipeline: DiffusionPipeline, settings: Training, step: int, process: int = 0, processes: int = 1
) -> dict[str, torch.Tensor]:
    """A process's share of a step's batch of cached latents for `velocity_loss`: depends on seed and step alone."""
    chosen = draw(len(cached["latents"]), settings, step)[process::processes]
    x0 = torch.from_numpy(cached["latents"][chosen]).float()
    weight = place_weight(settings.place_weight, x0, torch.from_numpy(cached["below"][chosen]))
    return {"latents": x0, "text": pad_text(cached["text"][chosen], pipeline), "weight": weight}


def draw(clips: int, settings: Training, step: int) -> np.ndarray:
    """The clips of a step's batch, over all processes: depends on seed and step alone."""
    return np.random.default_rng([settings.seed, step]).choice(clips, settings.batch, replace=False)


def fit(
    pipeline: DiffusionPipeline,
    make_loss: Callable[[DiffusionPipeline], Callable],
    batch: Callable,
    settings: Training,
    folder,
    label: str,
    watch: Callable[[dict], None] | None = None,
    about: dict | None = None,
) -> DiffusionPipeline:
    """`loop.train` on a copy of the pipeline's transformer.

    The result is kept as folder/pipeline_<steps> in diffusers' format, or where low-rank weights are trained, as the
    file folder/adapter_<steps>/pytorch_lora_weights.safetensors. An adapter that the pipeline has is trained further;
    training of all weights merges it first, and its result stays in float32: small steps are lost in bf16.

    Args:
        make_loss: from the pipeline with the transformer that is trained to the loss.
        about: what else shapes the run, numbers and names that JSON holds unchanged.

    Raises:
        InputError: a folder with a run of other settings.
    """
    check_run(folder, settings, about)
    low, kind = settings.lora_rank > 0, pipeline.vae.dtype
    homes = {part: next(part.parameters()).device for part in (pipeline.transformer, pipeline.vae)}
    done = Path(folder) / f"{'adapter' if low else 'pipeline'}_{settings.steps}"
    if not done.exists():
        transformer = copy.deepcopy(pipeline.transformer)
        if low:
            add_adapter(transformer, settings.lora_rank, settings.seed)
        else:
            merge(transformer).float().requires_grad_(True)
        if transformer.num_parameters() > LARGE:
            transformer.enable_gradient_checkpointing()
        tuned = with_transformer(pipeline, transformer)
        beyond = steps_done(Path(folder) / "checkpoint.safetensors") > settings.steps
        where = Path(folder) / f"again_to_{settings.steps}" if beyond else folder  # fewer steps than were made before
        train(transformer, make_loss(tuned), batch, settings, where, label, watch, about)
        if processes().is_main_process:
            with atomic_folder(done) as temporary:
                if low:
                    save_adapter(tuned, temporary)
                else:
                    _save(tuned, transformer, pipeline.config.get("_name_or_path"), temporary)
        processes().wait_for_everyone()
        for part, home in homes.items():  # a loss may have put them on the GPU
            part.to(home)
        del tuned, transformer
        release()
    return with_adapter(pipeline, done) if low else load(done, kind, transformer=torch.float32)


def _save(tuned: DiffusionPipeline, transformer: nn.Module, base: str | None, folder: Path):
    """Writes the pipeline; files of parts that stayed as they were are links to the base's: a text encoder is large."""
    if not Path(base or "", "model_index.json").exists():
        tuned.save_pretrained(folder)
        return
    transformer.save_pretrained(folder / "transformer")
    for path in sorted(Path(base).rglob("*")):
        part = path.relative_to(base)
        if path.is_file() and (part.parts[0] in tuned.components or part.name == "model_index.json"):
            if part.parts[0] != "transformer":
                (folder / part).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, folder / part)
