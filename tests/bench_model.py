"""Two ratios of the embedded model: `python tests/bench_model.py [--rounds 5]`.

Sampling: seconds per clip of `generation.generate` over those of one call of the stock pipeline per clip, with the same
number of steps. Training: seconds per step of `loop.train` over those of forward and backward of the same batches.
Both sides take turns in one process; medians over the rounds are compared.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pisa_kit.models.embedded import PROMPT_TOKENS, SHIFT, load
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.loop import read_log, seeded, train
from pisa_kit.training.psft import make_batch, velocity_loss
from pisa_kit.training.settings import Training

CLIPS, STEPS, BATCH = 8, 10, 16


def stock(pipeline, truths):
    for seed, truth in enumerate(truths):
        pipeline(
            image=Image.fromarray(truth.frames[0]),
            prompt=truth.caption,
            height=64,
            width=64,
            num_frames=16,  # the stock pipeline makes one more where the codec does not compress time
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            max_sequence_length=PROMPT_TOKENS,
            generator=torch.Generator().manual_seed(seed),
        )


def sampling(pipeline, rounds: int, folder: Path) -> tuple[float, float]:
    """Median seconds per clip: ours, stock."""
    truths = [simulate(sample(seed), name=f"{seed:05d}") for seed in range(CLIPS)]
    pipeline.set_progress_bar_config(disable=True)
    ours, theirs = [], []
    for number in range(rounds + 1):
        start = time.perf_counter()
        generate(pipeline, Protocol("embedded", steps=STEPS), truths, 0, folder / f"{number}")
        middle = time.perf_counter()
        stock(pipeline, truths)
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    return float(np.median(ours[1:])) / CLIPS, float(np.median(theirs[1:])) / CLIPS


def training(pipeline, rounds: int, folder: Path) -> tuple[float, float]:
    """Median seconds per step: our loop, bare forward and backward."""
    clips = [simulate(sample(seed)) for seed in range(2 * BATCH)]
    frames, masks = (np.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "dropped"))
    captions = [clip.caption for clip in clips]
    cached = cache_latents(pipeline, [(frames, masks)], captions, folder / "latents")
    model, bare, loss = pipeline.transformer, [], partial(velocity_loss, shift=SHIFT)
    for number in range(rounds):
        settings = Training(steps=5 * (number + 1), batch=BATCH, learning_rate=1e-5, decay=0, log_every=1)
        train(model.train(), loss, partial(make_batch, cached, pipeline, settings), settings, folder / "run")
        for step in range(5):
            given = make_batch(cached, pipeline, settings, step)
            start = time.perf_counter()
            loss(model, given, seeded(step))["loss"].backward()
            bare.append(time.perf_counter() - start)
            model.zero_grad()
    return float(np.median([line["seconds"] for line in read_log(folder / "run")][1:])), float(np.median(bare[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    pipeline = load()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = sampling(pipeline, rounds, Path(folder))
        print(f"sampling: {ours:.3f} s per clip, stock {theirs:.3f} s, ratio {ours / theirs:.2f}")
        loop, bare = training(pipeline, rounds, Path(folder))
        print(f"training: {loop:.3f} s per step, forward and backward {bare:.3f} s, overhead {loop / bare - 1:+.1%}")


if __name__ == "__main__":
    main()
