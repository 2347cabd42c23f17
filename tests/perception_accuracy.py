"""How accurate the perception nets are, on clips whose truth the simulator knows."""

import numpy as np
import torch
from torch import nn

from pisa_kit.clips.clip import Clip
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import WEIGHTS
from pisa_kit.metrics.l2_chamfer_iou import fixed
from pisa_kit.perception.depth import load_depth, video_depth
from pisa_kit.perception.flow import load_flow, video_flow
from pisa_kit.perception.nets import erase
from pisa_kit.perception.tensors import to_frames, to_video
from pisa_kit.perception.trackers import NETS, load_tracker, track_net


def perception_accuracy(clips: list[Clip], frames=None, folder=WEIGHTS) -> dict[str, dict[str, float]]:
    """What every net measures, wrong by how much; by name of the net.

    Args:
        clips: held-out ones with masks, depth and flow.
        frames: what the nets see instead of the clips' own frames, one (T, H, W, 3) uint8 per clip, e.g.
            `codec.reconstruct` of them; the truth stays.
        folder: of the weights.
    """
    trackers = {name: tracker_accuracy(load_tracker(name, folder), clips, frames) for name in NETS}
    flow, depth = flow_accuracy(load_flow(folder), clips, frames), depth_accuracy(load_depth(folder), clips, frames)
    return trackers | {"flow": flow, "depth": depth}


def tracker_accuracy(model: nn.Module, clips: list[Clip], frames=None) -> dict[str, float]:
    """A tracker given the true mask of frame 0; clips without their object in frame 0 are left out.

    Returns:
        `clips`: how many were tracked.
        `trajectory_l2_median`, `trajectory_l2_mean`: over clips, image widths, and `iou`, as in `fixed`: a
            frame wrongly called lost costs a whole width.
        `wrongly_lost`: share of the later frames with the object in which it is called lost.
        `rightly_lost`: share of those from which it was erased (`erase`) in which it is called lost; NaN if it could
            be erased from none.
    """
    scores, lost, lost_erased = [], [], []
    for clip, seen in _pairs(clips, frames):
        truth = clip.dropped
        if not truth[0].any():
            continue
        found = track_net(model, seen, truth[0])
        scores.append(fixed(truth, clip.fps, found.masks, clip.fps))
        lost.append(found.lost[1:][truth[1:].any((1, 2))])
        later = torch.arange(len(clip))[None] > 0
        emptied, left = erase(to_video(seen[None]), torch.from_numpy(truth)[None], later)
        erased = truth.any((1, 2)) & ~left[0].any(-1).any(-1).numpy()
        lost_erased.append(track_net(model, to_frames(emptied)[0], truth[0]).lost[erased])
    distance, lost_erased = [score["fixed_l2"] for score in scores], np.concatenate(lost_erased)
    return {
        "clips": len(scores),
        "trajectory_l2_median": float(np.median(distance)),
        "trajectory_l2_mean": float(np.mean(distance)),
        "iou": float(np.mean([score["iou"] for score in scores])),
        "wrongly_lost": float(np.concatenate(lost).mean()),
        "rightly_lost": float(lost_erased.mean()) if len(lost_erased) else np.nan,
    }


@torch.no_grad()
def flow_accuracy(model: nn.Module, clips: list[Clip], frames=None) -> dict[str, float]:
    """Mean end-point error over all pixels of the dropped object and over all others, pixels.

    Returns:
        `error_object`, `error_background`, and `motion_object`: the error on the object of a net that says 0.
    """
    errors, motions, inside = [], [], []
    for clip, seen in _pairs(clips, frames):
        truth = _truth(clip, "flow")
        flow = video_flow(model, to_video(seen[None]))[0].permute(0, 2, 3, 1).numpy()
        errors.append(np.linalg.norm(flow - truth, axis=-1))
        motions.append(np.linalg.norm(truth, axis=-1))
        inside.append(clip.dropped[:-1])
    error, motion, inside = (np.concatenate(parts) for parts in (errors, motions, inside))
    return _inside_and_outside(error, inside) | {"motion_object": float(motion[inside].mean())}


@torch.no_grad()
def depth_accuracy(model: nn.Module, clips: list[Clip], frames=None) -> dict[str, float]:
    """Mean relative error of depth (0.1: 10 % off): `error_object` on the dropped object, `error_background`."""
    errors, inside = [], []
    for clip, seen in _pairs(clips, frames):
        depth = 1 / video_depth(model, to_video(seen[None]))[0].numpy()
        errors.append(np.abs(depth / _truth(clip, "depth") - 1))
        inside.append(clip.dropped)
    return _inside_and_outside(np.concatenate(errors), np.concatenate(inside))


def _inside_and_outside(error: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    return {"error_object": float(error[inside].mean()), "error_background": float(error[~inside].mean())}


def _pairs(clips: list[Clip], frames):
    """Each clip with the frames that the nets see."""
    return zip(clips, [clip.frames for clip in clips] if frames is None else frames, strict=True)


def _truth(clip: Clip, name: str) -> np.ndarray:
    truth = getattr(clip, name)
    if truth is None:
        raise InputError(clip.name, name, "is missing", "Measure on simulated clips.")
    return truth
