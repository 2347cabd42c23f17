"""A real-size Wan2.2-TI2V-5B with random weights on one GPU, against the plan: `python tests/bench_gpu.py [--batch 1]`.

PSFT with LoRA and ORO with K = 1 at 256x256 and 33 frames: peak memory, seconds per step, operations per second.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from transformers import UMT5Config, UMT5EncoderModel

from pisa_kit.core.storage import DATA, read_json
from pisa_kit.models.embedded import make_tokenizer
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study.plan import machine_speed, plan
from pisa_kit.study.presets import PRESETS
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.oro import tune
from pisa_kit.training.psft import train_transformer
from pisa_kit.training.rewards import load_rewards


def make() -> WanImageToVideoPipeline:
    """Wan2.2-TI2V-5B with random weights; its text encoder is a small one of the same width."""
    configs = read_json(DATA / "wan2.2-ti2v-5b.json")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        parts = {"transformer": WanTransformer3DModel.from_config(configs["transformer"])}
        parts["vae"] = AutoencoderKLWan.from_config(configs["vae"])
    torch.set_default_dtype(torch.float32)
    tokenizer = make_tokenizer()
    width = configs["transformer"]["text_dim"]
    config = UMT5Config(vocab_size=len(tokenizer), d_model=width, d_ff=64, num_layers=1, num_heads=4)
    parts |= {"text_encoder": UMT5EncoderModel(config).to(torch.bfloat16), "tokenizer": tokenizer}
    parts = {name: part.eval().to("cpu") if isinstance(part, torch.nn.Module) else part for name, part in parts.items()}
    return WanImageToVideoPipeline(**parts, scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0), expand_timesteps=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(message="no CUDA GPU: nothing to measure\n")
    gpu, video = PRESETS["gpu"], PRESETS["gpu"].data.video
    changed = {"batch": options.batch, "steps": options.steps, "log_every": 1}
    settings = replace(gpu.psft.training, **changed)
    tuning = replace(gpu.oro.tuning, training=replace(gpu.oro.tuning.training, **changed))
    numbers = replace(gpu, psft=replace(gpu.psft, training=settings), oro=replace(gpu.oro, tuning=tuning))
    planned = plan(numbers, "wan2.2-ti2v-5b").set_index("work")
    clips = [simulate(sample(seed), video.size, video.frames, video.fps) for seed in range(max(options.batch, 2))]
    frames, masks = (np.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "dropped"))
    print(torch.cuda.get_device_name(), f"matmul {machine_speed(torch.bfloat16) / 1e12:.0f} TFLOP/s")
    print("| step | GB, planned | GB, measured | s, planned | s, measured | TFLOP/s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), make()
        cached = cache_latents(model, [(frames, masks)], [clip.caption for clip in clips], folder / "latents")
        for work in ("PSFT step", "ORO step"):
            lines = []
            torch.cuda.reset_peak_memory_stats()
            if work == "PSFT step":
                train_transformer(model, cached, settings, folder / "psft", watch=lines.append)
            else:
                given = cached | {"frames": frames, "masks": masks}
                nets = load_rewards(["seg"], device="cuda")
                tune(model, given, nets, tuning, folder / "oro", watch=lines.append)
            seconds = float(np.median([line["seconds"] for line in lines[2:]]))
            row, held = planned.loc[work], torch.cuda.max_memory_allocated() / 1e9
            speed = row["operations"] / seconds
            cells = f"{row['memory']:.1f} | {held:.1f} | {row['seconds']:.2f} | {seconds:.2f} | {speed:.0f}"
            print(f"| {work} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
