"""Stage 1, physics supervised fine-tuning: rectified flow on simulated drops (PISA, PSFT)."""

import torch

from pisa_kit.conditioning import Condition, velocity

SIGMA_SPREAD, SIGMA_SHIFT = 1.2, 0.3  # of the logit-normal distribution of noise levels


def draw_sigma(count: int, generator: torch.Generator) -> torch.Tensor:
    """Noise levels (count,) in (0, 1), shifted logit-normal: sigmoid(1.2 n + 0.3)."""
    return torch.sigmoid(SIGMA_SPREAD * torch.randn(count, generator=generator) + SIGMA_SHIFT)


def velocity_loss(model: torch.nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Mean squared error of the velocity `noise - x0` at `x = (1 - sigma) x0 + sigma noise`.

    The first latent frame is the condition: it enters clean and is left out of the loss.

    Args:
        model: the transformer, possibly wrapped for distributed training.
        batch: "latents" (B, C, t, h, w), normalised; "text" (B, L, D).
    """
    x0 = batch["latents"]
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    sigma = draw_sigma(len(x0), generator).to(x0)
    level = sigma.view(-1, 1, 1, 1, 1)
    noisy = (1 - level) * x0 + level * noise
    given = Condition(x0[:, :, :1], batch["text"])
    predicted = velocity(model, noisy, sigma, given, plain=getattr(model, "module", model))
    error = (predicted.float() - (noise - x0)).square()[:, :, 1:]
    return {"loss": error.mean(), "x0_error": (level * (predicted - noise + x0))[:, :, 1:].detach().abs().mean()}
