"""Videos in, one row of numbers per video out: where the object is, how it falls, how it looks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pisa_kit import kinematics
from pisa_kit.appearance import background_psnr, object_colour_error
from pisa_kit.clips import Clip
from pisa_kit.evaluate import evaluate
from pisa_kit.kinematics import track
from pisa_kit.masks import track_clips

LOOKS = ("object_colour_error", "background_psnr")
TRACKER = "judge"


@dataclass(frozen=True)
class Judgement:
    """What a judge says about some videos.

    Args:
        table: one row per scored video: `name`, metrics (`evaluate.METRICS`), `kinematics.describe`, `LOOKS`.
        films: the videos with tracked masks, in the order given.
        failures: (name, reason) of those that could not be scored.
    """

    table: pd.DataFrame
    films: list[Clip]
    failures: list[tuple[str, str]]


def judge(truths: list[Clip], films: list[Clip], workers: int = 2, tracker: str = TRACKER) -> Judgement:
    """Tracks the dropped object in every video, from the true mask of frame 0, and measures it.

    Args:
        truths: simulated clips.
        films: videos of the same scenes in the same order; only their frames count.
        workers: processes.
        tracker: see `masks.track_clips`.
    """
    films = track_clips(films, truths, workers, tracker)
    report = evaluate(truths, films)
    rows = [
        {"name": truth.name}
        | kinematics.describe(film.dropped, film.fps, truth)
        | {"object_colour_error": object_colour_error(film.frames, film.dropped)}
        | {"background_psnr": background_psnr(truth, film.frames, film.dropped)}
        for truth, film in zip(truths, films, strict=True)
    ]
    table = report.table.merge(pd.DataFrame(rows), on="name") if rows else report.table
    return Judgement(table, films, report.failures)


STILL = 3 / 64  # image widths by which an object that stays may move


def moves_as_said(verb: str, masks: np.ndarray) -> bool | None:
    """Does the object move the way a caption of generic motion says (`motion.KINDS`)?

    Args:
        verb: "falls", "rises", "drifts", "darts", "hovers" or "turns".
        masks: (T, H, W) bool; first and last sight are compared.

    Returns:
        None if the object is seen fewer than two times.
    """
    seen = track(masks)
    seen = seen[np.isfinite(seen[:, 0])]
    if len(seen) < 2:
        return None
    right, down = (seen[-1] - seen[0]) / masks.shape[2]
    return {
        "falls": down > STILL,
        "rises": down < -STILL,
        "drifts": abs(right) > STILL,
        "darts": np.hypot(right, down) > STILL,
        "hovers": np.hypot(right, down) <= STILL,
        "turns": np.hypot(right, down) <= STILL,
    }[verb]
