"""What moves: optical flow between neighbouring frames. Nets are called (first, second) to pixels; RAFT fits there."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from pisa_kit.core.checks import check
from pisa_kit.core.storage import WEIGHTS, loadable
from pisa_kit.perception.nets import FlowNet, load_net


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


class Raft(nn.Module):
    """torchvision's RAFT behind the call of `nets.FlowNet`; pictures of any size.

    Args:
        model: e.g. `torchvision.models.optical_flow.raft_large(weights="C_T_V2")`.
        side: of the square the model sees, a multiple of 8, at least 128.
        iterations: refinements of the flow (PISA: 20); RAFT stops the gradient between one and the next.
    """

    def __init__(self, model: nn.Module, side: int = 256, iterations: int = 20):
        super().__init__()
        self.model, self.side, self.iterations = model.eval().requires_grad_(False), side, iterations
        check(Annotated[int, Field(ge=128, multiple_of=8)], side, "Raft", "side", f"Use {max(side // 8 * 8, 128)}.")

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """See `nets.FlowNet.forward`."""
        height, width = first.shape[-2:]
        square = (self.side, self.side)
        pair = [F.interpolate(picture, square, mode="bilinear", antialias=True) for picture in (first, second)]
        flow = self.model(*pair, num_flow_updates=self.iterations)[-1]
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / self.side, height / self.side])[:, None, None]


def load_raft() -> Raft:
    """RAFT with torchvision's weights; raises InputError without torchvision or where they cannot be fetched."""
    remedy = 'Connect, and pip install "pisa_kit[gpu]"; or use the preset\'s perception "tiny".'
    with loadable("RAFT", "weights", remedy):
        from torchvision.models.optical_flow import raft_large

        return Raft(raft_large(weights="C_T_V2"))
