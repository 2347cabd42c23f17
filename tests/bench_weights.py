"""Every number of pisa_kit/weights/README.md: `python tests/bench_weights.py [--clips 64]`.

Half of the clips show seen, half unseen families; none was trained on. Where there is a truth, it is what counts:
on true frames and on the autoencoder's reconstructions of them. The base model's own videos have none: there, the three
trackers are compared with each other.
"""

import argparse
import itertools
import tempfile
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKLWan
from perception_accuracy import perception_accuracy

from pisa_kit.metrics.evaluation import evaluate_videos
from pisa_kit.metrics.l2_chamfer_iou import fixed
from pisa_kit.models.codec import psnr, reconstruct
from pisa_kit.models.embedded import load
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.perception.background_tracker import track_background
from pisa_kit.perception.tensors import to_video
from pisa_kit.perception.trackers import load_tracker, track_net
from pisa_kit.sim import motion, references
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.sim.simulate import simulate


def codec(drops, copies) -> dict[str, float]:
    """Decibels of the reconstructions: whole frame, inside the dropped object's mask, there in the fastest frames."""
    truth = to_video(np.stack([drop.frames for drop in drops]))
    error = (to_video(copies) - truth).square()
    inside = torch.from_numpy(np.stack([drop.dropped for drop in drops]))[:, None].expand_as(error)
    fast = slice(5, 9)
    parts = {"frame": error, "object": error[inside], "object, frames 5-8": error[:, :, fast][inside[:, :, fast]]}
    return {name: float(psnr(part.mean())) for name, part in parts.items()}


def agreement(films, drops) -> pd.DataFrame:
    """Of the trackers on videos without a truth: share of frames lost, median distance of tracks in image widths."""
    tracks = {
        "background": [track_background(film.frames, drop.dropped[0]) for film, drop in zip(films, drops, strict=True)]
    }
    for name in ("judge", "reward"):
        net = load_tracker(name)
        tracks[name] = [track_net(net, film.frames, drop.dropped[0]) for film, drop in zip(films, drops, strict=True)]
    rows = [
        {"what": f"{name}: frames lost", "value": np.mean([t.lost.mean() for t in each])}
        for name, each in tracks.items()
    ]
    for one, other in combinations(tracks, 2):
        pairs = zip(tracks[one], tracks[other], strict=True)
        apart = [fixed(a.masks, 16, b.masks, 16)["fixed_l2"] for a, b in pairs]
        rows.append({"what": f"{one} to {other}: distance", "value": np.median(apart)})
    return pd.DataFrame(rows)


def darts(base, count: int) -> pd.DataFrame:
    """Colour error and visibility of unseen things that dart, or speed up: the base's videos and the codec's copies."""
    found, ranges = [], motion.with_room(Ranges())
    for seed in itertools.count(13_000_000):
        scene = sample(seed, ranges, "unseen", "unseen")
        path = motion.sample_motion(scene, seed, 1.0)
        if path.verb.startswith(("darts", "speeds")):
            found.append(simulate(scene, name=f"{seed}", motion=path))
        if len(found) == count:
            break
    copies = reconstruct(base.vae, np.stack([clip.frames for clip in found]))
    with tempfile.TemporaryDirectory() as folder:
        films = {"base": generate(base, Protocol("base", **asdict(Video())), found, 0, folder)}
    films["codec"] = [references.bare(copy, clip, "codec") for copy, clip in zip(copies, found, strict=True)]
    films["truth"] = [references.bare(clip.frames, clip, "truth") for clip in found]
    tables = {name: evaluate_videos(found, videos).table for name, videos in films.items()}
    columns = ["object_colour_error", "visibility", "background_psnr", "fixed_l2"]
    return pd.DataFrame({name: table[columns].mean() for name, table in tables.items()}).T


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--codec", help="print only the decibels of another autoencoder, a folder in diffusers' format")
    given = parser.parse_args()
    half = given.clips // 2
    starts = {"seen": 10_000_000, "unseen": 11_000_000}
    scenes = [sample(seed + i, objects=split, backgrounds=split) for split, seed in starts.items() for i in range(half)]
    drops, base = [simulate(scene, name=f"{scene.seed}") for scene in scenes], load()
    vae = AutoencoderKLWan.from_pretrained(given.codec, torch_dtype=torch.float32) if given.codec else base.vae
    copies = reconstruct(vae, np.stack([drop.frames for drop in drops]))
    print("autoencoder [dB]:", {name: round(value, 2) for name, value in codec(drops, copies).items()})
    if given.codec:
        return
    for what, frames in {"true frames": None, "reconstructions": list(copies)}.items():
        print(
            f"\n{what}, {len(drops)} clips\n{pd.DataFrame(perception_accuracy(drops, frames)).T.round(4).to_string()}"
        )
    print(f"\ndarts of unseen things\n{darts(base, half).round(4).to_string()}")
    with tempfile.TemporaryDirectory() as folder:
        films = generate(base, Protocol("base", **asdict(Video())), drops, 0, folder)
    print(f"\nthe base model's videos\n{agreement(films, drops).round(4).to_string(index=False)}")
    for tracker in ("background", "judge"):
        table = evaluate_videos(drops, films, tracker=tracker).table
        means = table[["visibility", "background_psnr", "l2", "fixed_l2"]].mean().round(3).to_dict()
        print(f"by {tracker}: {means}, median g_eff {table['g_eff'].median():.2f}")


if __name__ == "__main__":
    main()
