"""What differs between the kinds of video models that can be trained here; everything else is written once.

Both kinds put the clean first frame in as the first latent, its tokens at timestep 0, and predict the velocity
`noise - x0`. A further kind needs the same functions.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTXImageToVideoPipeline,
    LTXVideoTransformer3DModel,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from diffusers.pipelines.ltx.pipeline_ltx_image2video import calculate_shift
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import read_json
from pisa_kit.models import codec

LTX_RATE = 25  # frames per second that LTX's positions are counted in; clips of all rates count as it, as if it were so


@dataclass(frozen=True)
class Strides:
    """How many video frames (after the first) make a latent frame, and which sides a video may have."""

    frames: int
    multiple: int


class Wan:
    """Wan 2.2 TI2V (`expand_timesteps`), and the embedded model."""

    pipeline, autoencoder, transformer = WanImageToVideoPipeline, AutoencoderKLWan, WanTransformer3DModel
    prompt_tokens = 512
    recommended = "wan2.2-ti2v-5b"  # in the zoo: what its makers film with

    @staticmethod
    def strides(pipeline: WanImageToVideoPipeline) -> Strides:
        config, patch = pipeline.vae.config, pipeline.transformer.config.patch_size
        return Strides(config.scale_factor_temporal, config.scale_factor_spatial * patch[1])

    @staticmethod
    def patch(config) -> tuple[int, int, int]:
        """Latents per token: frames, rows, columns."""
        return config.patch_size

    @staticmethod
    def statistics(autoencoder: AutoencoderKLWan) -> tuple:
        """Mean and standard deviation of each latent channel."""
        return autoencoder.config.latents_mean, autoencoder.config.latents_std

    @staticmethod
    def predict(transformer: nn.Module, config, latents, timestep, text) -> torch.Tensor:
        """The velocity (B, C, t, h, w); `timestep` (B, tokens)."""
        return transformer(hidden_states=latents, timestep=timestep, encoder_hidden_states=text, return_dict=False)[0]

    @staticmethod
    def set_timesteps(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, latents: torch.Tensor):
        scheduler.set_timesteps(steps, device=latents.device)

    @staticmethod
    def shift(scheduler, latents: torch.Tensor) -> float:
        """By which the sampler shifts noise levels towards 1: s of s sigma / (1 + (s - 1) sigma)."""
        config = scheduler.config
        return float(config.get("shift") or config.get("flow_shift") or 1.0)

    encode = staticmethod(codec.encode)
    decode = staticmethod(codec.decode)


class Ltx:
    """LTX-Video: tokens are packed outside the transformer, noise levels are shifted by the number of tokens."""

    pipeline, autoencoder, transformer = LTXImageToVideoPipeline, AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
    prompt_tokens = 128
    recommended = "ltx-video"

    @staticmethod
    def strides(pipeline: LTXImageToVideoPipeline) -> Strides:
        return Strides(pipeline.vae_temporal_compression_ratio, pipeline.vae_spatial_compression_ratio)

    @staticmethod
    def patch(config) -> tuple[int, int, int]:
        return config.patch_size_t, config.patch_size, config.patch_size

    @staticmethod
    def statistics(autoencoder: AutoencoderKLLTXVideo) -> tuple:
        return autoencoder.latents_mean, autoencoder.latents_std / autoencoder.config.scaling_factor

    @staticmethod
    def predict(transformer: nn.Module, config, latents, timestep, text) -> torch.Tensor:
        frames, height, width = latents.shape[2:]
        sizes = config.patch_size, config.patch_size_t
        flow = transformer(
            hidden_states=LTXImageToVideoPipeline._pack_latents(latents, *sizes),
            encoder_hidden_states=text,
            timestep=timestep,
            encoder_attention_mask=text.ne(0).any(-1).to(latents.dtype),
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(8 / LTX_RATE, 32, 32),
            return_dict=False,
        )[0]
        return LTXImageToVideoPipeline._unpack_latents(flow, frames, height, width, *sizes)

    @staticmethod
    def _mu(scheduler: FlowMatchEulerDiscreteScheduler, latents: torch.Tensor) -> float:
        config = scheduler.config
        names = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
        return calculate_shift(latents[0, 0].numel(), *(config.get(name, value) for name, value in names.items()))

    @staticmethod
    def set_timesteps(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, latents: torch.Tensor):
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(sigmas=sigmas, device=latents.device, mu=Ltx._mu(scheduler, latents))

    @staticmethod
    def shift(scheduler: FlowMatchEulerDiscreteScheduler, latents: torch.Tensor) -> float:
        return math.exp(Ltx._mu(scheduler, latents))

    @staticmethod
    def encode(autoencoder: AutoencoderKLLTXVideo, video: torch.Tensor) -> torch.Tensor:
        """The posterior's mean, not normalised."""
        return autoencoder.encode(video).latent_dist.mean

    @staticmethod
    def decode(
        autoencoder: AutoencoderKLLTXVideo, latents: torch.Tensor, gradient_checkpointing: bool = False
    ) -> torch.Tensor:
        """Pixels (B, 3, T, H, W), about [-1, 1]."""
        if gradient_checkpointing and torch.is_grad_enabled():
            return recompute(autoencoder.decode, latents, return_dict=False, use_reentrant=False)[0]
        return autoencoder.decode(latents, return_dict=False)[0]


TRAINABLE = (Wan, Ltx)


def names_of(pipeline: str) -> tuple[str, ...]:
    """The classes that a model_index.json may name for a pipeline: makers ship one folder for text and for pictures."""
    return tuple(dict.fromkeys([pipeline, pipeline.replace("ImageToVideo", "")]))


def class_in(folder) -> str:
    """The class of the pipeline in a folder of diffusers' format; InputError without one."""
    path = Path(folder) / "model_index.json"
    name = check(dict, read_json(path), path).get("_class_name")
    return check(str, name, path, "_class_name", "Give a folder in diffusers' format.")


def family_in(folder):
    """The family of the pipeline in a folder of diffusers' format; InputError for one that cannot be trained here."""
    known = {name: family for family in TRAINABLE for name in names_of(family.pipeline.__name__)}
    path, remedy = Path(folder) / "model_index.json", "Others can be filmed with, not trained here."
    return known[check(Literal[tuple(known)], class_in(folder), path, "_class_name", remedy)]


def family_of(part: DiffusionPipeline | nn.Module):
    """The family of a pipeline, a transformer or an autoencoder; InputError for one that cannot be trained here."""
    for family in TRAINABLE:
        if isinstance(part, (family.pipeline, family.autoencoder, family.transformer)):
            if isinstance(part, WanImageToVideoPipeline) and not part.config.expand_timesteps:
                break
            return family
    known = ", ".join(family.pipeline.__name__ for family in TRAINABLE)
    remedy = f"Train {known} (Wan 2.2 TI2V: with expand_timesteps); others can be filmed with and evaluated."
    raise InputError("model", "kind", f"is {type(part).__name__}", remedy)
