"""What a bigger study costs: `python tests/bench_scale.py [--rounds 3]` prints a table for docs/scale.md.

One thing grows at a time: the transformer's width, the picture, the clip, the sampling steps that a gradient goes back
through. Seconds are of one thread with the embedded model's anatomy and random weights, medians of the rounds; the
counted operations are those of `pisa plan`, so the columns of GFLOP/s say whether its arithmetic holds at this size.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from pisa_kit.models.codec import decode
from pisa_kit.models.conditioning import Condition
from pisa_kit.models.embedded import PROMPT_TOKENS, SHIFT, TEXT_WIDTH, assemble, make_transformer
from pisa_kit.models.sampling import noise_like, sample_latents
from pisa_kit.sim.settings import Video
from pisa_kit.study.counting import Parts, decoding, forward
from pisa_kit.study.presets import get_preset
from pisa_kit.training.psft import velocity_loss

BATCH = 4


def measure(function: Callable[[], object], rounds: int) -> float:
    """Median seconds of a call, after one that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def row(label: str, rounds: int, width: int = 192, video: Video | None = None, steps: int = 5, through: int = 1):
    """Prints a line: what is counted and measured for a training step, a video, and a gradient through the sampler."""
    model = make_transformer()
    heads = width // model.config.attention_head_dim
    config = dict(model.config) | {"num_attention_heads": heads, "ffn_dim": 4 * width}
    pipeline = assemble(transformer=type(model).from_config(config))
    transformer, codec = pipeline.transformer.train(), pipeline.vae
    preset = get_preset("mini")
    preset = replace(preset, data=replace(preset.data, video=video or Video()))
    with torch.device("meta"):
        parts = Parts(type(model).from_config(config), type(codec).from_config(codec.config), None, PROMPT_TOKENS)
    latents = torch.randn(parts.latents(preset, BATCH).shape)
    text = torch.randn(BATCH, PROMPT_TOKENS, TEXT_WIDTH)
    cond = Condition(latents[:, :, :1], text)
    batch = {"latents": latents, "text": text, "weight": torch.ones(BATCH, 1, 1, *latents.shape[3:])}
    noise = noise_like(cond, latents.shape[2], range(BATCH))

    def train():
        velocity_loss(transformer, batch, torch.Generator().manual_seed(0), SHIFT)["loss"].backward()

    @torch.no_grad()
    def film():
        decode(codec, sample_latents(pipeline, cond, noise, steps))

    def tune():
        sample_latents(pipeline, cond, noise, steps, gradient_steps=through).square().mean().backward()

    one, pixels = forward(parts, preset, BATCH, torch.float32), decoding(parts, preset, BATCH, torch.float32)
    counted = 3 * one.operations, steps * one.operations + pixels.operations, (steps + 2 * through) * one.operations
    seconds = [measure(work, rounds) for work in (train, film, tune)]
    speeds = [operations / spent / 1e9 for operations, spent in zip(counted, seconds, strict=True)]
    tokens = latents[0, 0].numel() // 4
    cells = [f"{value:.3g}" for spent, speed in zip(seconds, speeds, strict=True) for value in (spent / BATCH, speed)]
    print(f"| {label} | {tokens} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("seconds for each clip, and GFLOP/s by the plan's count:\n")
    print("| what grows | tokens | PSFT | GFLOP/s | video | GFLOP/s | gradient | GFLOP/s |")
    print("|---|---|---|---|---|---|---|---|")
    row("192 wide, 17 frames of 64 px, 5 steps, K = 1", rounds)
    for width in (96, 384):
        row(f"{width} wide", rounds, width=width)
    for size in (96, 128):
        row(f"{size} px", rounds, video=Video(size, 17, 16))
    for frames in (33, 65):
        row(f"{frames} frames", rounds, video=Video(64, frames, 16))
    for through in (2, 5):
        row(f"K = {through}", rounds, through=through)
    row("10 steps", rounds, steps=10)


if __name__ == "__main__":
    main()
