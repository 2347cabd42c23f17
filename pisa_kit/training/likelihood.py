"""A test without sampling and without a tracker: does the model find the true fall likelier than a wrong one?

The denoising loss bounds a video's negative log likelihood. Two videos of one picture get the same noise, and the model
prefers the one that it denoises better (after LikePhys, arXiv 2510.11512).
"""

import numpy as np
import pandas as pd
import torch
from diffusers import DiffusionPipeline

from pisa_kit.clips.clip import Clip
from pisa_kit.core.devices import device
from pisa_kit.metrics import statistics
from pisa_kit.models.conditioning import Condition, condition, encode, placed, velocity
from pisa_kit.perception.tensors import to_video
from pisa_kit.training.loop import seeded

SIGMAS = (0.5, 0.7, 0.85, 0.95)  # high ones: motion is decided there


@torch.no_grad()
def denoising_losses(pipeline: DiffusionPipeline, clips: list[Clip], sigmas=SIGMAS, seed: int = 0) -> np.ndarray:
    """Mean squared error of the velocity at each noise level, (C, S); the noise depends on seed and place alone.

    Args:
        clips: of one size and length; first frame and caption are the condition.
    """
    losses = []
    for index, clip in enumerate(clips):
        video = to_video(clip.frames[None]).to(device())
        cond = condition(pipeline, video[:, :, 0], [clip.caption])
        x0 = encode(pipeline.vae, video).expand(len(sigmas), -1, -1, -1, -1)
        noise = torch.randn(x0.shape, generator=seeded(seed, index)).to(x0)
        sigma = torch.tensor(sigmas).to(x0)
        level = sigma.view(-1, 1, 1, 1, 1)
        cond = Condition(cond.first.expand(len(sigmas), -1, -1, -1, -1), cond.text.expand(len(sigmas), -1, -1))
        with placed(pipeline.transformer, x0):
            predicted = velocity(pipeline.transformer, (1 - level) * x0 + level * noise, sigma, cond)
        losses.append((predicted - (noise - x0))[:, :, 1:].square().mean((1, 2, 3, 4)).float().cpu().numpy())
    return np.stack(losses)


def preferences(pipeline: DiffusionPipeline, truths: list[Clip], wrong: dict[str, list[Clip]]) -> pd.DataFrame:
    """How often the true video is the likelier one.

    Args:
        truths: true clips.
        wrong: kind to a video of each of them with the same first frame, e.g. "slow gravity".

    Returns:
        A row per kind: "kind", "value" (share of clips in which the truth has the lower mean loss), "low", "high", "n",
        "seeds", and "margin", the mean relative difference of the losses (above 0: the truth is likelier).
    """
    right, rows = denoising_losses(pipeline, truths).mean(1), []
    for kind, videos in wrong.items():
        other = denoising_losses(pipeline, videos).mean(1)
        found = statistics.bootstrap(statistics.mean, (right < other).astype(float))
        rows.append({"kind": kind} | found | {"margin": float(np.mean((other - right) / right))})
    return pd.DataFrame(rows)
