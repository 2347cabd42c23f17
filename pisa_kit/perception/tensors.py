"""Frames as tensors, and as pre-trained nets want them: their own processors round to uint8 and end the gradient."""

import numpy as np
import torch
import torch.nn.functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def for_imagenet(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] to (B, 3, side, side), normalised with ImageNet's mean and standard deviation."""
    mean, std = (pictures.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return (F.interpolate((pictures + 1) / 2, (side, side), mode="bilinear", antialias=True) - mean) / std


def to_video(frames: np.ndarray) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 to (B, 3, T, H, W) float in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_frames(video: torch.Tensor) -> np.ndarray:
    """(B, 3, T, H, W), about [-1, 1], to (B, T, H, W, 3) uint8."""
    return ((video + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()
