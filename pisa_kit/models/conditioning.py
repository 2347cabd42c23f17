"""The first-frame condition, built in one place for training, sampling and evaluation (Wan2.2-TI2V's way).

The first latent frame is the clean picture, its tokens are at timestep 0; all other frames are noisy. Noise is at
sigma = 1, data at sigma = 0, and the model predicts the velocity `noise - x0`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from torch import nn

from pisa_kit.models.families import family_of

TRAIN_TIMESTEPS = 1000  # sigma 1 in the transformer's units


@dataclass(frozen=True)
class Condition:
    """What a video is generated from.

    Args:
        first: (B, C, 1, h, w), normalised latents of the first frame.
        text: (B, L, D), encoded prompts.
        empty: (1, L, D), the encoded empty prompt, where classifier-free guidance is wanted.
    """

    first: torch.Tensor
    text: torch.Tensor
    empty: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index) -> "Condition":
        return replace(self, first=self.first[index], text=self.text[index])


@contextmanager
def placed(part: nn.Module, like: torch.Tensor) -> Iterator[nn.Module]:
    """Inside, the part is where the tensor is; afterwards where it was: big parts stay off the GPU while idle."""
    home = next(part.parameters()).device
    try:
        yield part.to(like.device)
    finally:
        part.to(home)


def encode(autoencoder: nn.Module, video: torch.Tensor) -> torch.Tensor:
    """Video (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, t, h, w): the posterior's mean."""
    mean, std = _statistics(autoencoder, video)
    with placed(autoencoder, video):
        return (family_of(autoencoder).encode(autoencoder, video.to(autoencoder.dtype)).to(video) - mean) / std


def decode(autoencoder: nn.Module, latents: torch.Tensor, gradient_checkpointing: bool = False) -> torch.Tensor:
    """Normalised latents (B, C, t, h, w) to pixels (B, 3, T, H, W), about [-1, 1], not clamped.

    Args:
        autoencoder: where the latents are, if a gradient is wanted.
        gradient_checkpointing: compute activations again in the backward pass.
    """
    mean, std = _statistics(autoencoder, latents)
    raw = (latents * std + mean).to(autoencoder.dtype)
    with placed(autoencoder, latents):
        return family_of(autoencoder).decode(autoencoder, raw, gradient_checkpointing).to(latents)


def _statistics(autoencoder: nn.Module, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(
        torch.as_tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
        for values in family_of(autoencoder).statistics(autoencoder)
    )


@torch.no_grad()
def condition(
    pipeline: DiffusionPipeline, frames: torch.Tensor, captions: list[str], guidance: float = 1.0
) -> Condition:
    """The condition of each clip.

    Args:
        frames: (B, 3, H, W) in [-1, 1], the first frames, on the device where everything happens.
        captions: B prompts.
        guidance: above 1, the empty prompt is encoded, too.
    """
    empty = encode_text(pipeline, [""], frames) if guidance > 1 else None
    return Condition(encode(pipeline.vae, frames[:, :, None]), encode_text(pipeline, captions, frames), empty)


@torch.no_grad()
def encode_text(pipeline: DiffusionPipeline, captions: list[str], like: torch.Tensor) -> torch.Tensor:
    """Encoded prompts (B, L, D), padded with zeros, where and of the kind that `like` is."""
    options = {"do_classifier_free_guidance": False, "max_sequence_length": prompt_tokens(pipeline)}
    with placed(pipeline.text_encoder, like):
        text, mask, *_ = pipeline.encode_prompt(captions, device=like.device, **options)
    text = text if mask is None else text * mask[..., None]  # whoever needs the mask again: padding is zeros
    return text.to(like)


def prompt_tokens(pipeline: DiffusionPipeline) -> int:
    """The length that prompts are padded to, with zeros."""
    return min(family_of(pipeline).prompt_tokens, pipeline.tokenizer.model_max_length)


def pad_text(text: np.ndarray, pipeline: DiffusionPipeline) -> torch.Tensor:
    """Encoded prompts (B, L, D), stored without padding, at the length that the pipeline uses."""
    return F.pad(torch.from_numpy(text), (0, 0, 0, prompt_tokens(pipeline) - text.shape[1]))


def with_first_frame(latents: torch.Tensor, cond: Condition) -> torch.Tensor:
    """Latents (B, C, t, h, w) with the first frame replaced by the condition's."""
    return torch.cat([cond.first.to(latents), latents[:, :, 1:]], 2)


def token_timesteps(transformer: nn.Module, latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Timesteps (B, tokens): 0 for the tokens of the first latent frame, 1000 sigma for the others.

    Args:
        latents: (B, C, t, h, w).
        sigma: (B,), or of each latent frame (B, t), in [0, 1].
    """
    depth, height, width = family_of(transformer).patch(transformer.config)
    tokens = latents.shape[3] // height * (latents.shape[4] // width)
    noisy = (torch.arange(latents.shape[2] // depth, device=latents.device) > 0).to(latents)
    each = sigma.to(latents) if sigma.ndim == 2 else sigma.to(latents)[:, None].expand(-1, latents.shape[2])
    return (each[:, ::depth] * TRAIN_TIMESTEPS * noisy).repeat_interleave(tokens, 1)


def velocity(
    transformer: nn.Module,
    latents: torch.Tensor,
    sigma: torch.Tensor,
    cond: Condition,
    plain: nn.Module | None = None,
    guidance: float = 1.0,
) -> torch.Tensor:
    """The model's velocity for noisy latents; the first frame is put in, its prediction means nothing.

    Args:
        transformer: the model, possibly wrapped for distributed training.
        latents: (B, C, t, h, w).
        sigma: (B,) or (B, t) in [0, 1].
        plain: the model without its wrapper, where that hides `config`.
        guidance: g of v(empty) + g (v(text) - v(empty)), classifier-free guidance; at most 1: v(text) alone.

    Returns:
        (B, C, t, h, w).
    """
    plain = plain or transformer
    timestep = token_timesteps(plain, latents, sigma)
    noisy, text = (each.to(plain.dtype) for each in (with_first_frame(latents, cond), cond.text))
    flow = family_of(plain).predict(transformer, plain.config, noisy, timestep, text).to(latents)
    if guidance <= 1:
        return flow
    empty = replace(cond, text=cond.empty.expand(len(latents), -1, -1))
    without = velocity(transformer, latents, sigma, empty, plain)
    return without + guidance * (flow - without)
