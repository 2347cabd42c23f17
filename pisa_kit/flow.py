"""What moves: optical flow between neighbouring frames. Nets are called (first, second) to pixels; RAFT fits there."""

import torch
from torch import nn

from pisa_kit.files import WEIGHTS
from pisa_kit.net_files import load_net
from pisa_kit.tiny_nets import FlowNet


def load_flow(folder=WEIGHTS) -> FlowNet:
    """The flow net that ships, frozen; raises InputError for weights that are missing, damaged or of another net."""
    return load_net(folder, "flow", FlowNet)


def video_flow(model: nn.Module, video: torch.Tensor) -> torch.Tensor:
    """Flow between the neighbouring frames of each clip, never across clips; differentiable.

    Args:
        model: two pictures (B, 3, H, W) in [-1, 1] to flow (B, 2, H, W), pixels (x, y), see `FlowNet`.
        video: (B, 3, T, H, W) in [-1, 1].

    Returns:
        (B, T - 1, 2, H, W), pixels from frame t to t + 1.
    """
    frames = video.transpose(1, 2)
    flow = model(frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1))
    return flow.unflatten(0, (len(video), -1))
