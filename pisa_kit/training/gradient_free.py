"""Reward tuning that never differentiates a reward: only its value counts.

Two ways, both on videos that the model made before: DiffusionNFT (Zheng et al. 2025, arXiv 2509.16117), which moves the
velocity towards videos that a reward likes and away from those that it does not, and fine-tuning on the best of N
(RAFT, Dong et al. 2023, arXiv 2304.06767). Smallest forms: one round of videos instead of many, no adaptive weights.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from diffusers import DiffusionPipeline

from pisa_kit.core.devices import device
from pisa_kit.core.errors import check_choice
from pisa_kit.core.progress import Bar
from pisa_kit.models.conditioning import Condition, decode, encode_text, pad_text, placed, velocity
from pisa_kit.models.families import family_of
from pisa_kit.models.sampling import noise_like, sample_latents, seed_of
from pisa_kit.perception.tensors import to_frames, to_video
from pisa_kit.training.psft import add_noise, check_enough, fit, place_weight
from pisa_kit.training.rewards import RewardFunction, Truth
from pisa_kit.training.settings import Training

KINDS = ("nft", "best")
BETA = 0.1  # how far "nft" goes from the old model to the new one in its two velocities; smaller pulls harder


@torch.no_grad()
def candidates(
    pipeline: DiffusionPipeline,
    clips: dict,
    rewards: dict[str, RewardFunction],
    count: int,
    steps: int,
    seed: int,
    guidance: float = 1.0,
) -> dict[str, np.ndarray]:
    """Several videos of each clip and what rewards say of them.

    Args:
        clips: "latents", "text", "frames", "masks" of C drops, as of `oro.tune`.
        count: M, videos per clip.
        steps, guidance: of the sampler.
        seed: of the noise.

    Returns:
        "latents" (C, M, c, t, h, w) float16, "frames" (C, M, T, H, W, 3) uint8, and of each reward its losses (C, M)
        float32, NaN where it has nothing to compare with.
    """
    made = {name: [] for name in ("latents", "frames", *rewards)}
    empty = encode_text(pipeline, [""], torch.zeros((), device=device())) if guidance > 1 else None
    for index in Bar(range(len(clips["latents"])), desc=f"{count} videos each", unit="clip"):
        first = torch.from_numpy(clips["latents"][index : index + 1][:, :, :1]).float().to(device())
        text = pad_text(clips["text"][index : index + 1], pipeline).to(device())
        cond = Condition(first.expand(count, *first.shape[1:]), text.expand(count, *text.shape[1:]), empty)
        seeds = [seed_of(seed_of(seed, index), number) for number in range(count)]
        with placed(pipeline.transformer, first):
            noise = noise_like(cond, clips["latents"].shape[2], seeds)
            latents = sample_latents(pipeline, cond, noise, steps, guidance=guidance)
        video = decode(pipeline.vae, latents).clamp(-1, 1)
        one = (to_video(clips["frames"][index : index + 1]), torch.from_numpy(clips["masks"][index : index + 1]))
        truth = Truth(*(each.to(device()).expand(count, *each.shape[1:]) for each in one))
        made["latents"].append(latents.cpu().numpy().astype(np.float16))
        made["frames"].append(to_frames(video))
        for name, reward in rewards.items():
            found = reward(video, truth)
            made[name].append(torch.where(found.counted, found.loss, torch.nan).float().cpu().numpy())
    return {name: np.stack(values) for name, values in made.items()}


def optimality(losses: np.ndarray, kind: str) -> np.ndarray:
    """How much each video (C, M) is to be imitated, in [0, 1], from its loss among those of its clip.

    "nft": 1/2 at the clip's mean, a standard deviation of the clip's away 0 or 1; "best": 1 for the best, 0 for others.
    A clip of which a loss is NaN is left out: NaN, or 0.
    """
    check_choice(kind, KINDS, "kind of tuning")
    known = np.isfinite(losses).all(1, keepdims=True)
    losses = np.where(known, losses, 0.0)
    if kind == "best":
        return ((losses == losses.min(1, keepdims=True)) & known).astype(np.float32)
    better = losses.mean(1, keepdims=True) - losses
    liked = 0.5 + 0.5 * np.clip(better / np.maximum(losses.std(1, keepdims=True), 1e-6), -1, 1)
    return np.where(known, liked, np.nan).astype(np.float32)


def nft_loss(
    pipeline: DiffusionPipeline, old: DiffusionPipeline, beta: float, settings: Training
) -> Callable[[torch.nn.Module, dict, torch.Generator], dict[str, torch.Tensor]]:
    """r |v+ - v|² + (1 - r) |v- - v|² with v+ = (1 - beta) v_old + beta v_model, v- = (1 + beta) v_old - beta v_model.

    v is the velocity of the video that is learned from, r its optimality. With beta = 1 and r in {0, 1}, of which only
    r = 1 is drawn, it is the loss of PSFT on the best videos, averaged clip by clip.

    Args:
        pipeline: with the transformer that is trained.
        old: the model that made the videos, frozen.
        beta: how far v+ goes from the old model to the new one.
        settings: their `place_weight` and `mixed_noise` count as in PSFT.
    """
    old.transformer.to(device())

    def loss(model: torch.nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
        x0, r = batch["latents"], batch["optimality"]
        shift = family_of(pipeline).shift(pipeline.scheduler, x0)
        noisy, noise, sigma = add_noise(x0, shift, generator, settings.mixed_noise)
        cond = Condition(x0[:, :, :1], batch["text"])
        with torch.no_grad():
            before = velocity(old.transformer, noisy, sigma, cond)
        now = velocity(model, noisy, sigma, cond, pipeline.transformer)

        weight = place_weight(settings.place_weight, x0, batch["below"])

        def error(predicted: torch.Tensor) -> torch.Tensor:
            squares = (predicted - (noise - x0)).float()[:, :, 1:].square()
            return (weight * squares).mean((1, 2, 3, 4)) / weight.mean((1, 2, 3, 4))

        towards = error((1 - beta) * before + beta * now)
        away = error((1 + beta) * before - beta * now) if beta < 1 else torch.zeros_like(towards)
        terms = {"towards": (r * towards).mean(), "away": ((1 - r) * away).mean()}
        return {"loss": terms["towards"] + terms["away"]} | terms

    return loss


def tune_on(
    pipeline: DiffusionPipeline, pool: dict, clips: dict, reward: str, kind: str, settings: Training, folder
) -> DiffusionPipeline:
    """Tunes the pipeline's transformer on its own videos; continues after an interruption.

    Args:
        pool: of `candidates`, made by this pipeline.
        clips: "text" and "below" of the same C drops, as of `candidates`.
        reward: the one whose losses count.
        kind: "nft" or "best".
        settings: of the training.
        folder: receives log, checkpoint and pipeline.

    Raises:
        InputError: fewer videos to learn from than a batch.
    """
    wanted = optimality(pool[reward], kind)
    chosen = np.argwhere(wanted == 1 if kind == "best" else np.isfinite(wanted))
    check_enough({"latents": chosen}, settings, folder)

    def batch(step: int, process: int, processes: int) -> dict[str, torch.Tensor]:
        drawn = np.random.default_rng([settings.seed, step]).choice(len(chosen), settings.batch, replace=False)
        clip, number = chosen[drawn[process::processes]].T
        return {
            "latents": torch.from_numpy(pool["latents"][clip, number]).float(),
            "text": pad_text(clips["text"][clip], pipeline),
            "below": torch.from_numpy(clips["below"][clip]),
            "optimality": torch.from_numpy(wanted[clip, number]),
        }

    about = {"kind": kind, "reward": reward, "beta": 1.0 if kind == "best" else BETA}
    make_loss = partial(nft_loss, old=pipeline, beta=about["beta"], settings=settings)
    return fit(pipeline, make_loss, batch, settings, folder, f"{kind} by {reward}", about=about)
