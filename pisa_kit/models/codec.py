"""The embedded model's codec: a tiny stock `AutoencoderKLWan` run frame by frame, its start, its training loss."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample, unpatchify
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from pisa_kit.perception.tensors import to_frames, to_video

CHANNELS = 32  # of the latents
KL_WEIGHT = 1e-6
TIE = 0.05  # weight of the distance to another autoencoder's latents, in their variance
START_LOG_VARIANCE = -6.0


def make_autoencoder(seed: int = 0) -> AutoencoderKLWan:
    """A new autoencoder: 8x8 pixels of one frame become one latent of 32 channels; 2.9 M parameters, a third in use.

    No temporal compression: with two frames per latent every landing snapped to one phase. Wan's causal convolutions
    keep their taps on earlier frames, at zero, so that stock diffusers loads and runs it.
    """
    torch.manual_seed(seed)
    autoencoder = AutoencoderKLWan(
        base_dim=64,
        z_dim=CHANNELS,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        patch_size=4,
        is_residual=True,
        in_channels=48,
        out_channels=48,
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
        scale_factor_temporal=1,
        scale_factor_spatial=8,
    )
    with torch.no_grad():
        autoencoder.quant_conv.bias[CHANNELS:] = START_LOG_VARIANCE
        autoencoder.quant_conv.weight[CHANNELS:] = 0
        for module in autoencoder.modules():
            if isinstance(module, WanCausalConv3d):
                module.weight[:, :, :-1] = 0  # the last tap sees the current frame
            if isinstance(module, WanResample):  # resampling starts as plain copying: training converges much faster
                for layer in module.resample:
                    if isinstance(layer, nn.Conv2d):
                        nn.init.dirac_(layer.weight)
                        nn.init.zeros_(layer.bias)
    return autoencoder


def single_frames(autoencoder: AutoencoderKLWan) -> bool:
    """Does nothing reach from one frame to another? Then a video is a batch of pictures.

    Without data (on the meta device), the configuration alone decides.
    """
    causal = [layer for layer in autoencoder.modules() if isinstance(layer, WanCausalConv3d)]
    known = [layer.weight[:, :, :-1] for layer in causal if not layer.weight.is_meta]
    return not any(autoencoder.config.temperal_downsample) and not any(earlier.any() for earlier in known)


@contextmanager
def as_pictures() -> Iterator[None]:
    """Inside, a causal convolution of single frames is the two-dimensional one it amounts to: a third of the time."""
    whole = WanCausalConv3d.forward

    def forward(layer: WanCausalConv3d, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        width, _, height, *_ = layer._padding
        return F.conv2d(x[:, :, 0], layer.weight[:, :, -1], layer.bias, layer.stride[1:], (height, width))[:, :, None]

    WanCausalConv3d.forward = forward
    try:
        yield
    finally:
        WanCausalConv3d.forward = whole


@contextmanager
def only_space(autoencoder: AutoencoderKLWan) -> Iterator[None]:
    """Inside, causal convolutions consist of their last tap alone, so that an optimizer sees nothing else."""
    layers = [layer for layer in autoencoder.modules() if isinstance(layer, WanCausalConv3d)]
    taps = {layer: layer.weight.shape[2] for layer in layers}
    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.detach()[:, :, -1:].clone())
    try:
        with as_pictures():
            yield
    finally:
        for layer, count in taps.items():
            layer.weight = nn.Parameter(F.pad(layer.weight.detach(), (0, 0, 0, 0, count - 1, 0)))


def encode(autoencoder: AutoencoderKLWan, video: torch.Tensor) -> torch.Tensor:
    """The posterior's mean, (B, C, t, h, w), of a video (B, 3, T, H, W) in [-1, 1]; not normalised."""
    if not single_frames(autoencoder):
        return autoencoder.encode(video).latent_dist.mean
    with as_pictures():
        latents = autoencoder.encode(_pictures(video)).latent_dist.mean
    return _video(latents, len(video))


def decode(autoencoder: AutoencoderKLWan, latents: torch.Tensor, gradient_checkpointing: bool = False) -> torch.Tensor:
    """`autoencoder.decode` without its clamp to [-1, 1], which has no gradient where it acts.

    Args:
        latents: (B, C, t, h, w), not normalised.
        gradient_checkpointing: compute a latent frame's activations again in the backward pass, keep none.

    Returns:
        (B, 3, T, H, W), about [-1, 1].
    """
    if single_frames(autoencoder):
        frames = latents.split(1, 2) if gradient_checkpointing and torch.is_grad_enabled() else [latents]
        return torch.cat([_decode_pictures(autoencoder, frame, len(frames) > 1) for frame in frames], 2)
    autoencoder.clear_cache()
    features, cache, frames = autoencoder.post_quant_conv(latents), list(autoencoder._feat_map), []
    for index in range(latents.shape[2]):
        given = (autoencoder.decoder, features[:, :, index : index + 1], cache, index == 0)
        repeat = gradient_checkpointing and torch.is_grad_enabled()
        frame, cache = recompute(_decode_frame, *given, use_reentrant=False) if repeat else _decode_frame(*given)
        frames.append(frame)
    autoencoder.clear_cache()
    return _unpatched(autoencoder, torch.cat(frames, 2))


def _decode_pictures(autoencoder: AutoencoderKLWan, latents: torch.Tensor, repeat: bool) -> torch.Tensor:
    def pixels(pictures: torch.Tensor) -> torch.Tensor:
        with as_pictures():
            features = autoencoder.post_quant_conv(pictures)
            cache = [None] * sum(isinstance(layer, WanCausalConv3d) for layer in autoencoder.decoder.modules())
            return _unpatched(autoencoder, autoencoder.decoder(features, cache, [0], first_chunk=True))

    pictures = _pictures(latents)
    found = recompute(pixels, pictures, use_reentrant=False) if repeat else pixels(pictures)
    return _video(found, len(latents))


def _decode_frame(decoder: nn.Module, latent: torch.Tensor, cache: list, first: bool) -> tuple[torch.Tensor, list]:
    """Pixels of one latent frame and what the next one needs; `cache`, of the frame before, stays as it is."""
    after = list(cache)
    return decoder(latent, feat_cache=after, feat_idx=[0], first_chunk=first), after


def _unpatched(autoencoder: AutoencoderKLWan, video: torch.Tensor) -> torch.Tensor:
    patch = autoencoder.config.patch_size
    return unpatchify(video, patch_size=patch) if patch else video


def _pictures(video: torch.Tensor) -> torch.Tensor:
    """(B, C, T, H, W) to (B T, C, 1, H, W)."""
    return video.transpose(1, 2).flatten(0, 1)[:, :, None]


def _video(pictures: torch.Tensor, clips: int) -> torch.Tensor:
    """(B T, C, 1, H, W) to (B, C, T, H, W)."""
    return pictures[:, :, 0].unflatten(0, (clips, -1)).transpose(1, 2)


class Reconstruction(nn.Module):
    """Pictures to reconstructed pictures, posterior mean and log-variance, as one forward pass."""

    def __init__(self, autoencoder: AutoencoderKLWan):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pictures: torch.Tensor, generator: torch.Generator, latent_noise: float):
        """pictures: (B, 3, 1, H, W) in [-1, 1]; latents are drawn, and roughened because sampled ones are not exact."""
        posterior = self.autoencoder.encode(pictures).latent_dist
        latents = posterior.mean
        draw = lambda *shape: torch.randn(shape, generator=generator).to(latents)  # noqa: E731
        spread = latents.detach().std((0, 2, 3, 4), keepdim=True)
        rough = latent_noise * torch.rand((len(latents), 1, 1, 1, 1), generator=generator).to(latents) * spread
        latents = latents + posterior.std * draw(*latents.shape) + rough * draw(*latents.shape)
        return _decode_pictures(self.autoencoder, latents, False), posterior.mean, posterior.logvar


def reconstruction_loss(
    model: nn.Module,
    batch: dict,
    generator: torch.Generator,
    square: float = 2.0,
    latent_noise: float = 0.0,
    like: AutoencoderKLWan | None = None,
) -> dict[str, torch.Tensor]:
    """Weighted absolute and squared error of the pixels, and a small KL term.

    Args:
        model: a `Reconstruction`.
        batch: "video" (B, 3, 1, H, W) in [-1, 1], "weight" (B, 1, 1, H, W).
        square: weight of the squared error.
        latent_noise: largest noise on the latents, in their standard deviations.
        like: another autoencoder, to whose latents of the same pictures these are tied.
    """
    video, weight = batch["video"], batch["weight"]
    decoded, mean, log_variance = model(video, generator, latent_noise)
    error = decoded.float() - video
    pixels = (weight * (error.abs() + square * error.square())).sum() / weight.expand_as(error).sum()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    tie = torch.zeros(())
    if like is not None:
        with torch.no_grad():
            wanted = like.encode(video).latent_dist.mean
        scale = torch.tensor(like.config.latents_std, device=mean.device).view(1, -1, 1, 1, 1)
        tie = TIE * ((mean - wanted) / scale).square().mean()
    with torch.no_grad():
        frame = psnr(error.clamp(-2, 2).square().mean())
        moving = psnr(error[weight.expand_as(error) > 1].square().mean())
    return {"loss": pixels + KL_WEIGHT * kl + tie, "kl": kl.detach(), "psnr": frame, "psnr_object": moving}


def psnr(squared_error: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of a mean squared error between videos in [-1, 1]."""
    return 10 * torch.log10(4 / squared_error)


def object_weight(masks: torch.Tensor, weight: float) -> torch.Tensor:
    """Weights (B, 1, T, H, W) of pixels: `weight` on the object and its neighbours, else 1.

    Args:
        masks: (B, T, H, W) bool.
    """
    return (1 + (weight - 1) * F.max_pool2d(masks.float(), 3, stride=1, padding=1))[:, None]


CLIPS_AT_ONCE = 4  # more need more memory and are not faster


@torch.no_grad()
def reconstruct(autoencoder: nn.Module, frames: np.ndarray) -> np.ndarray:
    """Clips (N, T, H, W, 3) uint8 as the autoencoder returns them: as sharp as its model's videos can be."""
    groups = [frames[start : start + CLIPS_AT_ONCE] for start in range(0, len(frames), CLIPS_AT_ONCE)]
    return np.concatenate([to_frames(decode(autoencoder, encode(autoencoder, to_video(group)))) for group in groups])
