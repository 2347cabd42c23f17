"""The real perception models behind the tiny nets' calls: real classes, small, random weights; shapes and gradients."""

from functools import partial

import numpy as np
import pytest
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Sam2VideoConfig,
    Sam2VideoModel,
)

from pisa_kit.core.errors import InputError
from pisa_kit.perception.depth import DepthAnything
from pisa_kit.perception.flow import Raft
from pisa_kit.perception.tensors import to_video
from pisa_kit.perception.trackers import Sam2
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.training.rewards import Truth, depth, flow, newton, segmentation

torch.set_num_threads(1)


def small_sam2() -> Sam2VideoModel:
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [128, 128],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 1, 2, 4],
        "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 128,
    }
    memory = {
        "memory_attention_hidden_size": 128,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_attention_num_layers": 1,
        "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": 128,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 64,
    }
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 128, "image_size": 128, "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        image_size=128,
        **memory,
    )
    return Sam2VideoModel(config)


def small_depth_anything() -> DepthAnythingForDepthEstimation:
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=70,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    sizes = {"reassemble_hidden_size": 32, "neck_hidden_sizes": [8, 16, 32, 32], "fusion_hidden_size": 16}
    config = DepthAnythingConfig(backbone_config=backbone, head_hidden_size=8, **sizes)
    return DepthAnythingForDepthEstimation(config)


def appearing(model: Sam2VideoModel, offset: float) -> Sam2:
    """The tracker with the object's score moved by `offset`: random weights know nothing of presence."""
    last = model.mask_decoder.pred_obj_score_head.proj_out
    with torch.no_grad():
        last.bias += offset
    return Sam2(model)


@pytest.fixture(scope="module")
def truth() -> Truth:
    clip = simulate(sample(3), 64, 4, 16)
    return Truth(to_video(clip.frames[None]), torch.from_numpy(clip.dropped)[None])


def gradient(reward, truth: Truth, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    video = truth.video + noise * torch.randn(truth.video.shape, generator=generator).to(truth.video)
    video.requires_grad_(True)
    result = reward(video, truth)
    (found,) = torch.autograd.grad(result.loss.sum(), video)
    return video, result, found


def check_numerically(reward, truth: Truth):
    """The gradient of the last frame's largest pixels against central differences, in float64."""
    exact = Truth(truth.video.double(), truth.masks)
    video, _, found = gradient(reward, exact)
    last = found[:, :, -1].abs().flatten()
    assert torch.isfinite(found).all() and float(last.max()) > 0
    for place in last.topk(3).indices.numpy():
        channel, row, column = np.unravel_index(place, found[0, :, -1].shape)
        bump = torch.zeros_like(video)
        bump[0, channel, -1, row, column] = 1e-5
        with torch.no_grad():
            up, down = (reward(video + sign * bump, exact).loss.sum() for sign in (1, -1))
        numeric, exactly = float((up - down) / 2e-5), float(found[0, channel, -1, row, column])
        assert abs(numeric - exactly) <= 1e-2 * abs(exactly)


@pytest.mark.parametrize("maker", [segmentation, newton])
def test_sam2_rewards_have_right_gradients(truth, maker):
    two = Truth(truth.video[:, :, :2], truth.masks[:, :2])  # later frames see memory that SAM 2 rounds to bfloat16
    tracker = appearing(small_sam2(), 5.0).double()
    logits, presence = tracker(truth.video.double(), truth.masks[:, 0])
    assert logits.shape == truth.masks.shape and presence.shape == (1, 4) and (presence > 0).all()
    assert torch.equal(logits[0, 0] > 0, truth.masks[0, 0])
    if maker is segmentation:
        check_numerically(partial(maker, tracker), two)
    assert float(gradient(partial(maker, tracker.float()), truth)[2][:, :, 1:].abs().max()) > 0


def test_an_object_that_sam2_lost_is_counted_and_still_has_a_gradient(truth):
    _, result, found = gradient(partial(segmentation, appearing(small_sam2(), -5.0)), truth)
    assert float(result.lost) == 1 and result.counted.all() and float(result.loss.detach()) > 1.9
    assert torch.isfinite(found).all() and float(found.abs().max()) > 0


def test_depth_anything(truth):
    net = DepthAnything(small_depth_anything(), side=70)
    assert net(truth.video[:, :, 0]).shape == (1, 64, 64)
    assert float(depth(net, truth.video, truth).loss) == 0
    check_numerically(partial(depth, net.double()), truth)
    with pytest.raises(InputError, match="70"):
        DepthAnything(small_depth_anything(), side=75)


def test_raft(truth, monkeypatch):
    models = pytest.importorskip(
        "torchvision.models.optical_flow", reason="torchvision is not part of the default install", exc_type=ImportError
    )
    torch.manual_seed(0)
    net = Raft(models.raft_small(weights=None), side=128, iterations=2)
    assert net(truth.video[:, :, 0], truth.video[:, :, 1]).shape == (1, 2, 64, 64)
    assert float(flow(net, truth.video, truth).loss) == 0
    grid = models.raft.make_coords_grid  # always float32
    monkeypatch.setattr(models.raft, "make_coords_grid", lambda *given, **more: grid(*given, **more).double())
    net.iterations = 1  # no gradient goes from one refinement into the next
    check_numerically(partial(flow, net.double()), truth)
    with pytest.raises(InputError, match="128"):
        Raft(models.raft_small(weights=None), side=64)
