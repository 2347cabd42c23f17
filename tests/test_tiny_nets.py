"""The tiny nets learn, say when the object is gone, and pass gradients to the pixels."""

from functools import partial

import numpy as np
import pytest
import torch

from pisa_kit.core.errors import InputError
from pisa_kit.perception.nets import DepthNet, FlowNet, MaskTracker, UNet, depth_loss, erase, flow_loss, tracking_loss
from pisa_kit.perception.tensors import to_video
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.settings import Ranges
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.loop import train
from pisa_kit.training.settings import Training

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def drops() -> tuple[torch.Tensor, torch.Tensor]:
    small = Ranges(size=(0.3, 0.5))  # larger things overlap their later places: nothing shows what is behind them
    clips = [simulate(sample(seed, small), 32, 9, 16) for seed in range(8)]
    return to_video(np.stack([clip.frames for clip in clips])), torch.from_numpy(np.stack([c.dropped for c in clips]))


def test_erasing_shows_the_background_and_empties_the_mask(drops):
    video, masks = (part[:7] for part in drops)  # the eighth object overlaps its later places
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
        changed, emptied = erase(video, masks, gone)
        _, there = model(video, masks[:, 0])
        _, absent = model(changed, masks[:, 0])
    assert terms["iou"] > 0.5
    erased = masks.any(-1).any(-1) & ~emptied.any(-1).any(-1)
    assert (absent[erased] < 0).float().mean() > 0.8 and (there[:, 1:] < 0).float().mean() < 0.2


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


def test_frame_0_repeats_the_given_mask(drops):
    video, masks = drops
    logits, presence = MaskTracker(8)(video, masks[:, 0])
    assert torch.equal(logits[:, 0] > 0, masks[:, 0]) and (presence[:, 0] > 0).all()
    _, presence = MaskTracker(8)(video, torch.zeros_like(masks[:, 0]))
    assert (presence[:, 0] < 0).all(), "nothing was given"


def test_an_object_that_cannot_be_filled_in_is_not_erased(drops):
    video, masks = (part[:1, :, :1] if part.ndim == 5 else part[:1, :1] for part in drops)
    still, there = video.expand(-1, -1, 5, -1, -1), masks.expand(-1, 5, -1, -1)
    changed, left = erase(still, there, torch.ones(1, 5, dtype=torch.bool))
    assert torch.equal(changed, still) and torch.equal(left, there), "it never moves: its background is not known"


def test_flow_sees_across_the_largest_motion():
    torch.manual_seed(0)
    first, second = torch.zeros(2, 1, 3, 64, 64).requires_grad_()
    second.retain_grad()
    FlowNet(8)(first, second)[0, :, 32, 32].sum().backward()
    reach = second.grad.abs().sum((0, 1)).nonzero() - 32
    assert reach.abs().amax(0).min() >= 16, "twice the 8 px of the fastest frames"


def test_depth_is_positive_and_finite_for_any_picture():
    model = DepthNet(8)
    torch.nn.init.constant_(model.net.head.bias, -1000)
    depth = model(torch.randn(2, 3, 16, 16))
    assert depth.shape == (2, 16, 16) and (depth >= 0.01).all()


@pytest.mark.parametrize(("size", "levels", "divisor"), [((30, 32), 3, 4), ((32, 36), 4, 8)])
def test_sizes_that_cannot_be_halved_are_refused(size, levels, divisor):
    UNet(3, 1, 8, levels)(torch.zeros(1, 3, 32, 64))
    with pytest.raises(InputError, match=f"sides divisible by {divisor}"):
        UNet(3, 1, 8, levels)(torch.zeros(1, 3, *size))


def test_losses_are_closed_forms():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 0, 0] = True
    flow = torch.zeros(1, 2, 8, 8)
    flow[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    still = lambda first, second: torch.zeros(1, 2, 8, 8)  # noqa: E731
    terms = flow_loss(still, {"first": None, "second": None, "masks": masks, "flow": flow}, None)
    assert terms["error_object"] == pytest.approx(5, abs=1e-3) and terms["error"] == pytest.approx(5 / 64, abs=2e-3)
    assert terms["loss"] == pytest.approx(20 * 5 / (63 + 20), abs=2e-3)
    twice = lambda picture: torch.full((1, 8, 8), 2 / 3)  # noqa: E731
    terms = depth_loss(twice, {"picture": None, "depth": torch.full((1, 8, 8), 3.0), "masks": masks}, None)
    assert terms["loss"] == terms["error"] == pytest.approx(np.log(2))


@pytest.mark.parametrize(("kind", "loss"), [(FlowNet, flow_loss), (DepthNet, depth_loss)])
def test_flow_and_depth_improve_on_clips_they_have_not_seen(kind, loss, tmp_path):
    def batch(seeds):
        clips = [simulate(sample(seed), 32, 9, 16) for seed in seeds]
        videos = to_video(np.stack([clip.frames for clip in clips]))
        masks, depth = (np.stack([getattr(clip, name)[4] for clip in clips]) for name in ("dropped", "depth"))
        flow = torch.from_numpy(np.stack([clip.flow[4] for clip in clips])).permute(0, 3, 1, 2)
        truth = {"masks": torch.from_numpy(masks), "depth": torch.from_numpy(depth), "flow": flow}
        return truth | {"first": videos[:, :, 4], "second": videos[:, :, 5], "picture": videos[:, :, 4]}

    learned, held_out = batch(range(16)), batch(range(100, 108))
    torch.manual_seed(0)
    model = kind(8)
    before = loss(model, held_out, None)
    settings = Training(steps=40, batch=16, learning_rate=3e-3, warmup=5, ema=0.8, log_every=40)
    after = loss(train(model, loss, lambda *step: learned, settings, tmp_path), held_out, None)
    assert after["loss"] < 0.7 * before["loss"] and after["error_object"] < before["error_object"]


def test_parameter_counts_of_flow_and_depth_fit_the_budget():
    for kind in (FlowNet, DepthNet):
        assert 4 * sum(parameter.numel() for parameter in kind(16).parameters()) < 3e6, "bytes in float32"
