"""Pairs true and predicted clips, scores every pair, counts what failed and reports means with intervals."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
import pandas as pd
from joblib import delayed
from pydantic import Field, InstanceOf
from typing_extensions import TypedDict

from pisa_kit.clips.annotations import check_points, dropped_index, read_masks
from pisa_kit.clips.clip import Clip
from pisa_kit.core.checks import Few, Fps, check
from pisa_kit.core.errors import InputError
from pisa_kit.core.parallel import results_of
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import DATA, atomic_path, parsed, read_bytes, read_json
from pisa_kit.metrics.l2_chamfer_iou import both_scores
from pisa_kit.metrics.statistics import summarise

OFFICIAL = ("l2", "chamfer_distance", "iou")
FIXED = {"fixed_l2": "fixed_l2", "fixed_chamfer_distance": "chamfer", "fixed_iou": "iou"}
PRESENCE = ("coverage", "visibility")
FRAMES = ("frames_compared", "frames_expected")
METRICS = (*OFFICIAL, *FIXED, *PRESENCE)


@dataclass(frozen=True)
class Report:
    """What came of scoring: nothing is left out in silence.

    Args:
        table: one row per scored pair: `name`, `METRICS`, `FRAMES`; in the order of the input.
        failures: (name, reason) of every pair that could not be scored.
    """

    table: pd.DataFrame
    failures: list[tuple[str, str]]

    @classmethod
    def from_rows(cls, rows: list[dict], *more) -> "Report":
        """Sorts rows into scores and failures (those with an `error`)."""
        scores = [row for row in rows if "error" not in row]
        table = pd.DataFrame(scores) if scores else pd.DataFrame(columns=["name", *METRICS, *FRAMES])
        return cls(table, [(row["name"], row["error"]) for row in rows if "error" in row], *more)

    @property
    def scored(self) -> int:
        return len(self.table)

    @property
    def total(self) -> int:
        return len(self.table) + len(self.failures)

    def lines(self) -> list[str]:
        """Text for a terminal: `scored n of N`, a line per metric and a line per failure."""
        lines = [f"scored {self.scored} of {self.total}"]
        if self.scored:
            for row in summarise(self.table, METRICS).itertuples():
                lines.append(f"  {row.metric:<24}{row.mean:.4f} [{row.low:.4f}, {row.high:.4f}]  n = {row.n}")
        else:
            lines.append("  nothing could be scored, so there are no means")
        return lines + [f"failed: {name}: {reason}" for name, reason in self.failures]


def score_pair(name: str, truth, truth_fps, prediction, prediction_fps, files=("truth", "prediction")) -> dict:
    """The row of one pair: `name`, the released metrics, the corrected ones as `fixed_...`, presence, frame counts.

    Args:
        name: what the table calls the pair.
        files: what error messages call the two; other arguments and errors as of `l2_chamfer_iou.official`.
    """
    official, fixed = both_scores(truth, truth_fps, prediction, prediction_fps, files)
    corrected = {column: fixed[key] for column, key in FIXED.items()}
    return {"name": name} | official | corrected | {column: fixed[column] for column in (*PRESENCE, *FRAMES)}


def evaluate(truths: list[Clip], predictions: list[Clip]) -> Report:
    """Scores predictions against truths, pair by pair in the given order; a pair that cannot be scored is a failure.

    Raises:
        InputError: the two lists differ in length.
    """
    truths, predictions = (check(list[InstanceOf[Clip]], clips, "evaluate") for clips in (truths, predictions))
    if len(truths) != len(predictions):
        problem = f"has {len(predictions)} clips for {len(truths)} truths"
        raise InputError("evaluate", "predictions", problem, "Give one prediction per truth, in the same order.")
    return Report.from_rows([clip_row(*pair) for pair in zip(truths, predictions, strict=True)])


def clip_row(truth: Clip, prediction: Clip) -> dict:
    """`score_pair`'s row of two clips with masks, or "name" and "error"."""
    files = (f"truth {truth.name}", f"prediction {prediction.name}")
    try:
        return score_pair(truth.name, truth.dropped, truth.fps, prediction.dropped, prediction.fps, files)
    except InputError as error:
        return {"name": truth.name, "error": str(error)}


# --- pairs listed in a file ------------------------------------------------------------------------------------

NEEDED = "Each line needs gt_mask and pd_mask as text, gt_fps and pd_fps in frames per second, e.g. 16."
Name = Annotated[str, Field(min_length=1, strict=True)]


class Pair(TypedDict):
    """A line of the list."""

    gt_mask: Name
    gt_fps: Fps
    pd_mask: Name
    pd_fps: Fps
    gt_annotation: NotRequired[Name]
    name: NotRequired[Name]


class Annotation(TypedDict):
    """A real clip's clip_info.json."""

    points: list


def score_file(pairs, out=None, workers: int = 1) -> Report:
    """Scores the pairs of a jsonl file in the released code's own format (PISA, released evaluation).

    Each line is `{"gt_mask", "gt_fps", "pd_mask", "pd_fps"}`, for real clips with `gt_annotation`, and may have a
    `name`. Paths are relative to the file's folder or absolute.

    Args:
        pairs: path of the jsonl file.
        out: path of the jsonl to write, a line per pair in the same order: its row (null for NaN), or
            `{"name", "error"}`. It is written whole or not at all.
        workers: number of processes; `joblib.parallel_config` chooses other engines.

    Raises:
        InputError: `pairs` cannot be read or lists nothing, or `out` cannot be written.
    """
    check(Few, workers, "arguments", "workers")
    pairs = Path(pairs)
    lines = _read_lines(pairs)
    if out is None:
        return Report.from_rows(_score_lines(pairs, lines, workers))
    if Path(out).exists() and Path(out).samefile(pairs):
        raise InputError(out, "output", "is the list of pairs itself", "Choose another file.")
    with atomic_path(out) as temporary:
        rows = _score_lines(pairs, lines, workers)
        known = ({key: None if value != value else value for key, value in row.items()} for row in rows)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in known)
        temporary.write_text(text, encoding="utf-8")
    return Report.from_rows(rows)


def _read_lines(pairs: Path) -> list[tuple[int, str]]:
    """The numbered lines that are not blank."""
    with parsed(pairs, remedy="Give a UTF-8 text file."):
        text = read_bytes(pairs).decode("utf-8-sig")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError(pairs, "file", "lists no pairs", "Write one JSON object per line.")
    return lines


def _score_lines(pairs: Path, lines: list[tuple[int, str]], workers: int) -> list[dict]:
    rows = results_of((delayed(_line_row)(pairs.resolve(), *line) for line in lines), workers)
    return list(Bar(rows, total=len(lines), desc="scoring", unit="pair"))


def _line_row(pairs: Path, number: int, line: str) -> dict:
    """The row of one line, or its name and error."""
    name, label = f"{pairs.name} line {number}", f"{pairs} line {number}"
    try:
        entry = check(Pair, json.loads(line, parse_int=float), label, remedy=NEEDED)
        name = entry.get("name") or _name_from(entry["gt_mask"])
        files = [str(pairs.parent / entry[key]) for key in ("gt_mask", "pd_mask")]
        points = _read_points(pairs.parent / entry["gt_annotation"]) if "gt_annotation" in entry else None
        truth, prediction = (_dropped_plane(read_masks(file), points, file) for file in files)
        return score_pair(name, truth, entry["gt_fps"], prediction, entry["pd_fps"], files)
    except (json.JSONDecodeError, RecursionError) as error:
        said = InputError(label, "line", f"is not JSON ({error})", "Write one JSON object per line.")
        return {"name": name, "error": str(said)}
    except InputError as error:
        return {"name": name, "error": str(error)}


def _name_from(mask: str) -> str:
    """`sim/seen/00/mask.npz` -> `sim/seen/00`; other files keep their own name."""
    path = Path(mask).with_suffix("")
    return str(path.parent if path.name == "mask" and path.parent.name else path)


def _read_points(path: Path) -> list:
    points = check(Annotation, read_json(path), path, remedy="Give the clip's clip_info.json.")["points"]
    check_points(points, path)
    return points


def _dropped_plane(masks: np.ndarray, points: list | None, file: str) -> np.ndarray:
    """(T, H, W) of (T, N, H, W): the only plane, the annotated object's, or without annotation the last."""
    if masks.shape[1] == 1 or points is None:
        return masks[:, -1]
    if masks.shape[1] != len(points):
        problem = f"has {masks.shape[1]} objects, the annotation {len(points)}"
        raise InputError(file, "mask", problem, "Write one plane per annotated object, or the dropped object alone.")
    return masks[:, dropped_index(points)]


# --- the paper's numbers ---------------------------------------------------------------------------------------------


def published() -> pd.DataFrame:
    """The paper's Table 1 (ICML 2025): one row per method; released metrics on real, sim-seen and sim-unseen clips."""
    return pd.read_csv(DATA / "paper_table1.csv")
