"""The first-frame condition, built in one place for training, sampling and evaluation (Wan2.2-TI2V's way).

The first latent frame is the clean picture, its tokens are at timestep 0; all other frames are noisy. Noise is at
sigma = 1, data at sigma = 0, and the model predicts the velocity `noise - x0`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanTransformer3DModel

TEXT_TOKENS = 32  # prompts are padded to this length
TRAIN_TIMESTEPS = 1000  # sigma 1 in the transformer's units


def to_video(frames: np.ndarray) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 to (B, 3, T, H, W) float in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_frames(video: torch.Tensor) -> np.ndarray:
    """(B, 3, T, H, W), about [-1, 1], to (B, T, H, W, 3) uint8."""
    return ((video + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()


@dataclass(frozen=True)
class Condition:
    """What a video is generated from.

    Args:
        first: (B, C, 1, h, w), normalised latents of the first frame.
        text: (B, L, D), encoded prompts.
    """

    first: torch.Tensor
    text: torch.Tensor

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index) -> "Condition":
        return Condition(self.first[index], self.text[index])


def encode(autoencoder: AutoencoderKLWan, video: torch.Tensor) -> torch.Tensor:
    """Video (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, t, h, w): the posterior's mean."""
    mean, std = _statistics(autoencoder, video)
    return (autoencoder.encode(video).latent_dist.mean - mean) / std


def denormalise(autoencoder: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """Normalised latents to those the autoencoder decodes."""
    mean, std = _statistics(autoencoder, latents)
    return latents * std + mean


def _statistics(autoencoder: AutoencoderKLWan, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    config = autoencoder.config
    return tuple(
        torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
        for values in (config.latents_mean, config.latents_std)
    )


@torch.no_grad()
def condition(pipeline: WanImageToVideoPipeline, frames: torch.Tensor, captions: list[str]) -> Condition:
    """The condition of each clip.

    Args:
        frames: (B, 3, H, W) in [-1, 1], the first frames.
        captions: B prompts.
    """
    text, _ = pipeline.encode_prompt(
        captions, do_classifier_free_guidance=False, max_sequence_length=TEXT_TOKENS, device=frames.device
    )
    return Condition(encode(pipeline.vae, frames[:, :, None]), text)


def with_first_frame(latents: torch.Tensor, given: Condition) -> torch.Tensor:
    """Latents (B, C, t, h, w) with the first frame replaced by the condition's."""
    return torch.cat([given.first.to(latents), latents[:, :, 1:]], 2)


def token_timesteps(transformer: WanTransformer3DModel, latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Timesteps (B, tokens): 0 for the tokens of the first latent frame, 1000 sigma for the others.

    Args:
        latents: (B, C, t, h, w).
        sigma: (B,) in [0, 1].
    """
    depth, height, width = transformer.config.patch_size
    tokens = latents.shape[3] // height * (latents.shape[4] // width)
    frames = torch.arange(latents.shape[2] // depth, device=latents.device)
    noisy = (frames > 0).to(latents.dtype).repeat_interleave(tokens)
    return sigma.to(latents)[:, None] * TRAIN_TIMESTEPS * noisy


def velocity(
    transformer: torch.nn.Module, latents: torch.Tensor, sigma: torch.Tensor, given: Condition, plain=None
) -> torch.Tensor:
    """The model's velocity for noisy latents; the first frame is put in, its prediction means nothing.

    Args:
        transformer: the model, possibly wrapped for distributed training.
        latents: (B, C, t, h, w).
        sigma: (B,) in [0, 1].
        plain: the model without its wrapper, where that hides `config`.

    Returns:
        (B, C, t, h, w).
    """
    timestep = token_timesteps(plain or transformer, latents, sigma)
    return transformer(
        hidden_states=with_first_frame(latents, given),
        timestep=timestep,
        encoder_hidden_states=given.text,
        return_dict=False,
    )[0]
