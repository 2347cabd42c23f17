"""From noise to video: the stock pipeline's sampler with gradients through its last steps, if wanted."""

import torch
from diffusers import DiffusionPipeline
from torch.utils.checkpoint import checkpoint as recompute

from pisa_kit.models.conditioning import TRAIN_TIMESTEPS, Condition, decode, placed, velocity, with_first_frame
from pisa_kit.models.families import family_of


def seed_of(run: int, place: int) -> int:
    """The seed of a clip's noise, from a run's seed and the clip's place."""
    return (run * 1_000_003 + place) % 2**63


def noise_like(cond: Condition, frames: int, seeds: list[int]) -> torch.Tensor:
    """Start noise (B, C, frames, h, w); each clip's depends on its seed alone, not on the batch it is in."""
    shape = (1, cond.first.shape[1], frames, *cond.first.shape[3:])
    draws = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.cat(draws).to(cond.first)


def sample_latents(
    pipeline: DiffusionPipeline,
    cond: Condition,
    noise: torch.Tensor,
    steps: int,
    gradient_steps: int = 0,
    gradient_checkpointing: bool = False,
    model: torch.nn.Module | None = None,
    guidance: float = 1.0,
) -> torch.Tensor:
    """From noise (sigma 1) to latents (sigma 0) with the pipeline's own solver: Euler for the embedded model and LTX,
    UniPC for Wan 2.2.

    With `gradient_steps` = 0 this is what the stock pipeline computes with the same guidance.

    Args:
        noise: (B, C, t, h, w).
        steps: of the solver.
        gradient_steps: how many of the last steps carry gradients.
        gradient_checkpointing: compute the transformer's activations again in the backward pass, keep none.
        model: the transformer in a wrapper, for distributed training; the pipeline's own if None.
        guidance: classifier-free guidance scale, see `conditioning.velocity`; gradients go through both its calls.

    Returns:
        Normalised latents (B, C, t, h, w), the first frame clean.
    """
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    family_of(pipeline).set_timesteps(scheduler, steps, noise)
    latents = noise
    for index, timestep in enumerate(scheduler.timesteps):
        with torch.set_grad_enabled(torch.is_grad_enabled() and index >= steps - gradient_steps):
            sigma = (timestep / TRAIN_TIMESTEPS).expand(len(latents))
            called = (model or pipeline.transformer, latents, sigma, cond, pipeline.transformer, guidance)
            repeat = gradient_checkpointing and torch.is_grad_enabled()
            flow = recompute(velocity, *called, use_reentrant=False) if repeat else velocity(*called)
            latents = scheduler.step(flow, timestep, latents, return_dict=False)[0]
    return with_first_frame(latents, cond)


@torch.no_grad()
def sample(
    pipeline: DiffusionPipeline, cond: Condition, noise: torch.Tensor, steps: int, guidance: float = 1.0
) -> torch.Tensor:
    """Videos (B, 3, T, H, W) in [-1, 1] from noise (B, C, t, h, w)."""
    with placed(pipeline.transformer, noise):
        latents = sample_latents(pipeline, cond, noise, steps, guidance=guidance)
    return decode(pipeline.vae, latents).clamp(-1, 1)
