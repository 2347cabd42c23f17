"""The perception nets that ship with the kit: a U-Net and what it is used for. Differentiable from the pixels on."""

from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute
from typing_extensions import TypedDict

from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import atomic_path, open_tensors, read_json, write_json

FLOW_UNIT = 4.0  # pixels: about what a falling object moves in a frame of 64x64 pixels, so that outputs are about 1
FAR = 100.0  # metres; nothing is predicted farther away
OBJECT_WEIGHT = 20.0  # in flow and depth, of a pixel on the dropped object (1.4 % of them) against 1 elsewhere
ERASABLE = 0.9  # share of the object whose background must be known for it to be erased
SIDE = 64  # pixels the nets were trained at; larger pictures are seen at this size
PROMPT = 10.0  # logit of frame 0, where the mask is given


class Block(nn.Sequential):
    """Two 3x3 convolutions, each with group norm and SiLU."""

    def __init__(self, inputs: int, outputs: int):
        layers = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """Pictures (B, C, H, W) to maps (B, outputs, H, W) and a summary (B, summary); each level halves H and W.

    With frozen weights, as in a reward, the backward pass computes each block's activations again: they would take more
    memory than the generator's.
    """

    def __init__(self, inputs: int, outputs: int, width: int, levels: int = 3):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(Block(*sizes) for sizes in zip([inputs, *widths], widths, strict=False))
        self.up = nn.ModuleList(Block(fine + 2 * fine, fine) for fine in widths[-2::-1])
        self.head = nn.Conv2d(width, outputs, 1)
        self.summary = widths[-1]

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stride, (height, width) = 2 ** len(self.up), picture.shape[-2:]
        if height % stride or width % stride:
            remedy = f"Resize or pad it to sides divisible by {stride}."
            raise InputError("video", "size", f"is {width}x{height}", remedy)
        again = torch.is_grad_enabled() and not self.head.weight.requires_grad
        maps = [self._call(self.down[0], picture, again)]
        for block in self.down[1:]:
            maps.append(self._call(block, F.avg_pool2d(maps[-1], 2), again))
        found = coarse = maps.pop()
        for block in self.up:
            finer = F.interpolate(found, scale_factor=2, mode="bilinear", align_corners=False)
            found = self._call(block, torch.cat([finer, maps.pop()], 1), again)
        return self.head(found), coarse.amax((2, 3))

    @staticmethod
    def _call(block: Block, x: torch.Tensor, again: bool) -> torch.Tensor:
        return recompute(block, x, use_reentrant=False) if again and x.requires_grad else block(x)


def shrink(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures (..., H, W) larger than `SIDE` averaged down to it; smaller ones as they are."""
    if pictures.shape[-1] <= SIDE:
        return pictures
    return F.interpolate(pictures.flatten(0, -4), SIDE, mode="area").unflatten(0, pictures.shape[:-3])


def enlarge(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (..., h, w) at a picture's own size (H, W); as they are if they have it."""
    if maps.shape[-2:] == size:
        return maps
    found = F.interpolate(maps.flatten(0, -3)[:, None], size, mode="bilinear", align_corners=False)
    return found[:, 0].unflatten(0, maps.shape[:-2])


class MaskTracker(nn.Module):
    """Finds in every frame the object that a mask shows in frame 0, or says that it is gone.

    Each frame is compared with frame 0 alone, so an error does not travel from frame to frame. 0.2 M parameters for a
    width (channels of the finest level) of 16.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        self.net = UNet(3 + 1 + 3 + 1, 1, width)
        self.presence = nn.Linear(self.net.summary, 1)

    def forward(self, video: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tracks the object.

        Args:
            video: (B, 3, T, H, W) in [-1, 1]; sides divisible by 4.
            mask: (B, H, W), the object in frame 0, 0 or 1 (bool or float).

        Returns:
            Logits of the masks (B, T, H, W) and of the object's presence (B, T); those of frame 0 repeat `mask`.
        """
        size, start = video.shape[-2:], mask.to(video.dtype)
        video, mask = shrink(video), shrink(start[:, None])[:, 0]
        batch, _, count, height, width = video.shape
        later = video[:, :, 1:].transpose(1, 2)
        first = video[:, :, :1].transpose(1, 2).expand_as(later)
        shown = mask[:, None, None].expand(batch, count - 1, 1, height, width)
        change = (later - first).abs().mean(2, keepdim=True)
        logits, summary = self.net(torch.cat([later, first, shown, change], 2).flatten(0, 1))
        prompt = PROMPT * (2 * start[:, None] - 1)
        logits = torch.cat([prompt, enlarge(logits.view(batch, count - 1, height, width), size)], 1)
        presence = self.presence(summary).view(batch, count - 1)
        return logits, torch.cat([prompt.amax((2, 3)), presence], 1)


class FlowNet(nn.Module):
    """Where every pixel of a picture is in the next one; 0.5 M parameters for a width of 16.

    The deepest of four levels sees all of 64x64.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        self.net = UNet(3 + 3 + 1, 2, width, levels=4)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Two pictures (B, 3, H, W) in [-1, 1] to flow (B, 2, H, W), pixels (x, y); sides divisible by 8."""
        size, scale = first.shape[-2:], first.shape[-1]
        first, second = shrink(first), shrink(second)
        change = (second - first).abs().mean(1, keepdim=True)
        flow = FLOW_UNIT * self.net(torch.cat([first, second, change], 1))[0]
        return enlarge(flow, size) * (scale / first.shape[-1])


class DepthNet(nn.Module):
    """How far away every pixel is, from one picture; 0.5 M parameters for a width of 16."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.net = UNet(3, 1, width, levels=4)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to inverse depth (B, H, W), 1/m, at least 1 / `FAR`; sides divisible by 8.

        Metric, unlike Depth Anything's, because the simulator's lens is always the same.
        """
        return enlarge(F.softplus(self.net(shrink(picture))[0][:, 0]) + 1 / FAR, picture.shape[-2:])


def tracking_loss(model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Cross entropy plus soft Dice of the masks and cross entropy of presence, in all frames but the first.

    Args:
        model: a `MaskTracker`.
        batch: "video" (B, 3, T, H, W) in [-1, 1]; "masks" (B, T, H, W) bool, empty where the object is gone.
    """
    logits, presence = (result[:, 1:] for result in model(batch["video"], batch["masks"][:, 0]))
    masks = batch["masks"][:, 1:]
    target, present = masks.float(), masks.any(-1).any(-1)
    pixels = F.binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    overlap, total = (probability * target).sum((-2, -1)), (probability + target).sum((-2, -1))
    dice = (1 - (2 * overlap + 1) / (total + 1)).mean()
    seen = F.binary_cross_entropy_with_logits(presence, present.float())
    with torch.no_grad():
        found = logits > 0
        iou = (found & masks).sum((-2, -1)) / (found | masks).sum((-2, -1)).clamp(min=1)
        iou = iou.sum() / present.sum().clamp(min=1)
    return {"loss": 5 * pixels + dice + 0.2 * seen, "dice": dice.detach(), "presence": seen.detach(), "iou": iou}


def flow_loss(model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """End-point error, pixels; the dropped object counts `OBJECT_WEIGHT`-fold.

    Args:
        model: a `FlowNet`.
        batch: "first" and "second" (B, 3, H, W) in [-1, 1]; "flow" (B, 2, H, W), pixels; "masks" (B, H, W) bool, the
            dropped object in the first.
    """
    offset = model(batch["first"], batch["second"]) - batch["flow"]
    return _weighted((offset.square().sum(1) + 1e-6).sqrt(), batch["masks"])


def depth_loss(model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Absolute error of the logarithm of depth (0.1: about 10 % off); the dropped object counts `OBJECT_WEIGHT`-fold.

    Args:
        model: a `DepthNet`.
        batch: "picture" (B, 3, H, W) in [-1, 1]; "depth" (B, H, W), metres; "masks" (B, H, W) bool.
    """
    return _weighted((model(batch["picture"]) * batch["depth"]).log().abs(), batch["masks"])


def _weighted(error: torch.Tensor, masks: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weighted mean of errors (B, H, W) as "loss", the plain means over the picture and inside the masks."""
    weight = 1 + (OBJECT_WEIGHT - 1) * masks
    inside = (error * masks).sum() / masks.sum().clamp(min=1)
    loss = (weight * error).sum() / weight.sum()
    return {"loss": loss, "error": error.detach().mean(), "error_object": inside.detach()}


def erase(video: torch.Tensor, masks: torch.Tensor, gone: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes the object out of some frames, so that a tracker learns to say that it is lost.

    Its pixels are filled with what the same place shows while the object is elsewhere, on average over the clip (the
    camera is static). A frame in which less than `ERASABLE` of the object can be filled stays as it is: the object
    would still be seen.

    Args:
        video: (B, 3, T, H, W).
        masks: (B, T, H, W) bool.
        gone: (B, T) bool, the frames to empty.

    Returns:
        The changed video and masks.
    """
    free = ~F.max_pool2d(masks.float(), 3, stride=1, padding=1).bool()
    seen = free.sum(1, keepdim=True)
    plate = (video * free[:, None]).sum(2, keepdim=True) / seen.clamp(min=1)[:, None]
    filled = (masks & (seen > 0)).sum((2, 3)) >= ERASABLE * masks.sum((2, 3))
    gone = (gone & filled)[..., None, None]
    return torch.where((~free & (seen > 0) & gone)[:, None], plate, video), masks & ~gone


WIDTHS = (8, 16, 24, 32)  # channels of a net's finest level


class NetConfig(TypedDict):
    """What config.json holds, as far as reading needs it."""

    net: str
    width: Literal[WIDTHS]


def save_net(folder, model: nn.Module, width: int, training: dict, clips: list[int]):
    """Writes config.json and model.safetensors for `load_net`: the net's width, and how it was made.

    Args:
        clips: how many it learned from, true and reconstructed.
    """
    about = {"net": type(model).__name__, "width": width, "clips": clips, "training": training}
    with atomic_path(Path(folder) / "model.safetensors") as temporary:
        safetensors.torch.save_file(model.state_dict(), temporary)
    write_json(Path(folder) / "config.json", about)


def load_net(folder, name: str, kind: type[nn.Module]) -> nn.Module:
    """The net in `folder`/`name`, ready for use: its parameters take no gradients, its input does.

    Raises:
        InputError: files that are missing, damaged or of a net that is no `kind`.
    """
    config, path = Path(folder) / name / "config.json", Path(folder) / name / "model.safetensors"
    remedy = f"Make the weights with `pisa pretrain {name}`, or install the kit again."
    found = check(NetConfig, read_json(config), config, remedy=remedy)
    check(Literal[kind.__name__], found["net"], config, "net", remedy)
    with open_tensors(path, remedy) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    model = kind(width := found["width"])
    shapes, known = ({key: t.shape for key, t in each.items()} for each in (tensors, model.state_dict()))
    if shapes != known or not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise InputError(path, "weights", f"do not fit a {kind.__name__} of width {width}, or are not finite", remedy)
    model.load_state_dict(tensors)
    return model.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # twice as fast on CPUs
