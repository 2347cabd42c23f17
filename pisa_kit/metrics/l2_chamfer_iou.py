"""How far a predicted object is from the true one: L2, Chamfer distance and IoU, as released and as corrected.

`compare` measures pairs of frames and holds no opinion. `official` and `fixed` differ in which frames they pair
and in what they make of a frame whose object is missing (PISA, released evaluation).
Pixel (column x, row y) has the coordinates (x, y), as in the released code: no half-pixel shift.
"""

from dataclasses import dataclass, fields

import numpy as np

from pisa_kit.clips.clip import check_fps
from pisa_kit.core.errors import InputError
from pisa_kit.metrics.distances import distance_sums

# What `fixed` charges for a frame in which exactly one of the two masks is empty.
VANISHED_L2 = 1.0  # image widths
VANISHED_CHAMFER = 2.0  # image widths: one for each direction
VANISHED_IOU = 0.0
FRAMES_AT_ONCE = 16  # windows that are measured together: few enough to stay in the processor's cache
TIME_TOLERANCE = 1e-9  # frames; absorbs rounding in index * fps / fps


@dataclass(frozen=True)
class Comparison:
    """What is seen in K pairs of frames.

    Args:
        offset: (K, 2) float, predicted minus true centroid (x, y), pixels; NaN unless both masks have pixels.
        chamfer: (K,) float, mean nearest-pixel distance truth -> prediction plus back, pixels; NaN likewise.
        iou: (K,) float in [0, 1]; 1 where both masks are empty.
        truth_seen: (K,) bool, the true mask has pixels.
        prediction_seen: (K,) bool, the predicted mask has pixels.
    """

    offset: np.ndarray
    chamfer: np.ndarray
    iou: np.ndarray
    truth_seen: np.ndarray
    prediction_seen: np.ndarray

    def __getitem__(self, indices) -> "Comparison":
        return Comparison(*(getattr(self, field.name)[indices] for field in fields(self)))

    @property
    def both_seen(self) -> np.ndarray:
        """(K,) bool: both masks have pixels."""
        return self.truth_seen & self.prediction_seen


def centroids(masks: np.ndarray) -> np.ndarray:
    """Mean pixel coordinates of masks (T, H, W) bool as (T, 2) float, (x, y) in pixels; NaN where a mask is empty."""
    columns, rows = masks.sum(1, dtype=np.int32), masks.sum(2, dtype=np.int32)
    weighted = np.stack([columns @ np.arange(columns.shape[1]), rows @ np.arange(rows.shape[1])], 1)
    area = columns.sum(1)[:, None]
    return np.divide(weighted, area, out=np.full(weighted.shape, np.nan), where=area > 0)


# --- which frames are compared ---------------------------------------------------------------------------------


def official_frames(truth_count: int, truth_fps: float, prediction_count: int, prediction_fps: float) -> np.ndarray:
    """(K, 2) frame numbers (truth, prediction): predicted frame i meets `int(i * truth_fps / prediction_fps)`.

    As released (PISA, released evaluation): truncated, not rounded, and cut where either sequence ends.
    """
    indices = [int(index * truth_fps / prediction_fps) for index in range(prediction_count)]
    return np.array([(index, i) for i, index in enumerate(indices) if index < truth_count])


def frames_due(truth_count: int, truth_fps: float, prediction_count: int, fps: float) -> int:
    """How many frames at `fps` a prediction owes to a truth that lasts `truth_count / truth_fps` seconds.

    A last frame that the truth does not outlast is due only if the prediction has it.
    """
    duration = truth_count * fps / truth_fps
    return int(np.clip(prediction_count, np.floor(duration + TIME_TOLERANCE), np.ceil(duration - TIME_TOLERANCE)))


def nearest_frames(truth_count: int, truth_fps: float, prediction_count: int, prediction_fps: float) -> np.ndarray:
    """(K, 2) frame numbers (truth, prediction) nearest in time, at the times of the slower sequence.

    The truth's duration sets K; the prediction's number is -1 where it has ended.
    """
    slower = min(truth_fps, prediction_fps)
    times = np.arange(frames_due(truth_count, truth_fps, prediction_count, slower)) / slower
    pairs = []
    for fps, count in ((truth_fps, truth_count), (prediction_fps, prediction_count)):
        nearest = np.floor(times * fps + 0.5 + TIME_TOLERANCE).astype(int)
        shown = times * fps < count - TIME_TOLERANCE
        pairs.append(np.where(shown, np.minimum(nearest, count - 1), -1))
    return np.stack(pairs, 1)


# --- what is measured in a pair of frames ----------------------------------------------------------------------


def compare(truth: np.ndarray, prediction: np.ndarray, pairs: np.ndarray) -> Comparison:
    """Measures pairs of frames.

    Only the smallest window that holds both objects is looked at, and only pixels of one object
    that lie outside the other are searched for a nearest pixel: all others are at distance 0.

    Args:
        truth: (T, H, W) bool.
        prediction: (P, H, W) bool.
        pairs: (K, 2) int, frame numbers (truth, prediction); -1 stands for an empty frame.
    """
    boxes = np.stack([_boxes(masks, frames) for masks, frames in zip((truth, prediction), pairs.T, strict=True)])
    seen = boxes[..., 1] > 0
    result = Comparison(
        offset=np.full((len(pairs), 2), np.nan),
        chamfer=np.full(len(pairs), np.nan),
        iou=np.where(seen.any(0), VANISHED_IOU, 1.0),
        truth_seen=seen[0],
        prediction_seen=seen[1],
    )
    measurable = np.flatnonzero(result.both_seen)
    lows, highs = boxes[..., ::2].min(0), boxes[..., 1::2].max(0)
    for start in range(0, len(measurable), FRAMES_AT_ONCE):
        group = measurable[start : start + FRAMES_AT_ONCE]
        size = (highs[group] - lows[group]).max(0)
        corners = np.minimum(lows[group], np.array(truth.shape[1:]) - size)
        windows = _windows((truth, prediction), pairs[group], corners, size)
        result.offset[group], result.chamfer[group], result.iou[group] = _measure(windows)
    return result


def _boxes(masks: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(K, 4) int: first row, end row, first column, end column of the object in each frame; 0 where there is none."""
    chosen = masks if np.array_equal(frames, np.arange(len(masks))) else masks[frames]
    rows, columns = chosen.any(2), chosen.any(1)
    ends = [(filled.argmax(1), filled.shape[1] - filled[:, ::-1].argmax(1)) for filled in (rows, columns)]
    return np.concatenate(ends).T * (rows.any(1) & (frames >= 0))[:, None]


def _windows(clips: tuple, pairs: np.ndarray, corners: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(2, K, height, width) bool: the part of each pair of frames that starts at its corner (row, column)."""
    windows = np.empty((2, len(pairs), *size), bool)
    for k, (row, column) in enumerate(corners):
        for side, masks in enumerate(clips):
            windows[side, k] = masks[pairs[k, side], row : row + size[0], column : column + size[1]]
    return windows


def _measure(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset (K, 2) px, Chamfer distance (K,) px and IoU (K,) of windows (2, K, height, width) that all have pixels."""
    frames, other = (array.reshape(-1, *windows.shape[2:]) for array in (windows, windows[::-1]))
    outside = frames & ~other
    area, outside_area = (np.array([np.count_nonzero(mask) for mask in masks]) for masks in (frames, outside))
    chamfer = (distance_sums(other, outside) / area).reshape(2, -1).sum(0)
    area, outside_area = area.reshape(2, -1), outside_area.reshape(2, -1)
    true_centroids, predicted_centroids = centroids(frames).reshape(2, -1, 2)
    iou = (area - outside_area)[0] / (area[0] + outside_area[1])
    return predicted_centroids - true_centroids, chamfer, iou


# --- what the numbers of a clip are ----------------------------------------------------------------------------


def official(truth, truth_fps, prediction, prediction_fps, names=("truth", "prediction")) -> dict[str, float]:
    """`l2`, `chamfer_distance`, `iou` exactly as the released code gives them, quirks included (PISA evaluation).

    `l2` is a mean absolute coordinate error; frames with an empty mask drop out of it and of the Chamfer distance
    (NaN if none is left); a short prediction is scored on its own length.

    Args:
        truth: (T, H, W) bool, the dropped object; H = W.
        truth_fps: frames per second.
        prediction: (P, H, W) bool.
        prediction_fps: frames per second.
        names: what error messages call the two.

    Raises:
        InputError: masks that are not bool, empty, not square or of different sizes, or a bad frame rate.
    """
    return both_scores(truth, truth_fps, prediction, prediction_fps, names)[0]


def per_frame(truth, truth_fps, prediction, prediction_fps, names=("truth", "prediction")) -> dict[str, np.ndarray]:
    """The frames that `fixed` averages; arguments and errors as in `official`.

    Returns:
        Arrays (K,): `time` s; `fixed_l2` and `chamfer` in image widths, `iou` in [0, 1], where one missing object
        costs `VANISHED_...` and two are agreement (0, 0, 1); `truth_seen`, `prediction_seen` bool;
        `compared` bool, False where the prediction has ended, which counts as a missing object.
    """
    check_pair(truth, truth_fps, prediction, prediction_fps, names)
    pairs = nearest_frames(len(truth), truth_fps, len(prediction), prediction_fps)
    times = np.arange(len(pairs)) / min(truth_fps, prediction_fps)
    return {"time": times} | _frame_scores(compare(truth, prediction, pairs), pairs, truth.shape[2])


def _frame_scores(comparison: Comparison, pairs: np.ndarray, width: int) -> dict[str, np.ndarray]:
    both = comparison.both_seen
    one = comparison.truth_seen != comparison.prediction_seen
    return {
        "fixed_l2": np.where(both, np.hypot(*comparison.offset.T) / width, one * VANISHED_L2),
        "chamfer": np.where(both, comparison.chamfer / width, one * VANISHED_CHAMFER),
        "iou": comparison.iou,
        "truth_seen": comparison.truth_seen,
        "prediction_seen": comparison.prediction_seen,
        "compared": pairs[:, 1] >= 0,
    }


def fixed(truth, truth_fps, prediction, prediction_fps, names=("truth", "prediction")) -> dict[str, float]:
    """The corrected metrics; arguments and errors as in `official`, frames as in `per_frame`.

    Returns:
        `fixed_l2`: mean Euclidean centroid distance, image widths.
        `chamfer`: mean nearest-pixel distance truth -> prediction plus back, image widths.
        `iou`: mean over frames.
        `coverage`: share of the true object's frames in which the prediction has it too (NaN: it has none).
        `visibility`: share of the frames that the prediction should have, and does have, with the object in them.
        `frames_compared`, `frames_expected`: counts; fewer compared than expected means a short prediction.
    """
    return both_scores(truth, truth_fps, prediction, prediction_fps, names)[1]


def both_scores(truth, truth_fps, prediction, prediction_fps, names=("truth", "prediction")) -> tuple[dict, dict]:
    """`(official(...), fixed(...))`; a pair of frames that both need is measured once."""
    check_pair(truth, truth_fps, prediction, prediction_fps, names)
    counts = (len(truth), truth_fps, len(prediction), prediction_fps)
    released, nearest = official_frames(*counts), nearest_frames(*counts)
    pairs, where = np.unique(np.concatenate([released, nearest]), axis=0, return_inverse=True)
    comparison, where = compare(truth, prediction, pairs), where.reshape(-1)
    shown, scale = comparison[where[: len(released)]], np.sqrt(2) * truth.shape[2]
    together = shown[shown.both_seen]
    official = {
        "l2": float(np.abs(together.offset).mean() / scale) if len(together.iou) else np.nan,
        "chamfer_distance": float(together.chamfer.mean() / scale) if len(together.iou) else np.nan,
        "iou": float(shown.iou.mean()),
    }
    scores = _frame_scores(comparison[where[len(released) :]], nearest, truth.shape[2])
    due = frames_due(len(truth), truth_fps, len(prediction), prediction_fps)
    truth_seen = scores["truth_seen"]
    return official, {name: float(scores[name].mean()) for name in ("fixed_l2", "chamfer", "iou")} | {
        "coverage": float(scores["prediction_seen"][truth_seen].mean()) if truth_seen.any() else np.nan,
        "visibility": float(prediction[:due].any((1, 2)).sum() / due),
        "frames_compared": int(scores["compared"].sum()),
        "frames_expected": len(nearest),
    }


def check_pair(truth, truth_fps, prediction, prediction_fps, names=("truth", "prediction")) -> None:
    """Raises InputError unless the two can be compared; arguments as in `official`."""
    for masks, fps, name in zip((truth, prediction), (truth_fps, prediction_fps), names, strict=True):
        check_fps(fps, name)
        if masks.dtype != bool or masks.ndim != 3 or 0 in masks.shape:
            problem = f"has shape {masks.shape} and dtype {masks.dtype}"
            raise InputError(name, "mask", problem, "Give (frames, height, width) bool with at least one frame.")
        height, width = masks.shape[1:]
        if height != width:
            remedy = "Resize it with nearest neighbour to a square: the benchmark is scored at 1:1."
            raise InputError(name, "mask", f"is {width} x {height} px, not square", remedy)
    if truth.shape[1:] != prediction.shape[1:]:
        problem = f"is {prediction.shape[2]} px wide, the truth {truth.shape[2]} px"
        raise InputError(names[1], "mask", problem, "Resize one of them with nearest neighbour.")
