"""Labels for what goes wrong in a video: still, too slow, vanished, duplicated (after Morpheus, arXiv 2504.02918).

They need the truth's masks and no camera, so that they hold for real clips too. Thresholds are ours; tests state what
they say of reference predictors.
"""

import numpy as np
from scipy import ndimage

from pisa_kit.clips.clip import Clip
from pisa_kit.metrics.appearance import MARGIN
from pisa_kit.metrics.fall_time import landing_frame, track
from pisa_kit.metrics.l2_chamfer_iou import nearest_frames

STILL, SLOW = 0.1, 0.5  # of the truth's way; before contact the ratio of ways is that of accelerations
VANISHED = 0.25  # share of the true object's frames without the object
AGAIN = 0.25  # share of the video's frames with the object in which there is another one
SIZE, ALIKE, UNLIKE = 0.4, 0.12, 0.15  # a second object: area over the first one's, colours as of [0, 1]


def pace(truth: Clip, video: Clip) -> float:
    """How far the object has moved, over how far the true one has, by least squares until the true one lands.

    1 at best; NaN with fewer than three frames that show both, or a true object that does not move.
    """
    pairs = _pairs(truth, video)
    real, made = track(truth.dropped)[pairs[:, 0]], track(video.dropped)[pairs[:, 1]]
    y = real[:, 1]
    if not (np.isfinite(y[0]) and np.isfinite(made[0, 1])):
        return float("nan")
    end = landing_frame(y) or np.nanargmax(y) + 1
    real, made = (each[:end] - each[0] for each in (real, made))
    both = np.isfinite(real[:, 0]) & np.isfinite(made[:, 0])
    way = np.square(real[both]).sum()
    return float((real[both] * made[both]).sum() / way) if both.sum() >= 3 and way > 1 else float("nan")


def vanished(truth: Clip, video: Clip) -> float:
    """1 if the object is missing in more than `VANISHED` of the frames that truly show it; none is left at its end."""
    real, made = nearest_frames(len(truth), truth.fps, len(video), video.fps).T
    shown = truth.dropped[real].any((1, 2))
    there = video.dropped.any((1, 2))[made] & (made >= 0)
    return float((~there[shown]).mean() > VANISHED) if shown.any() else float("nan")


def duplicated(truth: Clip, video: Clip) -> float:
    """1 if the object is there twice in more than `AGAIN` of the frames that show it.

    Twice: the tracked mask has two large parts, or away from it and from all true objects there is a large patch of its
    colour that the truth does not have.
    """
    first = video.dropped[0]
    if not first.any():
        return float("nan")
    colour, least = video.frames[0][first].mean(0) / 255, SIZE * first.sum()
    found = []
    for real, made in _pairs(truth, video):
        mask, frame = video.dropped[made], video.frames[made] / 255
        if mask.any():
            known = ndimage.binary_dilation(truth.masks[real].any(0) | mask, iterations=MARGIN)
            differs = (np.abs(frame - truth.frames[real] / 255).mean(-1) > ALIKE) & ~known
            others = [
                patch for patch in _parts(differs, least) if np.abs(frame[patch].mean(0) - colour).mean() < UNLIKE
            ]
            found.append(len(_parts(mask, least)) > 1 or len(others) > 0)
    return float(np.mean(found) > AGAIN)


def _parts(mask: np.ndarray, least: float) -> list[np.ndarray]:
    """The connected parts of a mask (H, W) that have at least so many pixels."""
    labels, _ = ndimage.label(mask)
    return [labels == 1 + index for index in np.flatnonzero(np.bincount(labels.ravel())[1:] >= least)]


def _pairs(truth: Clip, video: Clip) -> np.ndarray:
    """(K, 2) frame numbers (truth, video) nearest in time, where the video has not ended."""
    pairs = nearest_frames(len(truth), truth.fps, len(video), video.fps)
    return pairs[pairs[:, 1] >= 0]


def _share(low: float, high: float):
    def label(truth: Clip, video: Clip) -> float:
        found = pace(truth, video)
        return float(low <= found < high) if np.isfinite(found) else found

    return label


LABELS = {  # 1, 0, or NaN where it cannot be said
    "still": _share(-np.inf, STILL),
    "too_slow": _share(STILL, SLOW),
    "vanished": vanished,
    "duplicated": duplicated,
}
