"""How far: inverse depth of single frames. Nets are called picture to inverse depth; Depth Anything V2 fits there."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn
from transformers import DepthAnythingForDepthEstimation

from pisa_kit.core.checks import check
from pisa_kit.core.storage import WEIGHTS, loadable
from pisa_kit.perception.nets import DepthNet, load_net
from pisa_kit.perception.tensors import for_imagenet


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


DEPTH_ANYTHING = "depth-anything/Depth-Anything-V2-Small-hf"


class DepthAnything(nn.Module):
    """Depth Anything V2 behind the call of `nets.DepthNet`: relative inverse depth, any size of picture.

    Args:
        model: e.g. `DepthAnythingForDepthEstimation.from_pretrained("depth-anything/Depth-Anything-V2-Small-hf")`.
        side: of the square the model sees, a multiple of 14.
    """

    def __init__(self, model: DepthAnythingForDepthEstimation, side: int = 518):
        super().__init__()
        self.model, self.side = model.eval().requires_grad_(False), side
        multiple = Annotated[int, Field(gt=0, multiple_of=14)]
        check(multiple, side, "DepthAnything", "side", f"Use {max(side // 14, 1) * 14}.")

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """See `nets.DepthNet.forward`."""
        found = self.model(pixel_values=for_imagenet(picture, self.side)).predicted_depth
        return F.interpolate(found[:, None], picture.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def load_depth_anything(weights: str = DEPTH_ANYTHING) -> DepthAnything:
    """Depth Anything V2 from the hub, its cache or a folder; raises InputError for weights that cannot be loaded."""
    with loadable(weights, "weights", "Get it with `pisa download depth-anything-v2` and name its folder."):
        return DepthAnything(DepthAnythingForDepthEstimation.from_pretrained(weights, use_safetensors=True))
