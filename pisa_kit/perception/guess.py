"""The best guess: what one picture tells of the fall to come, without any video model.

A small net reads the first frame and the object's mask and says where its centre will be. It learns from PSFT's drops
alone, so its error is about what the picture leaves unknown: distance, size and bounciness are not in it.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from pisa_kit.clips.clip import Clip
from pisa_kit.core.storage import WEIGHTS
from pisa_kit.perception.nets import Block, load_net, shrink
from pisa_kit.perception.tensors import to_video


class GuessNet(nn.Module):
    """First frame and mask to the path of the mask's centre, at the times of the frames."""

    def __init__(self, width: int = 16, frames: int = 17):
        super().__init__()
        widths = [6, width, 2 * width, 4 * width, 4 * width]
        blocks = [Block(*sizes) for sizes in zip(widths, widths[1:], strict=False)]
        self.net = nn.Sequential(*(layer for block in blocks for layer in (block, nn.AvgPool2d(2))))
        self.head = nn.Sequential(nn.Linear(16 * widths[-1] + 3, 256), nn.SiLU(), nn.Linear(256, 2 * (frames - 1)))

    def forward(self, picture: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Where the object's centre goes from where it is.

        Args:
            picture: (B, 3, H, W) in [-1, 1].
            mask: (B, H, W), the object, 0 or 1.

        Returns:
            (B, frames, 2): right and down, image widths; 0 in frame 0.
        """
        picture, mask = shrink(picture), shrink(mask[:, None].to(picture))
        place = torch.linspace(-1, 1, picture.shape[-1], device=picture.device)
        x, y = place.expand_as(mask), place[:, None].expand_as(mask)
        area = mask.sum((1, 2, 3)).clamp(min=1)
        centre = [(each * mask).sum((1, 2, 3)) / area for each in (x, y)]
        found = self.net(torch.cat([picture, mask, x, y], 1)).flatten(1)
        path = self.head(torch.cat([found, torch.stack([*centre, area.log() / 5], 1)], 1)).unflatten(1, (-1, 2))
        return torch.cat([torch.zeros_like(path[:, :1]), path], 1)


def load_guess(folder=WEIGHTS) -> GuessNet:
    """The guess that ships, for the default videos; raises InputError for weights that are missing or damaged."""
    return load_net(folder, "guess", GuessNet)


@torch.no_grad()
def paste_along_guess(model: GuessNet, truth: Clip, plate: np.ndarray, falling: list[int]) -> np.ndarray:
    """Frames (T, H, W, 3) uint8: objects cut out of the first frame and pasted along their guessed paths.

    Args:
        truth: a simulated clip, of which the first frame and its masks are seen.
        plate: (H, W, 3) uint8, the same picture without these objects.
        falling: their indices in `truth.masks`.
    """
    frames = np.tile(plate, (len(truth), 1, 1, 1))
    picture = to_video(truth.frames[None, :1])[:, :, 0]
    for index in falling:
        mask = truth.masks[0, index]
        path = model(picture, torch.from_numpy(mask)[None])[0].numpy() * mask.shape[1]
        cut = np.dstack([truth.frames[0] * mask[..., None], mask]).astype(float)
        for frame, (right, down) in zip(frames, path, strict=True):
            moved = ndimage.shift(cut, (down, right, 0), order=1)
            frame[:] = (frame * (1 - moved[..., 3:]) + moved[..., :3]).round()
    frames[0] = truth.frames[0]
    return frames
