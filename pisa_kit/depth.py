"""How far: inverse depth of single frames. Nets are called picture to inverse depth; Depth Anything V2 fits there."""

import torch
from torch import nn

from pisa_kit.files import WEIGHTS
from pisa_kit.net_files import load_net
from pisa_kit.tiny_nets import DepthNet


def load_depth(folder=WEIGHTS) -> DepthNet:
    """The depth net that ships, frozen; raises InputError for weights that are missing, damaged or of another net."""
    return load_net(folder, "depth", DepthNet)


def video_depth(model: nn.Module, video: torch.Tensor) -> torch.Tensor:
    """Inverse depth of every frame; differentiable.

    Args:
        model: pictures (B, 3, H, W) in [-1, 1] to inverse depth (B, H, W), see `DepthNet`.
        video: (B, 3, T, H, W) in [-1, 1].

    Returns:
        (B, T, H, W), 1/m along the optical axis.
    """
    return model(video.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(video), -1))
