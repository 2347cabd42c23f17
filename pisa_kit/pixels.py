"""Pixels as pre-trained networks want them, as tensors: their own processors round to uint8 and end the gradient."""

import torch
import torch.nn.functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def for_imagenet(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] to (B, 3, side, side), normalised with ImageNet's mean and standard deviation."""
    mean, std = (pictures.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return (F.interpolate((pictures + 1) / 2, (side, side), mode="bilinear", antialias=True) - mean) / std
