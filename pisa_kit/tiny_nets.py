"""The perception nets that ship with the kit: a U-Net and what it is used for. Differentiable from the pixels on."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Sequential):
    """Two 3x3 convolutions, each with group norm and SiLU."""

    def __init__(self, inputs: int, outputs: int):
        layers = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """Pictures (B, C, H, W) to maps (B, outputs, H, W) and a summary (B, 4 width); H and W divisible by 4."""

    def __init__(self, inputs: int, outputs: int, width: int):
        super().__init__()
        self.down = nn.ModuleList([Block(inputs, width), Block(width, 2 * width), Block(2 * width, 4 * width)])
        self.up = nn.ModuleList([Block(6 * width, 2 * width), Block(3 * width, width)])
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.down[0](picture)
        middle = self.down[1](F.avg_pool2d(fine, 2))
        coarse = self.down[2](F.avg_pool2d(middle, 2))
        middle = self.up[0](torch.cat([_twice(coarse), middle], 1))
        fine = self.up[1](torch.cat([_twice(middle), fine], 1))
        return self.head(fine), coarse.amax((2, 3))


def _twice(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class MaskTracker(nn.Module):
    """Finds in every frame the object that a mask shows in frame 0, or says that it is gone.

    Each frame is compared with frame 0 alone, so an error does not travel from frame to frame.

    Args:
        width: channels of the finest level; 16 makes 0.2 M parameters.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        self.net = UNet(3 + 1 + 3 + 1, 1, width)
        self.presence = nn.Linear(4 * width, 1)

    def forward(self, video: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tracks the object.

        Args:
            video: (B, 3, T, H, W) in [-1, 1].
            mask: (B, H, W), the object in frame 0, 0 or 1 (bool or float).

        Returns:
            Logits of the masks (B, T, H, W) and of the object's presence (B, T).
        """
        batch, _, count, height, width = video.shape
        frames = video.transpose(1, 2)
        first = frames[:, :1].expand_as(frames)
        shown = mask.to(video.dtype)[:, None, None].expand(batch, count, 1, height, width)
        change = (frames - first).abs().mean(2, keepdim=True)
        logits, summary = self.net(torch.cat([frames, first, shown, change], 2).flatten(0, 1))
        return logits.view(batch, count, height, width), self.presence(summary).view(batch, count)


def tracking_loss(model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Cross entropy plus soft Dice of the masks and cross entropy of presence.

    Args:
        model: a `MaskTracker`.
        batch: "video" (B, 3, T, H, W) in [-1, 1]; "masks" (B, T, H, W) bool, empty where the object is gone.
    """
    masks = batch["masks"]
    logits, presence = model(batch["video"], masks[:, 0])
    target, present = masks.float(), masks.any(-1).any(-1)
    pixels = F.binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    overlap, total = (probability * target).sum((-2, -1)), (probability + target).sum((-2, -1))
    dice = (1 - (2 * overlap + 1) / (total + 1)).mean()
    seen = F.binary_cross_entropy_with_logits(presence, present.float())
    with torch.no_grad():
        found = logits > 0
        iou = ((found & masks).sum((-2, -1)) / (found | masks).sum((-2, -1)).clamp(min=1))[present].mean()
    return {"loss": 5 * pixels + dice + 0.2 * seen, "dice": dice.detach(), "presence": seen.detach(), "iou": iou}


def erase(video: torch.Tensor, masks: torch.Tensor, gone: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes the object out of some frames, so that a tracker learns to say that it is lost.

    Its pixels are filled with what the same place shows while the object is elsewhere, on average over the clip (the
    camera is static); where that is never seen the pixel stays.

    Args:
        video: (B, 3, T, H, W).
        masks: (B, T, H, W) bool.
        gone: (B, T) bool, the frames to empty.

    Returns:
        The changed video and masks.
    """
    free = ~F.max_pool2d(masks.float(), 3, stride=1, padding=1).bool()[:, None]
    seen = free.sum(2, keepdim=True)
    plate = (video * free).sum(2, keepdim=True) / seen.clamp(min=1)
    fill = ~free & (seen > 0) & gone[:, None, :, None, None]
    return torch.where(fill, plate, video), masks & ~gone[..., None, None]
