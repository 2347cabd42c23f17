"""The mask tracker learns, says when the object is gone, and passes gradients to the pixels."""

from functools import partial

import numpy as np
import pytest
import torch

from pisa_kit.conditioning import to_video
from pisa_kit.presets import Training
from pisa_kit.scenes import sample
from pisa_kit.simulate import simulate
from pisa_kit.tiny_nets import MaskTracker, erase, tracking_loss
from pisa_kit.training import train

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def drops() -> tuple[torch.Tensor, torch.Tensor]:
    clips = [simulate(sample(seed), 32, 9, 16) for seed in range(8)]
    return to_video(np.stack([clip.frames for clip in clips])), torch.from_numpy(np.stack([c.dropped for c in clips]))


def test_erasing_shows_the_background_and_empties_the_mask(drops):
    video, masks = drops
    gone = torch.zeros(masks.shape[:2], dtype=torch.bool)
    gone[:, 4] = True
    changed, emptied = erase(video, masks, gone)
    assert not emptied[:, 4].any() and torch.equal(emptied[:, :4], masks[:, :4])
    assert torch.equal(changed[:, :, :4], video[:, :, :4])
    free = ~masks[:, 0] & ~masks[:, 8]
    inside = masks[:, 4] & free
    difference = (changed - video[:, :, :1]).abs().mean(1)[:, 4]
    assert difference[inside].mean() < 0.5 * (video[:, :, 4] - video[:, :, 0]).abs().mean(1)[inside].mean()


def test_tracker_learns_masks_and_presence(drops, tmp_path):
    video, masks = drops

    def batch(step, process, processes):
        gone = torch.from_numpy(np.random.default_rng(step).random(masks.shape[:2]) < 0.2)
        gone[:, 0] = False
        changed, emptied = erase(video, masks, gone)
        return {"video": changed, "masks": emptied}

    torch.manual_seed(0)
    settings = Training(steps=60, batch=8, learning_rate=3e-3, warmup=5, ema=0.8, log_every=60)
    model = train(MaskTracker(8), tracking_loss, batch, settings, tmp_path)
    with torch.no_grad():
        terms = tracking_loss(model, {"video": video, "masks": masks}, None)
        gone = torch.ones(masks.shape[:2], dtype=torch.bool)
        gone[:, 0] = False
        changed, _ = erase(video, masks, gone)
        _, there = model(video, masks[:, 0])
        _, absent = model(changed, masks[:, 0])
    assert terms["iou"] > 0.5
    assert there[:, 1:].mean() > absent[:, 1:].mean()


def test_gradients_reach_the_pixels_where_the_mask_is_decided(drops):
    video, masks = (part[:1] for part in drops)
    video = video.clone().requires_grad_()
    torch.manual_seed(0)
    logits, presence = MaskTracker(8)(video, masks[:, 0])
    assert logits.shape == masks.shape and presence.shape == masks.shape[:2]
    logits[0, 4].sum().backward()
    gradient = video.grad.abs().sum((0, 1, 3, 4))
    assert torch.isfinite(video.grad).all() and gradient[4] > 0 and gradient[0] > 0
    assert gradient[[1, 2, 3, 5, 6, 7, 8]].max() == 0, "frames do not see each other"


def test_parameter_count_fits_the_budget():
    count = lambda width: sum(parameter.numel() for parameter in MaskTracker(width).parameters())  # noqa: E731
    assert 4 * count(16) < 3e6 and 4 * count(24) < 3e6, "bytes in float32"
    assert partial(count)(24) > count(16)
