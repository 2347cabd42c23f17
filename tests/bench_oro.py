"""What one ORO step costs: `python tests/bench_oro.py [--steps 10] [--batch 2] [--rounds 3]`.

Peak memory beyond what the model itself takes, and seconds, of one forward and backward pass through the last K
sampling steps, the decoder and the segmentation reward; with and without checkpointing. Every row is a process of its
own, because a process never gives its peak back. On CUDA the allocator's own peak is taken.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch


def measure(steps: int, through: int, checkpoint: bool, batch: int, rounds: int) -> dict:
    """Peak MiB and median seconds of a step in this process."""
    from pisa_kit.conditioning import to_video
    from pisa_kit.embedded import load
    from pisa_kit.oro import oro_loss
    from pisa_kit.presets import Training, Tuning
    from pisa_kit.psft import cache_latents
    from pisa_kit.rewards import load_rewards
    from pisa_kit.scenes import sample
    from pisa_kit.simulate import simulate
    from pisa_kit.training import seeded

    base, clips = load(), [simulate(sample(seed)) for seed in range(batch)]
    frames, masks = (np.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "dropped"))
    cached = cache_latents(base, frames, [clip.caption for clip in clips], "/dev/null/none", batch=1)
    given = {
        "first": torch.from_numpy(cached["latents"][:, :, :1]),
        "latent_frames": cached["latents"].shape[2],
        "text": torch.from_numpy(cached["text"]),
        "video": to_video(frames),
        "masks": torch.from_numpy(masks),
    }
    training = Training(steps=1, batch=batch, learning_rate=1e-4)
    settings = Tuning(training, {"seg": 1.0}, steps, through, anchor=0.0, checkpoint=checkpoint)
    loss = oro_loss(base, base, load_rewards(["seg"]), settings)
    with torch.no_grad():  # what the forward pass alone needs belongs to the model
        loss(base.transformer, given, seeded(0))
    before, seconds = peak(), []
    for number in range(rounds):
        start = time.perf_counter()
        loss(base.transformer, given, seeded(number))["loss"].backward()
        seconds.append(time.perf_counter() - start)
        base.transformer.zero_grad()
    return {"mib": peak() - before, "seconds": float(np.median(seconds))}


def peak() -> float:
    """The most memory this process ever held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="sampling steps")
    parser.add_argument("--batch", type=int, default=2, help="clips")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        through, checkpoint = json.loads(options.one)
        print(json.dumps(measure(options.steps, through, checkpoint, options.batch, options.rounds)))
        return
    print(f"{options.steps} sampling steps, {options.batch} clips\n\n| K | checkpointing | peak MiB | s per step |\n|---|---|---|---|")
    for checkpoint in (False, True):
        for through in dict.fromkeys((1, 2, 4, options.steps)):
            call = [sys.executable, __file__, *sys.argv[1:], "--one", json.dumps([through, checkpoint])]
            row = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
            print(f"| {through} | {'yes' if checkpoint else 'no'} | {row['mib']:.0f} | {row['seconds']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
