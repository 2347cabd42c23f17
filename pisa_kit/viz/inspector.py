"""What the trajectory inspector shows of one true and one predicted clip, frame by frame."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from pisa_kit.clips.clip import Clip
from pisa_kit.metrics.fall_time import track
from pisa_kit.metrics.l2_chamfer_iou import nearest_frames, per_frame
from pisa_kit.viz.figures import _picture, colour


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


def inspector(view: Inspection, frame: int) -> Figure:
    """The trajectory inspector's picture for one moment.

    Args:
        view: from `inspection.inspect_pair`.
        frame: index into its compared frames.
    """
    figure = plt.figure(figsize=(11.5, 4.3))
    grid = figure.add_gridspec(2, 4, width_ratios=[1.35, 1.35, 1, 1])
    tone = colour(view.method)
    for column, (title, frames) in enumerate({"truth": view.true_frames, view.method: view.frames}.items()):
        axis = figure.add_subplot(grid[:, column])
        _picture(axis, frames[frame])
        _outline(axis, view.true_masks[frame], "black", "white")
        _outline(axis, view.masks[frame], tone, None)
        axis.plot(*view.true_track[: frame + 1].T - 0.5, ".-", color="black", markersize=4, linewidth=0.8)
        axis.plot(*view.track[: frame + 1].T - 0.5, ".-", color=tone, markersize=4, linewidth=0.8)
        axis.set_title(title, color=colour(title))
    curves = {
        "y [px]": (view.true_track[:, 1], view.track[:, 1]),
        "x [px]": (view.true_track[:, 0], view.track[:, 0]),
        "speed [px/s]": (view.true_speed, view.speed),
    }
    places = (grid[0, 2], grid[0, 3], grid[1, 2])
    for place, (label, (true, predicted)) in zip(places, curves.items(), strict=True):
        axis = figure.add_subplot(place)
        axis.plot(view.time, true, color="black", linewidth=1.2)
        axis.plot(view.time, predicted, color=tone, linewidth=1.2)
        axis.set_title(label, loc="left")
        if label.startswith("x"):  # a still coordinate should look still
            low, high = axis.get_ylim()
            axis.set_ylim(min(low, (low + high) / 2 - 5), max(high, (low + high) / 2 + 5))
        if label.startswith("y"):
            axis.invert_yaxis()
        _now(axis, view.time[frame])
    axis = figure.add_subplot(grid[1, 3])
    axis.plot(view.time, view.scores["fixed_l2"], color="#d55e00", label="fixed L2 [widths]")
    axis.plot(view.time, view.scores["iou"], color="#0072b2", linestyle="--", label="IoU")
    axis.set_title("metric per frame", loc="left")
    axis.set_ylim(-0.05, 1.05)
    axis.legend(frameon=False, fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, -0.62), ncols=2)
    _now(axis, view.time[frame])
    lost = "" if view.masks[frame].any() else "   OBJECT LOST"
    figure.suptitle(f"{view.name}   t = {view.time[frame]:.3f} s{lost}")
    figure.supxlabel("Time [s]; black: truth", fontsize=8, x=0.75)
    return figure


def _now(axis, time: float):
    axis.axvline(time, color="0.6", linewidth=0.8, linestyle=":")
    axis.tick_params(labelsize=7)


def _outline(axis, mask: np.ndarray, tone: str, halo: str | None):
    if mask.any():
        if halo:
            axis.contour(mask, levels=[0.5], colors=halo, linewidths=2.2)
        axis.contour(mask, levels=[0.5], colors=tone, linewidths=1.1)
