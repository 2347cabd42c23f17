"""What only a CUDA GPU can show, the notebooks among it; skipped elsewhere. `tests/bench_gpu.py`: a real-size model."""

import json

import numpy as np
import pytest
import torch

from pisa_kit.metrics.evaluation import evaluate_videos
from pisa_kit.models.embedded import BASE, load
from pisa_kit.models.generation import Protocol, generate
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study.presets import PRESETS
from pisa_kit.study.runner import notebooks, run_study
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.psft import train_transformer
from pisa_kit.training.settings import Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(scope="module")
def truths():
    first = PRESETS["mini"].data.test_seed
    return [simulate(sample(first + number), 64, 17, 16, name=f"{number:05d}") for number in range(32)]


def test_bf16_agrees_with_float32(truths, tmp_path):
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        films = generate(load(BASE, dtype), Protocol("embedded", steps=5), truths, 0, tmp_path / str(dtype))
        found[dtype] = evaluate_videos(truths, films).table
    for metric in ("fixed_l2", "fixed_iou", "visibility"):
        one, other = (found[dtype][metric].to_numpy() for dtype in found)
        spread = 1.96 * (one - other).std(ddof=1) / np.sqrt(len(one))
        assert abs((one - other).mean()) <= spread + 0.01, metric


def test_training_in_bf16_lowers_the_loss_and_leaves_idle_parts_off_the_gpu(truths, tmp_path):
    base = load(BASE, torch.bfloat16)
    frames, masks = (np.stack([getattr(truth, name) for truth in truths]) for name in ("frames", "dropped"))
    captions = [truth.caption for truth in truths]
    cached = cache_latents(base, [(frames, masks)], captions, tmp_path / "latents")
    assert {part.device.type for part in (base.vae, base.text_encoder)} == {"cpu"}
    lines = []
    settings = Training(60, 16, 1e-3, precision="bf16", lora_rank=8, log_every=1)
    tuned = train_transformer(base, cached, settings, tmp_path / "run", watch=lines.append)
    assert np.mean([line["loss"] for line in lines[-10:]]) < np.mean([line["loss"] for line in lines[:10]])
    assert tuned.transformer.dtype == torch.bfloat16


def test_the_notebooks_run_there(tmp_path):
    results = json.loads(run_study("smoke", tmp_path).read_text(encoding="utf-8"))
    assert set(results) == {path.stem for path in notebooks()}
