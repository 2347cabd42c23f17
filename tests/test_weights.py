"""What ships: small enough, whole, and as good as its card says, on held-out drops."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from perception_accuracy import perception_accuracy
from PIL import Image

from pisa_kit.core.storage import WEIGHTS
from pisa_kit.metrics.evaluation import evaluate_videos
from pisa_kit.models.codec import psnr, reconstruct
from pisa_kit.models.embedded import BASE, load
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import Video
from pisa_kit.sim.simulate import simulate


@pytest.fixture(scope="module")
def base():
    return load()


@pytest.fixture(scope="module")
def drops():
    splits = [("seen", 10_000_000), ("unseen", 11_000_000)]
    scenes = [sample(seed + index, objects=split, backgrounds=split) for split, seed in splits for index in range(8)]
    return [simulate(scene, name=f"{scene.seed}") for scene in scenes]


@pytest.fixture(scope="module")
def reconstructions(base, drops):
    return reconstruct(base.vae, np.stack([drop.frames for drop in drops]))


def test_all_weights_together_are_small_and_safe():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}
    assert not [path for path in files if path.suffix == ".json" and "_name_or_path" in path.read_text()]
    nets = {path.parent.name: path.stat().st_size for path in WEIGHTS.glob("*/model.safetensors")}
    assert set(nets) == {"judge", "reward", "flow", "depth", "guess"} and max(nets.values()) <= 3e6


def test_the_stock_pipeline_loads_and_generates_without_our_code(drops):
    pipeline = WanImageToVideoPipeline.from_pretrained(BASE)
    pipeline.set_progress_bar_config(disable=True)
    picture = Image.fromarray(drops[0].frames[0])
    sizes = {"height": 64, "width": 64, "num_frames": 16, "num_inference_steps": 10, "guidance_scale": 1.0}
    video = pipeline(image=picture, prompt=drops[0].caption, generator=torch.Generator().manual_seed(0), **sizes)
    frames = np.asarray(video.frames[0])
    assert frames.shape == (17, 64, 64, 3)
    assert np.abs(frames[0] - drops[0].frames[0] / 255).mean() < 0.03, "it starts with the picture"


def test_the_autoencoder_keeps_the_frame_and_the_object(drops, reconstructions):
    truth = to_video(np.stack([drop.frames for drop in drops]))
    error = (to_video(reconstructions) - truth).square()
    inside = torch.from_numpy(np.stack([drop.dropped for drop in drops]))[:, None].expand_as(error)
    assert psnr(error.mean()) > 34 and psnr(error[inside].mean()) > 25


def test_the_nets_see_through_the_autoencoder(drops, reconstructions):
    accuracy = perception_accuracy(drops, list(reconstructions))
    for name in ("judge", "reward"):
        assert accuracy[name]["trajectory_l2_median"] < 0.015 and accuracy[name]["wrongly_lost"] < 0.05, name
    assert accuracy["flow"]["error_object"] < 0.6 * accuracy["flow"]["motion_object"]
    assert accuracy["depth"]["error_background"] < 0.15


def test_the_base_is_clean_and_falls_too_slowly(base, drops, tmp_path):
    films = generate(base, Protocol("base", **asdict(Video())), drops, 0, tmp_path)
    table = evaluate_videos(drops, films).table
    assert table["visibility"].mean() > 0.95 and table["background_psnr"].mean() > 28
    assert 0 < table["g_eff"].median() < 0.4 * 9.81
