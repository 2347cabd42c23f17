"""The study's findings beside the paper's: one table, one list, and one page that holds everything."""

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from pisa_kit.core.storage import atomic_path
from pisa_kit.metrics.verdicts import PASSES, asked

ENOUGH = 0.8  # share of videos that must land before their fall times say anything
OFFICIAL = {"l2": "L2", "chamfer_distance": "CD", "iou": "IoU"}
REPRODUCED, NOT_REPRODUCED, NOT_TESTED = "reproduced", "not reproduced", "not tested"
CANNOT_BE_ASKED = "cannot be asked here"


@dataclass(frozen=True)
class Finding:
    """One claim of the paper and what this study measured.

    Args:
        claim: in one sentence.
        paper: its number or statement.
        ours: ours, with interval and n.
        status: "reproduced" (same sign, interval excludes no effect), "not reproduced", "cannot be asked here" (a
            ceiling fails the test that would show it) or "not tested" (it has not run, or could not be measured).
        figure: name of the figure that shows it.
        ceiling: what bounds it: the autoencoder alone, or what the first frame tells.
    """

    claim: str
    paper: str
    ours: str
    status: str
    figure: str = ""
    ceiling: str = ""


def findings(results: dict[str, dict]) -> list[Finding]:
    """The paper's findings in its order; those whose notebook has not run are "not tested".

    Args:
        results: notebook name to what it saved.
    """
    make = (_base_fails, _psft_helps, _few_clips_do, _rewards_help, _no_reward_wins, _range_matters, _one_answer)
    return [one for function in make for one in function(results)]


def _base_fails(results) -> list[Finding]:
    claim = "Image-to-video models do not know how things fall."
    paper = "official L2 on unseen simulated objects 0.101 to 0.149 for all models"
    if "02_psft" not in results:
        return [Finding(claim, paper, "", NOT_TESTED)]
    found = _row(results["02_psft"]["summary"], method="base", split="unseen", metric="l2")
    gravity = _row(results["02_psft"]["g_eff"], method="base", split="unseen")
    ours = f"the base fails by design. L2 {_interval(found)}, median g_eff {_or_none(gravity['median'], '.2f')}"
    return [Finding(claim, paper, ours, NOT_TESTED, "01_references")]


def _psft_helps(results) -> list[Finding]:
    claim, paper = "PSFT on simulated drops teaches the fall.", "official L2 on unseen objects falls by 78 %"
    if "02_psft" not in results:
        return [Finding(claim, paper, "", NOT_TESTED)]
    found = _row(results["02_psft"]["reductions"], method="PSFT", split="unseen", metric="l2")
    gravity = _row(results["02_psft"]["g_eff"], method="PSFT", split="unseen")
    seen = _row(results["02_psft"]["summary"], method="PSFT", split="unseen", metric="visibility")
    ours = f"by {_share(found)}; median g_eff {_or_none(gravity['median'], '.2f')}; "
    ours += f"object visible in {seen['mean']:.0%} of frames"
    return [Finding(claim, paper, ours, _status(found["low"] > 0), "02_before_and_after", _guess(results))]


def _guess(results) -> str:
    """How far the first frame goes: by how much the best guess is below the base."""
    rows = [row for row in results["02_psft"]["reductions"] if row["method"] == "best guess"]
    return f"the best guess from the first frame: {_share(_row(rows, split='unseen', metric='l2'))}" if rows else ""


def _few_clips_do(results) -> list[Finding]:
    claim, paper = "A small set of simulated clips is enough.", "5,000 clips"
    if "02_psft" not in results:
        return [Finding(claim, paper, "", NOT_TESTED)]
    rows = sorted(
        (row for row in results["02_psft"]["data"] if row["metric"] == "fixed_iou"), key=lambda row: row["clips"]
    )
    smallest = next(row for row in rows if row["high"] >= rows[-1]["low"])
    ours = f"{smallest['clips']} clips: fixed IoU {_interval(smallest)}; {rows[-1]['clips']}: {_interval(rows[-1])}"
    return [Finding(claim, paper, ours, _status(smallest is not rows[-1]), "02_data")]


def _rewards_help(results) -> list[Finding]:
    claims = {
        "flow": (
            "A flow reward lowers the error further.",
            "l2",
            "official L2 on unseen objects falls by another 21 %",
        ),
        "depth": (
            "A depth reward lowers the error further.",
            "l2",
            "official L2 on unseen objects falls by another 21 %",
        ),
        "seg": ("A segmentation reward raises the overlap.", "iou", "official IoU on unseen objects rises by 12 %"),
    }
    made = []
    for reward, (claim, metric, paper) in claims.items():
        rows = [row for row in results.get("03_oro", {}).get("reductions", []) if row["method"] == reward]
        if not rows:
            made.append(Finding(claim, paper, "", NOT_TESTED))
            continue
        found = _row(rows, split="unseen", metric=metric)
        better = found["low"] > 0 if metric == "l2" else found["high"] < 0
        ours = f"falls by {_share(found)}" if metric == "l2" else f"changes by {_share(_negated(found))}"
        made.append(Finding(claim, paper, ours, _status(better), "03_table"))
    return made


def _no_reward_wins(results) -> list[Finding]:
    claim, paper = "No reward is best in everything.", "flow and depth win L2 and CD and lose IoU, seg wins IoU"
    rows = [row for row in results.get("03_oro", {}).get("summary", []) if row["split"] == "unseen"]
    rows = [row for row in rows if row["method"] in results["03_oro"]["rewards"] and row["mean"] is not None]
    if len({row["method"] for row in rows}) < 2:
        return [Finding(claim, paper, "", NOT_TESTED)]
    best, clear = {}, True
    for metric, short in OFFICIAL.items():
        sign = -1 if metric == "iou" else 1
        first, second, *_ = sorted((row for row in rows if row["metric"] == metric), key=lambda row: sign * row["mean"])
        best[short] = first["method"]
        clear &= first["low"] > second["high"] or first["high"] < second["low"]
    ours = "best on unseen objects: " + ", ".join(f"{short} {method}" for short, method in best.items())
    if not clear:
        return [Finding(claim, paper, ours + "; differences lie within the intervals", NOT_TESTED, "03_table")]
    return [Finding(claim, paper, ours, _status(len(set(best.values())) > 1), "03_table")]


def _range_matters(results) -> list[Finding]:
    claim, paper = "Outside the training range of depth and height it gets worse.", "error rises outside"
    if "04_generalization" not in results:
        return [Finding(claim, paper, "", NOT_TESTED)]
    ratios, text = results["04_generalization"]["outside_over_inside"], "{value:.2f} [{low:.2f}, {high:.2f}], n = {n}"
    found = {method: _row(ratios, method=method) for method in ("PSFT", "codec", "best guess")}
    if found["PSFT"]["value"] is None:
        return [Finding(claim, paper, "not measurable", NOT_TESTED, "04_map_relative")]
    ours = "median relative error outside over inside " + text.format(**found["PSFT"])
    bounds = [f"{name}: " + text.format(**row) for name, row in found.items() if name != "PSFT" and row["value"]]
    worse = found["PSFT"]["low"] > 1
    codec = found["codec"]["low"] is not None and found["codec"]["low"] > 1
    status = CANNOT_BE_ASKED if worse and codec else _status(worse)
    return [Finding(claim, paper, ours, status, "04_map_relative", "; ".join(bounds))]


def _one_answer(results) -> list[Finding]:
    faithful, aligned = "Single trajectories are possible falls.", "Their distribution is not that of the worlds."
    if "05_distribution" not in results:
        return [Finding(claim, "qualitative", "", NOT_TESTED) for claim in (faithful, aligned)]
    rows = {row["method"]: row for row in results["05_distribution"]["verdicts"]}
    found, codec = rows["PSFT"], rows["codec"]
    first = f"the two distances a video shows disagree by {_or_none(found['disagreement'], '.0%')}"
    second = f"Wasserstein-1 {_or_none(found['wasserstein'], '.3f')} s, "
    second += f"spread {_or_none(found['spread'], '.2f')} of the right one; {found['landed']:.0%} of the videos land"
    bounds = (
        f"the truth through the autoencoder: {_or_none(codec['disagreement'], '.0%')} apart, {codec['possible']}",
        f"the truth through the autoencoder: {_or_none(codec['wasserstein'], '.3f')} s, {codec['aligned']}",
    )
    enough = found["landed"] >= ENOUGH
    return [
        Finding(faithful, "plausible one by one", first, _asked(found["possible"], True), "05_in_space", bounds[0]),
        Finding(
            aligned,
            "misaligned",
            second,
            _asked(found["aligned"], False) if enough else NOT_TESTED,
            "05_fall_times_0",
            bounds[1],
        ),
    ]


def _asked(verdict: str, paper: bool) -> str:
    """The status of a finding whose test the paper's model passes (`paper`), from the verdict on ours."""
    return _status((verdict == PASSES) == paper) if asked(verdict) else CANNOT_BE_ASKED


def _status(holds: bool) -> str:
    return REPRODUCED if holds else NOT_REPRODUCED


def _row(rows: list[dict], **where) -> dict:
    return next(row for row in rows if all(row[key] == value for key, value in where.items()))


def _interval(row: dict) -> str:
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}], n = {row['n']:.0f}"


def _share(row: dict) -> str:
    return f"{row['mean']:.0%} [{row['low']:.0%}, {row['high']:.0%}], n = {row['n']:.0f}"


def _or_none(value: float | None, form: str) -> str:
    return "(not measurable)" if value is None else format(value, form)


def _negated(row: dict) -> dict:
    return row | {"mean": -row["mean"], "low": -row["high"], "high": -row["low"]}


STYLE = """body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; font-size: 13px }
td, th { border-bottom: 1px solid #ccc; padding: .3em .6em; text-align: left }
img { max-width: 100% } .status { font-weight: bold }"""


def write_page(path, title: str, note: str, scores: pd.DataFrame, found: list[Finding], figures) -> Path:
    """Writes everything as one HTML file that needs no other: figures are inside it.

    Args:
        note: one line on preset, seeds and date.
        scores: from `table`.
        found: from `findings`.
        figures: folder of the figures they name; one that is not there is left out.
    """
    parts = [f"<h1>{escape(title)}</h1><p>{escape(note)}</p>", scores.to_html(index=False, border=0)]
    for one in found:
        parts.append(f"<h2>{escape(one.claim)}</h2><p>Paper: {escape(one.paper)}.")
        bound = f"<br>Ceiling: {escape(one.ceiling)}." if one.ceiling else ""
        ours = escape(one.ours or "its notebook has not run")
        parts.append(f"<br>Here: {ours}. <span class=status>{escape(one.status)}</span>{bound}</p>")
        picture = Path(figures) / f"{one.figure}.png"
        if one.figure and picture.exists():
            coded = base64.b64encode(picture.read_bytes()).decode()
            parts.append(f'<img alt="{escape(one.claim)}" src="data:image/png;base64,{coded}">')
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(head + "\n".join(parts) + "</html>\n", encoding="utf-8")
    return Path(path)
