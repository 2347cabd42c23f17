"""The embedded model's video autoencoder: a tiny stock `AutoencoderKLWan`, its start, and its training loss."""

from collections.abc import Collection
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample, unpatchify
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from pisa_kit.perception.tensors import to_frames, to_video

DECODED_AT_ONCE = 4  # clips; more need more memory and are not faster


def reconstruct(autoencoder: AutoencoderKLWan, frames: np.ndarray) -> np.ndarray:
    """Clips (N, T, H, W, 3) uint8 as the autoencoder returns them (the posterior's mean): as blurry as its videos."""
    model = Reconstruction(autoencoder).eval()
    with torch.no_grad():
        groups = [frames[start : start + DECODED_AT_ONCE] for start in range(0, len(frames), DECODED_AT_ONCE)]
        return np.concatenate([to_frames(model(to_video(group))[0]) for group in groups])


CHANNELS = 32  # of the latents
KL_WEIGHT = 1e-6
START_LOG_VARIANCE = -6.0


def make_autoencoder(seed: int = 0) -> AutoencoderKLWan:
    """A new autoencoder: 8x8 pixels and 2 frames (after the first) become one latent of 32 channels; 2.5 M parameters.

    Half the temporal compression of Wan 2.2's: with 4 frames per latent the fastest frames of a drop smear. It starts
    as an image codec (nothing reaches across time), so that it can be trained on single frames first.
    """
    torch.manual_seed(seed)
    autoencoder = AutoencoderKLWan(
        base_dim=16,
        z_dim=CHANNELS,
        dim_mult=[1, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        patch_size=2,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
        scale_factor_temporal=2,
        scale_factor_spatial=8,
    )
    with torch.no_grad():
        autoencoder.quant_conv.bias[CHANNELS:] = START_LOG_VARIANCE
        autoencoder.quant_conv.weight[CHANNELS:] = 0
        for module in autoencoder.modules():
            if isinstance(module, WanCausalConv3d):
                module.weight[:, :, :-1] = 0  # the last tap sees the current frame
        for module in autoencoder.modules():
            if isinstance(module, WanResample):
                _start_as_copy(module)
    return autoencoder


def _start_as_copy(module: WanResample):
    """Resampling starts as plain copying of pixels and frames: training converges much faster."""
    for layer in module.resample:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)
    if hasattr(module, "time_conv"):
        weight = module.time_conv.weight
        nn.init.zeros_(weight)
        nn.init.zeros_(module.time_conv.bias)
        for index in range(len(weight)):
            weight[index, index % weight.shape[1], -1] = 1


@contextmanager
def frame_by_frame():
    """Inside, a causal convolution of a first frame skips the zeros before it: the same result in half the time."""
    whole = WanCausalConv3d.forward

    def forward(layer: WanCausalConv3d, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        width, _, height, _, before, _ = layer._padding
        if cache_x is not None or x.shape[2] > 1 or before != layer.kernel_size[0] - 1:
            return whole(layer, x, cache_x)
        return F.conv2d(x[:, :, 0], layer.weight[:, :, -1], layer.bias, layer.stride[1:], (height, width))[:, :, None]

    WanCausalConv3d.forward = forward
    try:
        yield
    finally:
        WanCausalConv3d.forward = whole


def decode(
    autoencoder: AutoencoderKLWan,
    latents: torch.Tensor,
    gradient_checkpointing: bool = False,
    gradient_frames: Collection[int] | None = None,
) -> torch.Tensor:
    """`autoencoder.decode` without its clamp to [-1, 1], which has no gradient where it acts.

    Args:
        latents: (B, C, t, h, w), not normalised.
        gradient_checkpointing: compute a latent frame's activations again in the backward pass, keep none.
        gradient_frames: latent frames whose pixels carry gradients, None for all; the others cost no memory.

    Returns:
        (B, 3, T, H, W), about [-1, 1].
    """
    autoencoder.clear_cache()
    features, cache, frames = autoencoder.post_quant_conv(latents), list(autoencoder._feat_map), []
    for index in range(latents.shape[2]):
        wanted = gradient_frames is None or index in gradient_frames
        with torch.set_grad_enabled(torch.is_grad_enabled() and wanted):
            given = (autoencoder.decoder, features[:, :, index : index + 1], cache, index == 0)
            repeat = gradient_checkpointing and torch.is_grad_enabled()
            frame, cache = recompute(_decode_frame, *given, use_reentrant=False) if repeat else _decode_frame(*given)
        frames.append(frame)
    autoencoder.clear_cache()
    video, patch = torch.cat(frames, 2), autoencoder.config.patch_size
    return unpatchify(video, patch_size=patch) if patch else video


def _decode_frame(decoder: nn.Module, latent: torch.Tensor, cache: list, first: bool) -> tuple[torch.Tensor, list]:
    """Pixels of one latent frame and what the next one needs; `cache`, of the frame before, stays as it is."""
    after = list(cache)
    return decoder(latent, feat_cache=after, feat_idx=[0], first_chunk=first), after


class Reconstruction(nn.Module):
    """Video to reconstructed video, posterior mean and log-variance, as one forward pass (for distributed training)."""

    def __init__(self, autoencoder: AutoencoderKLWan):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, video: torch.Tensor, generator: torch.Generator | None = None):
        """video: (B, 3, T, H, W) in [-1, 1]; without a generator the posterior's mean is decoded."""
        posterior = self.autoencoder.encode(video).latent_dist
        latents = posterior.mean
        if generator is not None:
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            latents = latents + posterior.std * noise
        return decode(self.autoencoder, latents), posterior.mean, posterior.logvar


def reconstruction_loss(model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weighted L1 + L2 of the pixels and a small KL term.

    Args:
        model: a `Reconstruction`.
        batch: "video" (B, 3, T, H, W) in [-1, 1], "weight" (B, 1, T, H, W).
    """
    video, weight = batch["video"], batch["weight"]
    decoded, mean, log_variance = model(video, generator)
    error = decoded.float() - video
    pixels = (weight * (error.abs() + 2 * error.square())).sum() / weight.expand_as(error).sum()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    with torch.no_grad():
        frame = psnr(error.clamp(-2, 2).square().mean())
        inside = weight.expand_as(error) > 1
        moving = psnr(error[inside].square().mean())
    return {"loss": pixels + KL_WEIGHT * kl, "kl": kl.detach(), "psnr": frame, "psnr_object": moving}


def psnr(squared_error: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of a mean squared error between videos in [-1, 1]."""
    return 10 * torch.log10(4 / squared_error)


def object_weight(masks: torch.Tensor, weight: float) -> torch.Tensor:
    """Weights (B, 1, T, H, W) of pixels: `weight` on the object and its neighbours, also of one frame before, else 1.

    Args:
        masks: (B, T, H, W) bool, the moving object.
    """
    grown = F.max_pool2d(masks.float(), 3, stride=1, padding=1)
    left = torch.cat([grown[:, :1], grown[:, :-1]], 1)
    return (1 + (weight - 1) * torch.maximum(grown, left))[:, None]
