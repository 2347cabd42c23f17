"""What the masks do not see: does the object keep its colours, does the background stay? (PISA, open ends)."""

import numpy as np
from scipy import ndimage

from pisa_kit.clips.clip import Clip

MARGIN = 3  # pixels around every mask that count as neither object nor background


def object_colour_error(frames: np.ndarray, masks: np.ndarray) -> float:
    """How far the object's mean colour moves from what it was in frame 0.

    Args:
        frames: (T, H, W, 3) uint8.
        masks: (T, H, W) bool, the object; its first frame is the reference.

    Returns:
        Mean over later frames of the mean absolute difference of the channels, in [0, 1]; NaN without such a frame.
    """
    colours = [frame[mask].mean(0) / 255 for frame, mask in zip(frames, masks, strict=True) if mask.any()]
    if len(colours) < 2 or not masks[0].any():
        return float("nan")
    return float(np.abs(np.array(colours[1:]) - colours[0]).mean())


def background_psnr(truth: Clip, frames: np.ndarray, masks: np.ndarray) -> float:
    """Peak signal-to-noise ratio of the background in dB against the true video.

    Background is floor and wall: pixels within `MARGIN` of a true object or of the predicted one are left out of their
    frame; shadows are not.

    Args:
        truth: simulated clip of the same size, with masks.
        frames: (T, H, W, 3) uint8.
        masks: (T, H, W) bool, the predicted object.
    """
    count = min(len(truth), len(frames))
    objects = truth.masks[:count].any(1) | masks[:count]
    disc = ndimage.generate_binary_structure(2, 1)
    outside = ~ndimage.binary_dilation(objects, disc[None], iterations=MARGIN)
    error = (frames[:count].astype(np.float32) - truth.frames[:count])[outside]
    return float(10 * np.log10(255**2 / max(np.square(error).mean(), 1e-6)))
