"""Masks, flow and depth behind their calls: shapes, gradients, weights that are refused, and what is measured."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from perception_accuracy import depth_accuracy, flow_accuracy, perception_accuracy, tracker_accuracy
from torch import nn

from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import read_json
from pisa_kit.metrics.l2_chamfer_iou import fixed
from pisa_kit.perception.background_tracker import track_background
from pisa_kit.perception.depth import load_depth, video_depth
from pisa_kit.perception.flow import load_flow, video_flow
from pisa_kit.perception.nets import DepthNet, FlowNet, MaskTracker, save_net
from pisa_kit.perception.tensors import to_video
from pisa_kit.perception.trackers import load_tracker, track_clips, track_net
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.settings import Training

torch.set_num_threads(1)
SETTINGS = Training(steps=3, batch=4, learning_rate=1e-3)
KINDS = {"judge": MaskTracker, "reward": MaskTracker, "flow": FlowNet, "depth": DepthNet}


@pytest.fixture(scope="module")
def clips():
    return [simulate(sample(seed), 32, 9, 16) for seed in range(4)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed, (name, kind) in enumerate(KINDS.items()):
        torch.manual_seed(seed)
        save_net(folder / name, kind(8), 8, asdict(SETTINGS), [2, 1])
    return folder


class Oracle(nn.Module):
    """Answers what it was told, whatever it sees."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = answers

    def forward(self, *pictures):
        return self.answers if len(self.answers) > 1 else self.answers[0]


class PlateDifference(nn.Module):
    """Calls the object present where a frame differs from the last one, which must show it elsewhere."""

    def forward(self, video, mask):
        logits = (video - video[:, :, -1:]).abs().amax(1) - 0.1
        return logits, (logits > 0).sum((2, 3)) - 0.5


# --- calls -----------------------------------------------------------------------------------------------------------


def test_flow_is_between_neighbours_of_one_clip(clips):
    video = to_video(np.stack([clip.frames for clip in clips[:2]]))
    model = lambda first, second: (second - first)[:, :2]  # noqa: E731
    flow = video_flow(model, video)
    assert flow.shape == (2, 8, 2, 32, 32)
    assert torch.equal(flow[1, 3], (video[1, :2, 4] - video[1, :2, 3]))
    assert torch.equal(flow[1:], video_flow(model, video[1:])), "a clip's flow does not depend on its neighbours"


def test_depth_is_per_frame(clips):
    video = to_video(np.stack([clip.frames for clip in clips[:2]]))
    depth = video_depth(lambda picture: picture[:, 0], video)
    assert torch.equal(depth, video[:, 0])


@pytest.mark.parametrize("call", [video_flow, video_depth])
def test_gradients_reach_the_pixels_of_every_frame(clips, weights, call):
    model = {video_flow: load_flow, video_depth: load_depth}[call](weights)
    video = to_video(clips[0].frames[None]).requires_grad_()
    call(model, video).square().mean().backward()
    gradient = video.grad.abs().sum((0, 1, 3, 4))
    assert torch.isfinite(video.grad).all() and (gradient > 0).all()
    assert all(parameter.grad is None for parameter in model.parameters()), "the net itself is frozen"


def test_track_keeps_the_prompt_and_empties_lost_frames(clips):
    frames, start = clips[0].frames, clips[0].dropped[0]
    logits, presence = torch.ones(1, 9, 32, 32), torch.ones(1, 9)
    presence[0, 3], logits[0, 5] = -0.1, -1
    track = track_net(Oracle(logits, presence), frames, start)
    assert np.array_equal(np.flatnonzero(track.lost), [3, 5]) and not track.masks[[3, 5]].any()
    assert np.array_equal(track.masks[0], start) and track.masks[[1, 2, 4, 6, 7, 8]].all()
    with pytest.raises(InputError, match="start: has shape .* and 0 pixels"):
        track_net(Oracle(logits, presence), frames, np.zeros_like(start))


# --- who judges ------------------------------------------------------------------------------------------------------


def test_the_rewards_tracker_never_judges(clips, weights):
    load_tracker("reward", weights)  # it is there, and refused all the same
    with pytest.raises(InputError, match="tracker: 'reward' trains models and must not judge them. Use one of backg"):
        track_clips(clips, clips, tracker="reward", folder=weights)
    with pytest.raises(InputError, match="'juge' is unknown. Did you mean 'judge'"):
        track_clips(clips, clips, tracker="juge", folder=weights)


def test_clips_are_tracked_by_the_judge_or_against_the_background(clips, weights):
    bare = [replace(clip, masks=None) for clip in clips]
    judged = track_clips(bare, clips, tracker="judge", folder=weights)
    expected = track_net(load_tracker("judge", weights), clips[1].frames, clips[1].dropped[0])
    assert np.array_equal(judged[1].dropped, expected.masks)
    followed = track_clips(bare, clips, workers=1)
    assert np.array_equal(followed[1].dropped, track_background(clips[1].frames, clips[1].dropped[0]).masks)
    assert not np.array_equal(followed[1].dropped, judged[1].dropped)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_saved_nets_say_how_they_were_made_and_come_back(weights):
    for seed, (name, kind) in enumerate(KINDS.items()):
        torch.manual_seed(seed)
        made = kind(8).state_dict()
        config = read_json(weights / name / "config.json")
        assert config["net"] == kind.__name__ and config["width"] == 8 and config["clips"] == [2, 1]
        assert Training(**config["training"]) == SETTINGS
        loaded = {"flow": load_flow, "depth": load_depth}.get(
            name, lambda folder, name=name: load_tracker(name, folder)
        )
        assert all(torch.equal(value, made[key]) for key, value in loaded(weights).state_dict().items())


def spoil(kind: str, folder):
    path = folder / "flow" / "model.safetensors"
    if kind == "no config":
        (folder / "flow" / "config.json").unlink()
    elif kind == "no weights":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "another net":
        shutil.rmtree(folder / "flow")
        shutil.copytree(folder / "depth", folder / "flow")
    elif kind == "another net's weights":
        shutil.copy(folder / "depth" / "model.safetensors", path)
    elif kind == "not finite":
        model = FlowNet(8)
        nn.init.constant_(model.net.head.bias, torch.nan)
        save_net(folder / "flow", model, 8, asdict(SETTINGS), [1])
    else:
        (folder / "flow" / "config.json").write_text(json.dumps({"net": "FlowNet", "width": kind}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no config", "config.json: file: does not exist"),
        ("no weights", "model.safetensors: weights: do not exist. Make the weights with `pisa pretrain flow`"),
        ("truncated", "model.safetensors: weights: are damaged"),
        ("another net", "config.json: net: is 'DepthNet'. It should be 'FlowNet'"),
        ("another net's weights", "weights: do not fit a FlowNet of width 8"),
        ("not finite", "or are not finite"),
        (0, "config.json: width: is 0"),
        (16, "weights: do not fit a FlowNet of width 16"),
    ],
)
def test_bad_weights_say_what_is_wrong(weights, tmp_path, kind, message):
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    spoil(kind, folder)
    with pytest.raises(InputError, match=message):
        load_flow(folder)


# --- accuracy --------------------------------------------------------------------------------------------------------


def test_a_perfect_tracker_has_no_error_and_a_blind_one_all(clips):
    clip = clips[1]  # in which the object moves far enough to be erased from where it was
    masks = torch.from_numpy(clip.dropped)[None].float()
    present = masks.any(-1).any(-1).float()
    perfect = tracker_accuracy(Oracle(masks, 2 * present - 1), [clip])
    assert perfect["clips"] == 1 and perfect["iou"] == 1
    assert perfect["trajectory_l2_median"] == 0 and perfect["wrongly_lost"] == 0
    assert perfect["rightly_lost"] == 0, "it does not look"
    blind = tracker_accuracy(Oracle(masks, -torch.ones(1, 9)), [clip])
    assert blind["wrongly_lost"] == 1 and blind["rightly_lost"] == 1
    assert blind["trajectory_l2_mean"] == pytest.approx((clip.dropped[1:].any((1, 2))).mean() * 8 / 9)


def test_tracker_error_is_that_of_the_metrics(clips, weights):
    model, clip = load_tracker("judge", weights), clips[0]
    found = track_net(model, clip.frames, clip.dropped[0]).masks
    expected = fixed(clip.dropped, clip.fps, found, clip.fps)
    measured = tracker_accuracy(model, [clip])
    assert measured["trajectory_l2_mean"] == expected["fixed_l2"] and measured["iou"] == expected["iou"]


def test_erased_frames_are_recognised_by_a_tracker_that_looks(clips):
    still = [np.concatenate([clip.frames[:-1], clip.frames[:1]]) for clip in clips]  # the last frame shows the start
    masks = [np.concatenate([clip.masks[:-1], clip.masks[:1]]) for clip in clips]
    back = [replace(clip, frames=f, masks=m) for clip, f, m in zip(clips, still, masks, strict=True)]
    assert tracker_accuracy(PlateDifference(), back)["wrongly_lost"] < 0.2


def test_flow_and_depth_errors_are_split_by_the_object(clips):
    clip = clips[0]
    still = flow_accuracy(Oracle(torch.zeros(8, 2, 32, 32)), [clip])
    inside = clip.dropped[:-1]
    assert still["error_object"] == still["motion_object"] > 0.5
    assert still["error_background"] == pytest.approx(np.linalg.norm(clip.flow, axis=-1)[~inside].mean(), abs=1e-6)
    exact = flow_accuracy(Oracle(torch.from_numpy(clip.flow).permute(0, 3, 1, 2)), [clip])
    assert exact["error_object"] == exact["error_background"] == 0
    tenth = torch.from_numpy(1 / clip.depth)
    tenth[torch.from_numpy(clip.dropped)] /= 1.1
    depth = depth_accuracy(Oracle(tenth), [clip])
    assert depth["error_object"] == pytest.approx(0.1, abs=1e-3) and depth["error_background"] < 1e-5
    with pytest.raises(InputError, match="flow: is missing"):
        flow_accuracy(FlowNet(8), [replace(clip, flow=None)])


def test_all_nets_are_measured_also_on_other_frames(clips, weights):
    measured = perception_accuracy(clips[:2], folder=weights)
    assert set(measured) == set(KINDS) and json.loads(json.dumps(measured)) == measured
    black = perception_accuracy(clips[:2], [np.zeros_like(clip.frames) for clip in clips[:2]], weights)
    assert measured["flow"]["motion_object"] == black["flow"]["motion_object"], "the truth stays"
    assert all(measured[name]["error_object"] != black[name]["error_object"] for name in ("flow", "depth"))
