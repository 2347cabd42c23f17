"""What one step of reward tuning costs, measured in a process of its own: a process never gives its peak back."""

import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor

from pisa_kit.conditioning import condition, to_video
from pisa_kit.embedded import BASE, load
from pisa_kit.oro import oro_loss
from pisa_kit.presets import Tuning
from pisa_kit.rewards import load_rewards
from pisa_kit.scenes import sample
from pisa_kit.simulate import simulate
from pisa_kit.training import seeded

MEBIBYTE = 2**20


def step_cost(settings: Tuning, model=BASE, rounds: int = 3) -> dict[str, float]:
    """Forward and backward of one ORO step, without the optimizer.

    Args:
        settings: the batch size is that of its training; the anchor is left out.
        model: folder of the pipeline.
        rounds: repetitions; the median of the seconds is returned.

    Returns:
        "mib": peak memory beyond that of sampling, decoding and rewarding without gradients; "seconds".
    """
    executor = get_reusable_executor(max_workers=1, reuse=False, timeout=1)
    try:
        return executor.submit(_measure, replace(settings, anchor=0.0), model, rounds, torch.get_num_threads()).result()
    finally:
        executor.shutdown()


def _measure(settings: Tuning, model, rounds: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    pipeline, clips = load(model), [simulate(sample(seed)) for seed in range(settings.training.batch)]
    video = to_video(np.stack([clip.frames for clip in clips]))
    given = condition(pipeline, video[:, :, 0], [clip.caption for clip in clips])
    batch = {"first": given.first, "text": given.text, "video": video}
    batch["masks"] = torch.from_numpy(np.stack([clip.dropped for clip in clips]))
    batch["latent_frames"] = (video.shape[2] - 1) // pipeline.vae.config.scale_factor_temporal + 1
    loss = oro_loss(pipeline, pipeline, load_rewards(settings.weights), settings)
    with torch.no_grad():
        loss(pipeline.transformer, batch, seeded(0))
    before, seconds = _peak(), []
    for number in range(rounds):
        start = time.perf_counter()
        loss(pipeline.transformer, batch, seeded(number))["loss"].backward()
        seconds.append(time.perf_counter() - start)
        pipeline.transformer.zero_grad()
    return {"mib": (_peak() - before) / MEBIBYTE, "seconds": float(np.median(seconds))}


def _peak() -> float:
    """The most memory this process ever held, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss begins with what the parent process held
        [peak] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return 1024.0 * int(peak.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
