"""Rewards: zero for a perfect sample, right gradients at the pixels, nothing silently left out."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from pisa_kit.core.errors import InputError
from pisa_kit.perception.depth import load_depth_anything
from pisa_kit.perception.tensors import to_video
from pisa_kit.perception.trackers import load_sam2
from pisa_kit.sim.motion import Motion
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.rewards import REWARD_FUNCTIONS, Truth, depth, load_rewards

torch.set_num_threads(1)
STILL = Motion("hovers", *([(0.0, 0.0, 0.0)] * 3))


@pytest.fixture(scope="module")
def clips():
    return [simulate(sample(seed), 64, 17, 16) for seed in (30_000_000, 30_000_001)]


@pytest.fixture(scope="module")
def truth(clips) -> Truth:
    frames, masks = (np.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "dropped"))
    return Truth(to_video(frames), torch.from_numpy(masks))


@pytest.fixture(scope="module")
def hovering() -> torch.Tensor:
    """The same scenes with an object that does not fall."""
    clips = [simulate(sample(seed), 64, 17, 16, motion=STILL) for seed in (30_000_000, 30_000_001)]
    return to_video(np.stack([clip.frames for clip in clips]))


@pytest.fixture(scope="module")
def rewards():
    return load_rewards(REWARD_FUNCTIONS)


def test_a_perfect_sample_costs_nothing(rewards, truth):
    assert float(rewards["flow"](truth.video, truth).loss.max()) == 0
    assert float(rewards["depth"](truth.video, truth).loss.max()) == 0
    assert float(rewards["centre"](truth.video, truth).loss.max()) == 0
    assert float(rewards["seg"](truth.video, truth).loss.max()) < 0.2  # the tracker's own soft edges


@pytest.mark.parametrize("name", ["seg", "flow", "depth", "centre"])
def test_not_falling_costs(rewards, truth, hovering, name):
    perfect, wrong = (rewards[name](video, truth).loss for video in (truth.video, hovering))
    assert (wrong > 2 * perfect).all() and (wrong > 1e-4).all()


def test_newton_prefers_even_acceleration_to_jerks(rewards, truth):
    order = [0, 1, 2, 4, 3, 6, 5, *range(7, 17)]
    even, uneven = (rewards["newton"](video, truth).loss for video in (truth.video, truth.video[:, :, order]))
    assert (uneven > even).all()


def test_newton_asks_nothing_of_what_follows_contact():
    def cost(*heights):
        masks = torch.zeros(1, len(heights), 32, 8, dtype=torch.bool)
        for frame, row in enumerate(heights):
            masks[0, frame, row : row + 4, 2:6] = True
        video = (2.0 * masks - 1)[:, None].expand(-1, 3, -1, -1, -1)

        def sees_all(video, first):
            return 100 * video.mean(1), torch.full(video.shape[:1] + video.shape[2:3], 100.0)

        return float(REWARD_FUNCTIONS["newton"][0](sees_all, video, Truth(video, masks)).loss)

    assert cost(0, 1, 4, 9, 16, 25, 25, 22, 24, 25) == pytest.approx(0, abs=1e-5), "a landing, and a rebound"
    assert cost(0, 1, 4, 10, 16, 25, 25, 22, 24, 25) > 0.5, "an uneven fall"


def test_depth_is_in_shares_of_the_true_clips_range(truth, hovering):
    one, other = (depth(lambda seen, unit=unit: unit * seen.mean(1), hovering, truth).loss for unit in (1, 1000))
    torch.testing.assert_close(one, other)


def test_newton_is_not_fooled_by_vanishing(rewards, truth, hovering):
    gone = truth.video.clone()
    empty = torch.from_numpy(np.stack(list(_background(truth))))
    gone[:, :, 8:] = empty[:, :, None]
    assert (rewards["newton"](gone, truth).loss > rewards["newton"](truth.video, truth).loss).all()
    assert (rewards["newton"](gone, truth).lost > 0.2).all()


def _background(truth: Truth):
    """Each clip's scene without the object: what a place shows while the object is elsewhere."""
    for video, masks in zip(truth.video, truth.masks, strict=True):
        shown = torch.nn.functional.max_pool2d(masks.float(), 3, 1, 1) > 0
        free = ~shown
        yield ((video * free).sum(1) / free.sum(0).clamp(min=1)).numpy()


@pytest.mark.parametrize("name", list(REWARD_FUNCTIONS))
def test_gradients_reach_the_pixels_and_match_finite_differences(rewards, truth, hovering, name):
    function = _in_double(name)
    length = 9  # float64 is slow
    exact = Truth(truth.video[:1, :, :length].double(), truth.masks[:1, :length])
    video = (0.5 * exact.video + 0.5 * hovering[:1, :, :length].double()).requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(video, exact).loss.sum(), video)
    assert torch.isfinite(gradient).all() and float(gradient[:, :, 1:].abs().max()) > 0
    rng, step = np.random.default_rng(0), 1e-6
    largest = gradient[:, :, 1:].abs().flatten().topk(200).indices.numpy()
    shape = gradient[:, :, 1:].shape
    for place in rng.choice(largest, 5, replace=False):
        index = list(np.unravel_index(place, shape))
        index[2] += 1
        bump = torch.zeros_like(video)
        bump[tuple(index)] = step
        with torch.no_grad():
            up, down = (function(video + sign * bump, exact).loss.sum() for sign in (1, -1))
        numeric = float((up - down) / (2 * step))
        assert abs(numeric - float(gradient[tuple(index)])) <= 1e-2 * abs(numeric)


def _in_double(name: str):
    """The reward on nets in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        function = load_rewards([name])[name]
        return partial(function.func, function.args[0].double())
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_gradient_lands_on_the_object(rewards, truth, hovering):
    video = hovering.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(rewards["seg"](video, truth).loss.sum(), video)
    power = gradient.square().sum(1)[:, 1:]
    falls = truth.masks[:, 1:] | truth.masks[:, :1]
    near = torch.nn.functional.max_pool2d(falls.float(), 7, 1, 3) > 0
    assert float(power[near].sum() / power.sum()) > 2 * float(near.float().mean())


def test_what_cannot_be_compared_is_left_out(rewards, truth):
    empty = replace(truth, masks=torch.stack([truth.masks[0], torch.zeros_like(truth.masks[1])]))
    for name in ("seg", "newton"):
        result = rewards[name](truth.video, empty)
        assert result.counted.tolist() == [True, False] and torch.isfinite(result.loss).all()

    class Flat(torch.nn.Module):
        def forward(self, picture):
            return picture[:, 0] * 0 + 0.3

    result = depth(Flat(), truth.video, truth)
    assert not result.counted.any() and torch.isfinite(result.loss).all()


def test_the_centroid_reward_is_the_distance_and_leaves_lost_frames_out(rewards, truth, hovering):
    moved = truth.video.clone()
    moved[:, :, 8:] = truth.video[:, :, 3:4]  # stands still for the rest: the same object, elsewhere
    masks = truth.masks.numpy()
    centres = [[np.argwhere(frame).mean(0) / 64 for frame in clip] for clip in masks]
    wanted = [np.mean([np.abs(clip[3] - clip[t]).sum() if t >= 8 else 0 for t in range(1, 17)]) for clip in centres]
    np.testing.assert_allclose(rewards["centre"](moved, truth).loss, wanted, rtol=0.15)
    gone = truth.video.clone()
    gone[:, :, 8:] = torch.from_numpy(np.stack(list(_background(truth))))[:, :, None]
    result = rewards["centre"](gone, truth)
    assert (result.lost > 0.2).all() and (result.loss < 0.05).all()


def test_the_energy_score_pays_for_two_answers_only_where_there_are_two(rewards, truth, hovering):
    score, falls = rewards["energy"], truth.video
    twice = Truth(truth.video[[0, 0]], truth.masks[[0, 0]])
    worlds = {"falls": twice, "hovers": replace(twice, video=hovering[[0, 0]])}
    right, wrong = (float(score(torch.stack([one, one]), twice).loss[0]) for one in (falls[0], hovering[0]))
    assert right < 0.01 * wrong and 0.1 < wrong
    answers = {"one": (falls[0], falls[0]), "both": (falls[0], hovering[0])}
    mean = {
        name: [float(score(torch.stack(pair), world).loss[0]) for world in worlds.values()]
        for name, pair in answers.items()
    }
    assert mean["one"][0] < 0.01 * wrong and mean["one"][1] == pytest.approx(wrong, rel=0.1)
    assert max(mean["both"]) < 0.05 * wrong, "each truth is met by one of the two, and they are as far apart"
    single = Truth(truth.video[:1], truth.masks[:1])
    assert float(score(hovering[:1], single).loss) == pytest.approx(wrong, rel=1e-4)


def test_rewards_of_one_video_share_a_pass_of_the_tracker(truth, hovering, monkeypatch):
    shared = load_rewards(["seg", "centre", "newton"])
    (tracker,) = {one.args[0] for one in shared.values()}
    calls, plain = [], tracker.forward
    monkeypatch.setattr(tracker, "forward", lambda *given: calls.append(given[0]) or plain(*given))
    truth, video = replace(truth, tracked={}), hovering.clone().requires_grad_(True)
    together = sum(reward(video, truth).loss.sum() for reward in shared.values())
    assert len(calls) == 2, "the video, and for centre the truth"
    (gradient,) = torch.autograd.grad(together, video)
    alone = [load_rewards([name])[name](video, truth).loss.sum() for name in shared]
    torch.testing.assert_close(gradient, torch.autograd.grad(sum(alone), video)[0])
    assert float(shared["seg"](truth.video, truth).loss.max()) < 0.2, "another video is tracked anew"


def test_unknown_reward_or_perception():
    with pytest.raises(InputError, match="seg"):
        load_rewards(["segg"])
    with pytest.raises(InputError, match="real"):
        load_rewards(["seg"], "reel")


def test_real_perception_that_is_not_there_says_how_to_get_it(tmp_path):
    for load, name in ((load_sam2, "sam2"), (load_depth_anything, "depth-anything-v2")):
        with pytest.raises(InputError, match=f"weights: cannot be loaded .*pisa download {name}"):
            load(str(tmp_path / "none"))


def test_iou_is_seg_without_its_term_for_presence():
    truth = Truth(torch.zeros(1, 3, 3, 8, 8), torch.ones(1, 3, 8, 8, dtype=torch.bool))
    unsure = lambda video, mask: (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3))  # noqa: E731
    seg, iou = (float(REWARD_FUNCTIONS[name][0](unsure, truth.video, truth).loss) for name in ("seg", "iou"))
    assert iou == pytest.approx(0.5) and seg == pytest.approx(1.0)
