"""Is the reward's gradient needed? The study's answer: best-of-N and tuning on rewards' values, for ORO's budget."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import DiffusionPipeline

from pisa_kit.clips.clip import Clip
from pisa_kit.core import artefacts
from pisa_kit.core.devices import device
from pisa_kit.core.storage import read_npz, write_npz
from pisa_kit.metrics.best_of import best_of
from pisa_kit.metrics.scoring import evaluate
from pisa_kit.perception.trackers import track_clips
from pisa_kit.study.run import Run
from pisa_kit.training.early_stopping import keep_best
from pisa_kit.training.gradient_free import candidates, tune_on
from pisa_kit.training.rewards import load_rewards

REWARDS = ("seg", "newton")  # one that compares with the truth, one that needs none and could choose for anybody
ERROR = "fixed_l2"


def budget(run: Run) -> tuple[int, int]:
    """Clips, and videos of each: together as many videos as one run of ORO samples."""
    training, each = run.preset.oro.tuning.training, run.preset.oro.candidates
    return max(training.steps * training.batch // each, 1), each


def pool(run: Run, seed: int) -> dict[str, np.ndarray]:
    """The PSFT model's videos of ORO's clips, which it has not learned from; made once and kept.

    Returns:
        As of `gradient_free.candidates`, without the frames, and "error" (C, M), the fixed L2 of each video.
    """
    path, (clips, each) = _pool_path(run, seed), budget(run)
    if not path.exists():
        chosen = {name: array[:clips] for name, array in run.oro_clips(seed).items()}
        nets = load_rewards(REWARDS, run.preset.oro.perception, device())
        tuning, model = run.preset.oro.tuning, run.model("PSFT", seed)
        made = candidates(model, chosen, nets, each, tuning.sampling_steps, seed, tuning.guidance)
        write_npz(path, error=_errors(made.pop("frames"), chosen), **made)
    return read_npz(path)


def _pool_path(run: Run, seed: int) -> Path:
    tuned = run.oro_folder(run.model("PSFT", seed), REWARDS[0], seed, run.preset.oro.tuning).name
    key = artefacts.key("candidates", tuned, budget(run), REWARDS)
    return run.folder / "videos" / f"candidates_seed{seed}_{key}.npz"


def _errors(frames: np.ndarray, clips: dict) -> np.ndarray:
    """`ERROR` (C, M) of videos (C, M, T, H, W, 3); NaN where the truth does not show the object first."""
    truths = [
        Clip(clips["frames"][clip], 1.0, clips["masks"][clip][:, None], name=f"{clip}/{number}")
        for clip, number in np.ndindex(frames.shape[:2])
        if clips["masks"][clip][0].any()
    ]
    bare = [Clip(frames[tuple(map(int, truth.name.split("/")))], 1.0, name=truth.name) for truth in truths]
    table, errors = evaluate(truths, track_clips(bare, truths, 1, "judge")).table, np.full(frames.shape[:2], np.nan)
    for name, error in zip(table["name"], table[ERROR], strict=True):
        errors[tuple(map(int, name.split("/")))] = error
    return errors


def best_of_rewards(run: Run, seed: int) -> pd.DataFrame:
    """`best_of` of the pool: one of N, N = 2, 4, ... up to all, kept by each reward, at random, by an oracle."""
    made = pool(run, seed)
    counts = [2**power for power in range(1, 10) if 2**power <= made["error"].shape[1]]
    return best_of({name: made[name] for name in REWARDS}, made["error"], counts)


def tuned_on_values(run: Run, kind: str, seed: int) -> DiffusionPipeline:
    """The PSFT model tuned on its own pool by `REWARDS[0]`, with ORO's steps, and kept where ORO would keep it.

    Args:
        kind: in `gradient_free.KINDS`.
    """
    model, made = run.model("PSFT", seed), pool(run, seed)
    clips = {name: array[: len(made["error"])] for name, array in run.latents(seed, "oro").items()}
    own, psft = run.preset.oro.tuning.training, run.preset.psft.training
    settings = replace(own, seed=seed, place_weight=psft.place_weight, mixed_noise=psft.mixed_noise)
    batch = min(2 * own.batch, len(made["error"]))
    settings = replace(settings, batch=batch, learning_rate=3 * own.learning_rate)  # else it is still
    tuning = run.preset.oro.tuning
    key = artefacts.key("candidates", replace(settings, steps=1), tuning.eval_steps, _pool_path(run, seed).name)
    folder = run.folder / "models" / f"{kind}_{REWARDS[0]}_seed{seed}_{key}"

    def train_to(steps: int) -> DiffusionPipeline:
        return tune_on(model, made, clips, REWARDS[0], kind, replace(settings, steps=steps), folder) if steps else model

    return keep_best(train_to, partial(run.validation, seed), tuning, folder, run.judged_by())[0]
