"""Stage 1, physics supervised fine-tuning: rectified flow on simulated drops (PISA, PSFT)."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from torch import nn
from tqdm.auto import tqdm

from pisa_kit.conditioning import Condition, condition, encode, pad_text, to_video, velocity
from pisa_kit.devices import device, processes
from pisa_kit.embedded import SHIFT, load
from pisa_kit.files import InputError, atomic_folder, link_or_copy, read_npz, write_npz
from pisa_kit.presets import Training
from pisa_kit.training import train

SIGMA_SPREAD = 1.2  # of the logit-normal distribution of noise levels
MOVING = 0.5  # mean squared difference to the first latent frame (normalised latents) at which a place counts as moving
LORA_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
LARGE = 500_000_000  # parameters from which on activations are computed again in the backward pass, to save memory
MOVING_WEIGHT = 6.0  # of places in which anything moves: a dropped object fills a hundredth of the picture


def draw_sigma(count: int, generator: torch.Generator) -> torch.Tensor:
    """Noise levels (count,) in (0, 1), shifted logit-normal: s sigma / (1 + (s - 1) sigma) = sigmoid(1.2 n + ln s).

    The sampler's levels are shifted in the same way (`embedded.SHIFT`).
    """
    return torch.sigmoid(SIGMA_SPREAD * torch.randn(count, generator=generator) + math.log(SHIFT))


def add_noise(x0: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents (B, C, t, h, w) at noise levels of their own: (1 - sigma) x0 + sigma noise, the noise, sigma (B,)."""
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    sigma = draw_sigma(len(x0), generator).to(x0)
    level = sigma.view(-1, 1, 1, 1, 1)
    return (1 - level) * x0 + level * noise, noise, sigma


def velocity_loss(model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weighted mean squared error of the velocity `noise - x0` at `x = (1 - sigma) x0 + sigma noise`.

    The first latent frame is the condition: it enters clean and is left out of the loss. "error" is the plain mean.

    Args:
        model: the transformer, possibly wrapped for distributed training.
        batch: "latents" (B, C, t, h, w), normalised; "text" (B, L, D).
    """
    x0 = batch["latents"]
    noisy, noise, sigma = add_noise(x0, generator)
    given = Condition(x0[:, :, :1], batch["text"])
    predicted = velocity(model, noisy, sigma, given, plain=getattr(model, "module", model))
    error = (predicted.float() - (noise - x0)).square()[:, :, 1:]
    weight = place_weight(x0).expand_as(error)
    return {"loss": (weight * error).sum() / weight.sum(), "error": error.detach().mean()}


def place_weight(x0: torch.Tensor) -> torch.Tensor:
    """Weights (B, 1, 1, h, w): `MOVING_WEIGHT` where anything moves at any time of the clip, 1 elsewhere.

    One weight for all times of a place: a weight that followed the object would favour where it is over where it could
    be, and so shift what the model samples.

    Args:
        x0: (B, C, t, h, w), normalised latents.
    """
    change = (x0 - x0[:, :, :1]).square().mean(1, keepdim=True).amax(2, keepdim=True)
    return 1 + (MOVING_WEIGHT - 1) * (change > MOVING)


def cache_latents(pipeline: DiffusionPipeline, videos, captions: list[str], path, batch: int = 8) -> dict:
    """Encodes training clips once; the file is used again if it is there.

    Args:
        videos: (N, T, H, W, 3) uint8.
        captions: N prompts.
        path: npz file; name it after the autoencoder and the clips, it is not checked against them.

    Returns:
        "latents" (N, C, t, h, w) float32, normalised; "text" (N, L, D) float32, as long as the longest prompt.
    """
    if Path(path).exists():
        return read_npz(path, "latents", "text")
    latents, text = [], []
    for start in tqdm(range(0, len(videos), batch), desc="encoding", unit=f"{batch} clips"):
        frames = to_video(np.asarray(videos[start : start + batch])).to(device())
        with torch.no_grad():
            latents.append(encode(pipeline.vae, frames).cpu().numpy())
            text.append(condition(pipeline, frames[:, :, 0], captions[start : start + batch]).text.cpu().numpy())
    text = np.concatenate(text)
    longest = int(text.any((0, 2)).nonzero()[0].max()) + 1  # real prompts are padded to 512 tokens
    cached = {"latents": np.concatenate(latents), "text": text[:, :longest]}
    write_npz(path, **cached)
    return cached


def train_transformer(
    pipeline: DiffusionPipeline,
    cached: dict,
    settings: Training,
    folder,
    label: str = "psft",
    watch: Callable[[dict], None] | None = None,
) -> DiffusionPipeline:
    """Trains the pipeline's transformer on cached latents with the velocity loss; continues after an interruption.

    Pre-training and PSFT are this function on different clips. The result after a number of steps is kept, so a longer
    run in the same folder continues the shorter one.

    Args:
        cached: from `cache_latents`.
        folder: receives the run's log and checkpoint, and pipeline_<steps>/ in diffusers' format.
        watch: see `training.train`.

    Returns:
        The pipeline with the trained transformer; `pipeline` itself is left as it is.

    Raises:
        InputError: fewer clips than a batch.
    """
    latents, text = cached["latents"], cached["text"]
    if len(latents) < settings.batch:
        problem = f"are {len(latents)}, fewer than one batch of {settings.batch}"
        raise InputError(folder, "clips", problem, "Use more clips or a smaller batch.")

    def batch(step: int, process: int, processes: int) -> dict[str, torch.Tensor]:
        chosen = draw(len(latents), settings, step)[process::processes]
        return {"latents": torch.from_numpy(latents[chosen]), "text": pad_text(text[chosen], pipeline)}

    return fit(pipeline, lambda tuned: velocity_loss, batch, settings, folder, label, watch)


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
) -> DiffusionPipeline:
    """`training.train` on a copy of the pipeline's transformer; the result is kept as folder/pipeline_<steps>.

    Args:
        make_loss: from the pipeline with the transformer that is trained to the loss.
        batch, settings, watch: see `training.train`.
    """
    done, kind = Path(folder) / f"pipeline_{settings.steps}", pipeline.transformer.dtype
    if not done.exists():
        transformer = copy.deepcopy(pipeline.transformer)
        if settings.lora_rank:
            add_lora(transformer, settings)
        else:
            transformer.float()
        if transformer.num_parameters() > LARGE:
            transformer.enable_gradient_checkpointing()
        options = {name: value for name, value in pipeline.config.items() if name not in pipeline.components}
        options = {name: value for name, value in options.items() if not name.startswith("_")}
        tuned = type(pipeline)(**(pipeline.components | {"transformer": transformer}), **options)
        train(transformer, make_loss(tuned), batch, settings, folder, label, watch)
        if settings.lora_rank:
            transformer.fuse_lora()
            transformer.unload_lora()
        if processes().is_main_process:
            with atomic_folder(done) as temporary:
                _save(tuned, transformer.to(kind), pipeline.config.get("_name_or_path"), temporary)
        processes().wait_for_everyone()
    return load(done, kind)


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


def add_lora(transformer: nn.Module, settings: Training):
    """Freezes the weights and adds trainable low-rank products to those of attention (LoRA, `peft`), in float32."""
    torch.manual_seed(settings.seed)
    rank = settings.lora_rank
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_LAYERS)))
    cast_training_params(transformer)
