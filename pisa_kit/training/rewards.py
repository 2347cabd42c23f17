"""Object rewards: videos in, one differentiable loss per clip out (PISA, ORO; Newton after NewtonRewards).

Every reward is called (net, video, truth) and sees the video only through this frozen perception net, so that its
gradient reaches the pixels. "Reward" is the usual word; what is returned is a loss, 0 at best, in raw units.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from pisa_kit.core.errors import check_choice
from pisa_kit.perception.depth import load_depth, load_depth_anything, video_depth
from pisa_kit.perception.flow import load_flow, load_raft, video_flow
from pisa_kit.perception.trackers import load_sam2, load_tracker

FLAT = 1e-3  # 1/m: a clip whose inverse depth varies less has no depth to compare


@dataclass(frozen=True)
class Truth:
    """The simulated clips that samples are compared with.

    Args:
        video: (B, 3, T, H, W) in [-1, 1].
        masks: (B, T, H, W) bool, the dropped object.
    """

    video: torch.Tensor
    masks: torch.Tensor
    tracked: dict = field(default_factory=dict, compare=False)  # what `soft_masks` saw last


@dataclass(frozen=True)
class Reward:
    """What a reward says about each clip.

    Args:
        loss: (B,), raw units.
        counted: (B,) bool; False where there is nothing to compare with (no object in the truth, a flat depth map).
        lost: (B,) share of frames in which the tracker says that the object is gone; 0 without a tracker.
    """

    loss: torch.Tensor
    counted: torch.Tensor
    lost: torch.Tensor


RewardFunction = Callable[[torch.Tensor, Truth], Reward]


def soft_masks(tracker: nn.Module, video: torch.Tensor, truth: Truth) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that a pixel shows the object (B, T - 1, H, W), that it is there at all (B, T - 1); not frame 0.

    Args:
        tracker: (video, mask of frame 0) to logits of masks and of presence, as `nets.MaskTracker`.
    """
    last = truth.tracked.get(torch.is_grad_enabled(), (None, None))
    if last[0] is not tracker or last[1] is not video:
        last = tracker, video, tuple(result[:, 1:].sigmoid() for result in tracker(video, truth.masks[:, 0]))
        truth.tracked[torch.is_grad_enabled()] = last
    return last[2]


def segmentation(tracker: nn.Module, video: torch.Tensor, truth: Truth, presence_weight: float = 1.0) -> Reward:
    """1 - soft IoU of the dropped object's mask + 1 - its presence, mean over the frames that show it (PISA, "Seg").

    Presence is ours: the mask of an object that SAM 2 has lost is a constant without gradient, its presence is not. It
    also asks for what `visibility` measures; the reward "iou" goes without it (`presence_weight` 0).
    """
    a, presence = soft_masks(tracker, video, truth)
    b = truth.masks[:, 1:].to(a)
    shown = truth.masks[:, 1:].any(-1).any(-1)
    both = (a * b).sum((-2, -1))
    iou = both / (a.sum((-2, -1)) + b.sum((-2, -1)) - both).clamp(min=1e-6)
    loss = ((1 - iou + presence_weight * (1 - presence)) * shown).sum(1) / shown.sum(1).clamp(min=1)
    return Reward(loss, shown.any(1) & truth.masks[:, 0].any(-1).any(-1), (presence < 0.5).float().mean(1))


def flow(net: nn.Module, video: torch.Tensor, truth: Truth) -> Reward:
    """Mean |flow(sample) - flow(truth)|, pixels per frame, over all pixels (PISA, "Flow")."""
    with torch.no_grad():
        wanted = video_flow(net, truth.video)
    loss = (video_flow(net, video) - wanted).abs().mean((1, 2, 3, 4))
    return Reward(loss, torch.ones_like(loss, dtype=torch.bool), torch.zeros_like(loss))


def depth(net: nn.Module, video: torch.Tensor, truth: Truth) -> Reward:
    """Mean squared error of inverse depth, scaled so that the true clip spans 0 to 1 (PISA, "Depth").

    One range per clip, the truth's: a range per frame flickers and cannot divide by a flat frame's.
    """
    with torch.no_grad():
        wanted = video_depth(net, truth.video)
        low, high = wanted.amin((1, 2, 3)), wanted.amax((1, 2, 3))
    counted = high - low > FLAT
    scale = (high - low).clamp(min=FLAT)[:, None, None, None]
    loss = ((video_depth(net, video) - wanted) / scale).square().mean((1, 2, 3))
    return Reward(loss, counted, torch.zeros_like(loss))


def centre(tracker: nn.Module, video: torch.Tensor, truth: Truth) -> Reward:
    """Distance of the dropped object's soft centroid from the truth's, image widths, |dx| + |dy| (ours).

    What L2 measures, made differentiable. Masks that do not overlap have an IoU of 0 whatever their distance, so seg
    cannot say where to go; this one can. Frames in which the tracker has lost the object are left out, as in L2.
    """
    with torch.no_grad():
        wanted = _centroid(soft_masks(tracker, truth.video, truth)[0])
    a, presence = soft_masks(tracker, video, truth)
    found = (truth.masks[:, 1:].any(-1).any(-1) & (presence > 0.5)).to(a)
    loss = ((_centroid(a) - wanted).abs().sum(-1) * found).sum(1) / found.sum(1).clamp(min=1)
    counted = found.any(1) & truth.masks[:, 0].any(-1).any(-1)
    return Reward(loss, counted, (presence < 0.5).float().mean(1))


def _centroid(masks: torch.Tensor) -> torch.Tensor:
    """Soft masks (..., H, W) to centroids (..., 2), x and y in image widths."""
    y, x = (torch.arange(size, device=masks.device, dtype=masks.dtype) for size in masks.shape[-2:])
    total = torch.stack([(masks.sum(-2) * x).sum(-1), (masks.sum(-1) * y).sum(-1)], -1)
    return total / masks.sum((-2, -1)).clamp(min=1)[..., None] / masks.shape[-1]


def energy(tracker: nn.Module, video: torch.Tensor, truth: Truth) -> Reward:
    """Energy score of the path, for two videos of a picture: (|a - y| + |b - y|) / 2 - |a - b| / 2, image widths.

    A proper score (Gneiting and Raftery 2007): its mean is lowest when videos are drawn from what the truths are drawn
    from, so one answer to an ambiguous picture does not pay. Paths are soft centroids in the frames in which neither
    video has lost the object, their distance is the root of the mean squared one over these frames.

    Args:
        video, truth: 2 B clips, of which 2 i and 2 i + 1 answer the same picture; a single one is paired with itself.
    """
    with torch.no_grad():
        wanted = _centroid(soft_masks(tracker, truth.video, truth)[0])[::2]
    a, presence = soft_masks(tracker, video, truth)
    seen = truth.masks[:, 1:].any(-1).any(-1) & (presence > 0.5)
    paths, again = _centroid(a), -1 if len(a) == 1 else 1  # where the partner of the first video is
    found = (seen[::2] & seen[again::2]).to(a)

    def apart(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        squared = ((ours - theirs).square().sum(-1) * found).sum(1) / found.sum(1).clamp(min=1)
        return (squared + 1e-8).sqrt()  # a root has no gradient at 0

    one, other = paths[::2], paths[again::2]
    score = (apart(one, wanted) + apart(other, wanted) - apart(one, other)) / 2
    counted = found.any(1) & truth.masks[::2, 0].any(-1).any(-1)
    whose = torch.arange(len(a), device=a.device) // 2
    return Reward(score[whose], counted[whose], (presence < 0.5).float().mean(1))


def newton(tracker: nn.Module, video: torch.Tensor, truth: Truth, mass: float = 0.1, still: float = 0.5) -> Reward:
    """No ground truth but frame 0's mask: constant acceleration of the image motion, and an object that stays.

    The mean absolute third difference of the soft centroid, in pixels, over the frames before it first slows down
    (contact), plus `mass` times (the relative change of the soft mask's area + 1 - presence). Hovering would score 0
    as well: constant acceleration does not say which. After NewtonRewards (arXiv 2512.00425), which takes the motion
    from optical flow.

    Args:
        mass: weight of the term against vanishing.
        still: pixels per frame by which the fall must slow down to count as contact.
    """
    a, presence = soft_masks(tracker, video, truth)
    a = torch.cat([truth.masks[:, :1].to(a), a], 1)
    area, rows = a.sum((-2, -1)), torch.arange(a.shape[2], device=a.device, dtype=a.dtype)
    height = (a.sum(-1) * rows).sum(-1) / area.clamp(min=1)
    speed = height.diff(dim=1)
    falls = (speed.detach().diff(dim=1) > -still).to(a).cumprod(1)[:, 1:]
    uneven = (speed.diff(n=2, dim=1).abs() * falls).sum(1) / falls.sum(1).clamp(min=1)
    change = (area[:, 1:] / area[:, :1].clamp(min=1) - 1).abs() + 1 - presence
    counted = truth.masks[:, 0].any(-1).any(-1)
    return Reward(uneven + mass * change.mean(1), counted, (presence < 0.5).float().mean(1))


REWARD_FUNCTIONS = {  # a reward and the net it looks through
    "seg": (segmentation, "tracker"),
    "iou": (partial(segmentation, presence_weight=0.0), "tracker"),
    "flow": (flow, "flow"),
    "depth": (depth, "depth"),
    "centre": (centre, "tracker"),
    "newton": (newton, "tracker"),
    "energy": (energy, "tracker"),
}
PAIRED = {"energy"}  # rewards that compare two videos of each picture
NETS = {
    "tiny": {"tracker": lambda: load_tracker("reward"), "flow": load_flow, "depth": load_depth},
    "real": {"tracker": load_sam2, "flow": load_raft, "depth": load_depth_anything},
}


def load_rewards(names, perception: str = "tiny", device: torch.device | str = "cpu") -> dict[str, RewardFunction]:
    """Rewards by name, see `REWARD_FUNCTIONS`, called (video, truth).

    Args:
        perception: the nets they look through: "tiny", which ship with the kit, or "real": SAM 2.1, RAFT and Depth
            Anything V2, from the hub or its cache.

    Raises:
        InputError: another name, or weights that cannot be loaded.
    """
    makers = NETS[check_choice(perception, NETS, "perception")]
    chosen = {name: REWARD_FUNCTIONS[check_choice(name, REWARD_FUNCTIONS, "reward")] for name in names}
    nets = {net: makers[net]().to(device) for net in {net for _, net in chosen.values()}}
    return {name: partial(reward, nets[net]) for name, (reward, net) in chosen.items()}
