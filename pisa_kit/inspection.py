"""What the trajectory inspector shows of one true and one predicted clip, frame by frame."""

from dataclasses import dataclass

import numpy as np

from pisa_kit.clips import Clip
from pisa_kit.kinematics import track
from pisa_kit.metrics import nearest_frames, per_frame


@dataclass(frozen=True)
class Inspection:
    """K moments at which both clips show something, paired by time as the `fixed` metrics do.

    Args:
        name, method: what is compared.
        time: (K,) seconds.
        true_frames, frames: (K, H, W, 3) uint8.
        true_masks, masks: (K, H, W) bool, the dropped object.
        true_track, track: (K, 2) centroids, pixels, NaN where lost.
        true_speed, speed: (K,) pixels per second.
        scores: per-frame metrics, see `metrics.per_frame`.
    """

    name: str
    method: str
    time: np.ndarray
    true_frames: np.ndarray
    frames: np.ndarray
    true_masks: np.ndarray
    masks: np.ndarray
    true_track: np.ndarray
    track: np.ndarray
    true_speed: np.ndarray
    speed: np.ndarray
    scores: dict[str, np.ndarray]


def inspect_pair(truth: Clip, prediction: Clip, method: str = "prediction") -> Inspection:
    """Pairs the frames of two clips with masks.

    Raises:
        InputError: a clip without masks, or masks that cannot be compared.
    """
    names = (f"truth {truth.name}", f"{method} {prediction.name}")
    scores = per_frame(truth.dropped, truth.fps, prediction.dropped, prediction.fps, names)
    pairs = nearest_frames(len(truth), truth.fps, len(prediction), prediction.fps)[scores["compared"]]
    scores = {name: values[scores["compared"]] for name, values in scores.items()}
    time, (true_index, index) = scores["time"], pairs.T
    true_masks, masks = truth.dropped[true_index], prediction.dropped[index]
    true_track, predicted_track = track(true_masks), track(masks)
    return Inspection(
        name=truth.caption or truth.name,
        method=method,
        time=time,
        true_frames=truth.frames[true_index],
        frames=prediction.frames[index],
        true_masks=true_masks,
        masks=masks,
        true_track=true_track,
        track=predicted_track,
        true_speed=_speed(true_track, time),
        speed=_speed(predicted_track, time),
        scores=scores,
    )


def _speed(points: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Pixels per second between neighbouring frames, (K,); the first frame repeats the second's value."""
    if len(time) < 2:
        return np.zeros(len(time))
    speed = np.hypot(*np.diff(points, axis=0).T) / np.diff(time)
    return np.r_[speed[:1], speed]
