"""Videos in, one row of numbers per video out: where the object is, how it falls, how it looks."""

from dataclasses import dataclass, replace

import numpy as np

from pisa_kit.clips.clip import Clip
from pisa_kit.metrics import gravity
from pisa_kit.metrics.appearance import background_psnr, object_colour_error
from pisa_kit.metrics.failures import LABELS
from pisa_kit.metrics.fall_time import track
from pisa_kit.metrics.l2_chamfer_iou import fixed
from pisa_kit.metrics.scoring import Report, clip_row
from pisa_kit.perception.trackers import track_clips
from pisa_kit.sim.motion import WAYS
from pisa_kit.sim.scenes import Scene

APPEARANCE = ("object_colour_error", "background_psnr")
TRACKER = "judge"


@dataclass(frozen=True)
class Evaluation(Report):
    """What a judge says about some videos; `table` has a row per scored video.

    Its columns: `name`, `scoring.METRICS`, `gravity.describe`, `MEASURES`, of simulated clips "distance", "height" and
    "size" (metres).

    Args:
        videos: with tracked masks, in the order given; none of the object where it could not be tracked.
    """

    videos: list[Clip]


def evaluate_videos(truths: list[Clip], videos: list[Clip], workers: int = 2, tracker=TRACKER) -> Evaluation:
    """Tracks the dropped object in every video, from the true mask of frame 0, and measures it.

    Args:
        truths: simulated clips.
        videos: videos of the same scenes in the same order; only their frames count.
        workers: processes.
        tracker: see `trackers.track_clips`.
    """
    shown = [index for index, truth in enumerate(truths) if truth.dropped[0].any()]
    tracked = track_clips([videos[index] for index in shown], [truths[index] for index in shown], workers, tracker)
    videos = [replace(video, masks=np.zeros((len(video), 1, *video.frames.shape[1:3]), bool)) for video in videos]
    for index, video in zip(shown, tracked, strict=True):
        videos[index] = video
    return Evaluation.from_rows([_row(*pair) for pair in zip(truths, videos, strict=True)], videos)


def _row(truth: Clip, video: Clip) -> dict:
    """Every number of one video, or "name" and "error"."""
    if not truth.dropped[0].any():
        return {"name": truth.name, "error": "frame 0 of the true clip does not show the dropped object"}
    row = clip_row(truth, video)
    if "error" in row:
        return row
    row |= gravity.describe(video.dropped, video.fps, truth)
    row |= {name: measure(truth, video) for name, measure in MEASURES.items()}
    if "scene" in truth.info:
        scene = Scene.from_dict(truth.info["scene"], truth.name)
        row |= {"distance": scene.distance, "height": scene.height, "size": scene.dropped.size}
    return row


def before_contact(truth: Clip, video: Clip) -> float:
    """The fixed L2 up to the true object's first contact, of the whole clip without one; NaN if it is not known."""
    if truth.contacts is None:
        return float("nan")
    end = max(int(truth.contacts[0] * truth.fps) + 1, 2) if len(truth.contacts) else len(truth)
    made = video.dropped[: int(end * video.fps / truth.fps + 1e-9)]
    return fixed(truth.dropped[:end], truth.fps, made, video.fps)["fixed_l2"]


MEASURES = {  # further numbers of a video with masks, beside its truth: a new metric is an entry here
    "fall_l2": before_contact,
    "object_colour_error": lambda truth, video: object_colour_error(video.frames, video.dropped),
    "background_psnr": lambda truth, video: background_psnr(truth, video.frames, video.dropped),
} | LABELS
STILL = 3 / 64  # image widths by which an object that stays may move


def moves_as_said(said: str, masks: np.ndarray) -> bool | None:
    """Does the object move the way a caption of generic motion says, to within 45 degrees?

    Args:
        said: verb and, if there is one, the way: "darts up left", see `motion.KINDS` and `motion.WAYS`.
        masks: (T, H, W) bool; first and last sight are compared.

    Returns:
        None if the object is seen fewer than two times.
    """
    seen = track(masks)
    seen = seen[np.isfinite(seen[:, 0])]
    if len(seen) < 2:
        return None
    right, down = (seen[-1] - seen[0]) / masks.shape[2]
    far = np.hypot(right, down)
    verb, _, way = said.partition(" ")
    way = {"falls": "down", "rises": "up", "turns": ""}.get(verb, way)
    if not way:
        return bool(far <= STILL)
    ahead = np.array(WAYS[way]) / np.linalg.norm(WAYS[way])
    return bool(far > STILL and ahead @ (right, -down) > far * np.cos(np.radians(45)))
